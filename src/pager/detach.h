/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * detach: into the background, but not before the pager serves.  The process forks
 * first; the parent waits for a byte and exits 0, or exits as the child did.
 */
#ifndef LAMINA_PAGER_DETACH_H
#define LAMINA_PAGER_DETACH_H

#include "store/base/err.h"

/* Returns in the child, where to write the byte (and close it); the parent exits in here. */
int detach_begin(struct err *err);
/* Leaves the terminal; from now on the log goes to syslog. */
int detach_from_terminal(struct err *err);

#endif
