/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * detach: into the background, but not before the work can be seen.  The process
 * forks first, while it is small and has no threads; the parent waits for a byte
 * and exits 0, or exits as the child did.  For daemons only.
 */
#ifndef LAMINA_BASE_DETACH_H
#define LAMINA_BASE_DETACH_H

#include "store/base/err.h"

/*
 * Returns in the child, where to write the byte (and close it); the parent exits in here.
 * `program` begins its sentence when a signal ended the child.
 */
int detach_begin(const char *program, struct err *err);
/* Leaves the terminal; from now on the log goes to syslog. */
int detach_from_terminal(struct err *err);

#endif
