/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int lines_open(int dirfd, const char *path, struct lines *ret)
{
	int fd;

	do
		fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	ret->fd = fd;
	ret->at = ret->len = 0;
	ret->tail = 0;
	return 0;
}

void lines_close(struct lines *lines)
{
	(void)close(lines->fd);
}

/* How many bytes more there are in buf now; 0 at the end, or when it is full. */
static ssize_t read_more(struct lines *lines)
{
	ssize_t n;

	memmove(lines->buf, lines->buf + lines->at, lines->len - lines->at);
	lines->len -= lines->at;
	lines->at = 0;
	do
		n = read(lines->fd, lines->buf + lines->len, LINES_MAX - lines->len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	lines->len += (size_t)n;
	return n;
}

static int take(struct lines *lines, size_t len, size_t skip, char **ret)
{
	*ret = lines->buf + lines->at;
	(*ret)[len] = '\0';
	lines->at += len + skip;
	return 1;
}

/* What is left of a line that was too long; 1: it has been passed over. */
static int pass_tail(struct lines *lines)
{
	for (;;) {
		size_t left = lines->len - lines->at;
		char *end = memchr(lines->buf + lines->at, '\n', left);
		ssize_t n;

		if (end) {
			lines->at = (size_t)(end - lines->buf) + 1;
			lines->tail = 0;
			return 1;
		}
		lines->at = lines->len;
		n = read_more(lines);
		if (n <= 0)
			return (int)n;
	}
}

int lines_next(struct lines *lines, char **ret)
{
	int rc = lines->tail ? pass_tail(lines) : 1;

	while (rc == 1) {
		size_t left = lines->len - lines->at;
		char *end = memchr(lines->buf + lines->at, '\n', left);
		ssize_t n;

		if (end)
			return take(lines, (size_t)(end - lines->buf) - lines->at, 1, ret);
		if (left == LINES_MAX) {
			lines->tail = 1;
			return take(lines, left, 0, ret);
		}
		n = read_more(lines);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return left ? take(lines, left, 0, ret) : 0;
	}
	return rc;
}
