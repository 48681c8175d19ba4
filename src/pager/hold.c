/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_file(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, -errno, "cannot look at '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EMEDIUMTYPE, "cannot hold '%s': it is not a regular file",
			       path);
	return 0;
}

static bool is_named(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static int lock_shared(int fd, const char *path, struct err *err)
{
	if (flock(fd, LOCK_SH | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(err, -EBUSY, "cannot hold '%s': somebody has it locked", path);
	return err_sys(err, -errno, "cannot hold '%s'", path);
}

/* -EAGAIN: what was locked has lost its name meanwhile. */
static int lock_once(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), rc;

	if (fd < 0)
		return err_sys(err, -errno, "cannot open '%s' to hold it", path);
	rc = check_file(fd, path, err);
	if (rc == 0)
		rc = lock_shared(fd, path, err);
	if (rc == 0 && is_named(fd, path))
		return fd;
	(void)close(fd);
	return rc < 0 ? rc : -EAGAIN;
}

int hold_lock(const char *path, struct err *err)
{
	int fd;

	do
		fd = lock_once(path, err);
	while (fd == -EAGAIN);
	return fd;
}
