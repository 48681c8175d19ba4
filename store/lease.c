/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lease's file is made by the first reader and removed by gc, so a reader may
 * have opened a file that has just lost its name: whoever has locked looks
 * whether it is still the one by that name, and otherwise begins again.
 */
#include "store/lease.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "store/base/fmt.h"
#include "store/store.h"

#define DIR_NAME "leases/"
#define NAME_LEN (sizeof(DIR_NAME) + DIGEST_HEX_LEN)

static char *name_of(char out[NAME_LEN], const struct digest *id)
{
	memcpy(out, DIR_NAME, sizeof(DIR_NAME));
	(void)fmt_hex(out + sizeof(DIR_NAME) - 1, id->b, DIGEST_LEN);
	return out;
}

static int open_file(struct store *store, const struct digest *id, int flags)
{
	char name[NAME_LEN];
	int fd;

	do
		fd = openat(store->dirfd, name_of(name, id), O_RDWR | O_CLOEXEC | flags, 0600);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static int lock_file(int fd, int how)
{
	int rc;

	do
		rc = flock(fd, how);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return 0;
}

/* Whether `fd` is still the file by that name. */
static bool is_named(struct store *store, const struct digest *id, int fd)
{
	char name[NAME_LEN];
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstatat(store->dirfd, name_of(name, id), &b, 0) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int take(struct store *store, const struct digest *id, int how)
{
	for (;;) {
		int fd = open_file(store, id, O_CREAT), rc;

		if (fd < 0)
			return fd;
		rc = lock_file(fd, how);
		if (rc == 0 && is_named(store, id, fd))
			return fd;
		close(fd);
		if (rc < 0)
			return rc;
	}
}

int lease_take(struct store *store, const struct digest *id, struct err *err)
{
	char hex[DIGEST_HEX_LEN];
	int fd = take(store, id, LOCK_SH);

	if (fd < 0)
		return err_sys(err, fd, "cannot take a lease on layer %.12s",
			       fmt_hex(hex, id->b, DIGEST_LEN));
	return fd;
}

int lease_take_exclusive(struct store *store, const struct digest *id)
{
	return take(store, id, LOCK_EX | LOCK_NB);
}

int lease_held(struct store *store, const struct digest *id)
{
	int fd = open_file(store, id, 0), rc;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	rc = lock_file(fd, LOCK_EX | LOCK_NB);
	close(fd);
	return rc == -EBUSY ? 1 : rc;
}

/* "1: FLOCK  ADVISORY  READ  1234 08:01:5678 0 EOF"; those who wait have "->". */
static int holder(const char *line, const struct stat *st)
{
	unsigned major_nr, minor_nr;
	unsigned long long ino;
	int pid;

	if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%llu", &pid, &major_nr, &minor_nr, &ino) != 4)
		return 0;
	if (ino != st->st_ino || makedev(major_nr, minor_nr) != st->st_dev || pid <= 0)
		return 0;
	return pid;
}

static int list_holders(const struct stat *st, int *pids, int max)
{
	FILE *f = fopen("/proc/locks", "re");
	char line[256];
	int n = 0;

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		int pid = holder(line, st);

		if (pid && n < max)
			pids[n] = pid;
		n += pid != 0;
	}
	(void)fclose(f);
	return n;
}

int lease_holders(struct store *store, const struct digest *id, int *pids, int max)
{
	char name[NAME_LEN];
	struct stat st;

	if (fstatat(store->dirfd, name_of(name, id), &st, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return list_holders(&st, pids, max);
}

void lease_remove(struct store *store, const struct digest *id, int fd)
{
	char name[NAME_LEN];

	(void)unlinkat(store->dirfd, name_of(name, id), 0);
	close(fd);
}
