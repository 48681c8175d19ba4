/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* proc: whether a process is the one that it was: a number is given again, a start is not. */
#ifndef LAMINA_BASE_PROC_H
#define LAMINA_BASE_PROC_H

#include <stdint.h>
#include <sys/types.h>

/*
 * When it began, in the kernel's ticks since it booted.  -ESRCH: it has ended, or is one that
 * nobody has waited for yet; -errno of /proc; -EBADMSG.
 */
int proc_start(pid_t pid, uint64_t *ret);

#endif
