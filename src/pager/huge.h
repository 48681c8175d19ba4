/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* huge: the huge pages that a session's guest lacks while it graduates, and afterwards. */
#ifndef LAMINA_PAGER_HUGE_H
#define LAMINA_PAGER_HUGE_H

#include "store/base/err.h"

struct session;

/* The owner.  A guest without huge pages costs nothing. */

/*
 * Before it is populated.  -ENOMEM: that would take huge pages that are promised to others
 * (promised.h).
 */
int huge_begin(struct session *s, struct err *err);
/* Before it is unregistered: all that it lacks now is promised to it, or -ENOMEM. */
int huge_finish(struct session *s, struct err *err);
/* It does not graduate after all. */
void huge_drop(const struct session *s);

#endif
