/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * child: a fork that has nothing of its parent's but its memory.
 */
#ifndef LAMINA_PAGER_CHILD_H
#define LAMINA_PAGER_CHILD_H

#include <sys/types.h>

#define CHILD_FD 3	/* where the child finds the one descriptor that it gets */

/*
 * fork().  In the child (0): no descriptor but 0, 1, 2 and `fd` (or -1) as CHILD_FD, signals
 * as a new program has them, but SIGPIPE ignored; a session of its own, so that
 * what a terminal sends does not reach it; `name` (15 letters) is what ps shows.
 * -errno in the parent.
 */
pid_t child_fork(const char *name, int fd);

#endif
