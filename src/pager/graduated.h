/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * graduated: which sessions have graduated, beyond the pager's own life: a small
 * file for each, RUNTIME/graduated/ID, so that who asks again after a restart is
 * told the truth.  Forgotten when a session of that id is made or closed; of
 * more than GRADUATED_MAX the oldest go.
 */
#ifndef LAMINA_PAGER_GRADUATED_H
#define LAMINA_PAGER_GRADUATED_H

#include "src/pager/complete.h"
#include "store/base/err.h"

#define GRADUATED_MAX 4096

/* The directory, before anything needs it: a worker in its sandbox cannot make it. */
int graduated_prepare(const char *runtime_dir, struct err *err);

/* Any thread; two of one id not at once. */

/* The old one of that id or the new one is there, whenever the program is killed. */
int graduated_put(const char *runtime_dir, const char *id, const struct complete_report *report,
		  struct err *err);
/*
 * `already` and `durable` are set.  -ENOENT: not known; -EBADMSG: there is something else of
 * that name.
 */
int graduated_get(const char *runtime_dir, const char *id, struct complete_report *ret,
		  struct err *err);
/* That there is none is success. */
int graduated_forget(const char *runtime_dir, const char *id, struct err *err);

#endif
