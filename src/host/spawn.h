/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spawn: starts a program that outlives us: in a session of its own, without our terminal, what it
 * prints in a file.
 */
#ifndef LAMINA_HOST_SPAWN_H
#define LAMINA_HOST_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

#include "store/base/err.h"

struct spawn {
	char *const *argv;	/* NULL-terminated; argv[0] is looked for in PATH */
	const char *log;	/* made anew, with mode 0600; a link there is refused */
};

/* Returns when it runs.  -ENOENT, -EACCES: it cannot be run, and there is no log. */
int spawn_start(const struct spawn *what, pid_t *ret, struct err *err);
/* Whether it has ended; `why` then says how: "exit status 1". */
int spawn_ended(pid_t pid, char *why, size_t size);
/* With all that it started; returns when it has gone. */
void spawn_kill(pid_t pid);

#endif
