/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* capture: runs a program and keeps what it prints. */
#ifndef LAMINA_CLI_CAPTURE_H
#define LAMINA_CLI_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "store/base/err.h"

#define CAPTURE_MAX (64u << 20)	/* bytes of stdout; the rest is dropped */

struct capture {
	char *out;		/* malloc'd, NUL-terminated: stdout */
	size_t len;
	char why[400];		/* the first line of stderr, or "" */
	int status;		/* its exit status; 128 + the signal that ended it */
};

/* When `asked` (or NULL; it is asked five times a second) says so the program is sent SIGTERM. */
struct capture_stop {
	bool (*asked)(void);
	unsigned kill_ms;	/* so long after it SIGKILL; 0: never, it is waited for */
};

/*
 * Its stdin is /dev/null.  Returns when it has ended, also if it has left something running.  It
 * ends with us.  0; -ECANCELED: it was stopped; -errno: it cannot be run at all.
 */
int capture_run(char *const argv[], const struct capture_stop *stop, struct capture *ret,
		struct err *err);
void capture_fini(struct capture *capture);

#endif
