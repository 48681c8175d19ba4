/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file may be removed by who holds it, so that who has locked one looks whether it still has that
 * name.  The line in it may be that of an earlier holder: it counts only with the pid that the
 * kernel gives, if that does.
 */
#include "src/host/guest-lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/host/guest.h"
#include "store/base/clock.h"
#include "store/base/io.h"
#include "store/lease.h"

#define FILE_LEN 256
#define TRIES 100
#define LOOKS 20
#define LINE_LEN (GUEST_LOCK_WHAT_MAX + 32)

static int open_lock(int dirfd, const char *file)
{
	int fd = openat(dirfd, file,
			O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);

	return fd < 0 ? -errno : fd;
}

int guest_lock_dir(int dirfd, struct err *err)
{
	int fd = open_lock(dirfd, ".lock"), rc;

	if (fd < 0)
		return err_sys(err, fd, "cannot lock the records of guests");
	rc = io_lock_until(fd, clock_ms() + GUEST_LOCK_MS);
	if (rc == 0)
		return fd;
	close(fd);
	return err_sys(err, rc, "cannot lock the records of guests");
}

static bool is_named(int dirfd, const char *file, int fd)
{
	struct stat named, own;

	return fstatat(dirfd, file, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &own) == 0 &&
	       named.st_ino == own.st_ino && named.st_dev == own.st_dev;
}

static void say_who(int fd, const char *what)
{
	char line[LINE_LEN];
	int n = snprintf(line, sizeof(line), "%d %.*s\n", (int)getpid(), (int)GUEST_LOCK_WHAT_MAX,
			 what);

	if (ftruncate(fd, 0) == 0)
		(void)io_pwrite_all(fd, line, (size_t)n, 0);
}

/* Whether the line is that of who has the lock, as far as the kernel tells. */
static bool read_who(int fd, struct guest_lock_holder *ret)
{
	char line[LINE_LEN];
	ssize_t n = io_pread(fd, line, sizeof(line) - 1, 0);
	struct stat st;
	int said = 0;

	*ret = (struct guest_lock_holder){0};
	line[n > 0 ? n : 0] = '\0';
	if (sscanf(line, "%d %191[^\n]", &said, ret->what) != 2)
		ret->what[0] = '\0';
	if (fstat(fd, &st) < 0 || lease_lockers(&st, &ret->pid, 1) < 1)
		ret->pid = said;
	if (ret->pid == said)
		return said > 0;
	ret->what[0] = '\0';
	return false;
}

/* Of a lock that somebody has, who may not have written the line yet. */
static void see_who(int fd, struct guest_lock_holder *ret)
{
	static const struct timespec pause = {.tv_nsec = 5 * 1000000L};

	for (int i = 0; !read_who(fd, ret) && i < LOOKS; i++)
		(void)nanosleep(&pause, NULL);
}

int guest_lock_take(int dirfd, const char *name, const char *what, struct guest_lock_holder *ret,
		    struct err *err)
{
	char file[FILE_LEN];
	int fd, rc;

	*ret = (struct guest_lock_holder){0};
	(void)snprintf(file, sizeof(file), "%s.lock", name);
	for (int i = 0; i < TRIES; i++) {
		fd = open_lock(dirfd, file);
		if (fd < 0)
			return err_sys(err, fd, "cannot lock '%s'", file);
		rc = io_lock_until(fd, 0);
		if (rc == 0 && is_named(dirfd, file, fd)) {
			say_who(fd, what);
			return fd;
		}
		if (rc == -EBUSY)
			see_who(fd, ret);
		close(fd);
		if (rc < 0)
			return rc == -EBUSY ? rc : err_sys(err, rc, "cannot lock '%s'", file);
	}
	return -EBUSY;
}

int guest_lock_busy(const struct guest_lock_holder *holder, const char *whom, const char *more,
		    struct err *err)
{
	if (holder->pid <= 0)
		return err_set(err, -EBUSY, "another lamina works on %s%s", whom, more);
	return err_set(err, -EBUSY, "process %d (%s) works on %s%s", holder->pid,
		       *holder->what ? holder->what : "another lamina", whom, more);
}

void guest_lock_drop(int dirfd, const char *name, int fd)
{
	char file[FILE_LEN];

	(void)snprintf(file, sizeof(file), "%s.lock", name);
	(void)unlinkat(dirfd, file, 0);
	close(fd);
}
