/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/base/io.h"

int proc_start(pid_t pid, uint64_t *ret)
{
	char path[64], text[1024] = "", state = '\0';
	const char *rest;
	long threads = 0;
	uint64_t start;
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = io_pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	if (n < 0)
		return (int)n;
	rest = strrchr(text, ')');	/* its name may have any bytes */
	if (!rest || sscanf(rest, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
			    "%*d %*d %ld %*d %" SCNu64, &state, &threads, &start) != 3)
		return -EBADMSG;
	/* A dead first thread may have others, which live in the same memory. */
	if ((state == 'Z' || state == 'X') && threads <= 1)
		return -ESRCH;
	*ret = start;
	return 0;
}
