/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lines: a text such as those of /proc, line by line, in memory of a fixed size.
 *
 * No allocation, no stdio: good in a child of a process with threads.  One thread at a time.
 */
#ifndef LAMINA_BASE_LINES_H
#define LAMINA_BASE_LINES_H

#include <stddef.h>

#define LINES_MAX 8192	/* bytes of a line; what is longer is cut there, the rest passed over */

struct lines {
	int fd;
	size_t at, len;		/* in buf: what is next, where what was read ends */
	int tail;		/* in the rest of a line that was cut */
	char buf[LINES_MAX + 1];
};

/* `path` as openat() takes it.  0 or -errno; then there is nothing to close. */
int lines_open(int dirfd, const char *path, struct lines *ret);
void lines_close(struct lines *lines);

/*
 * 1: the next line, without its newline, to be changed at will and valid until the next call;
 * 0: there is none; -errno.  A last line without newline is one, too.
 */
int lines_next(struct lines *lines, char **ret);

#endif
