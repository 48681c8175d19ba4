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

/*
 * Its stdin is /dev/null.  When `stopped` (or NULL; asked five times a second) says so it is sent
 * SIGTERM, once, and waited for: then -ECANCELED.  It ends with us.  Otherwise 0, or -errno if it
 * cannot be run at all.
 */
int capture_run(char *const argv[], bool (*stopped)(void), struct capture *ret, struct err *err);
void capture_fini(struct capture *capture);

#endif
