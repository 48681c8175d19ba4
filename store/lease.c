/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lease's file is made by the first reader and removed by gc, so a reader may
 * have opened a file that has just lost its name: whoever has locked looks
 * whether it is still the one by that name, and otherwise begins again.
 *
 * A reader that can make no file locks the directory, and then looks whether
 * the file is still not there.  gc makes the file and then looks whether the
 * directory is locked.  So one of them sees the other.
 */
#include "store/lease.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "store/base/fmt.h"
#include "store/base/io.h"
#include "store/store.h"

#define DIR_NAME "leases/"
#define TESTS 5
#define TEST_PAUSE_MS 2
#define LOOKS 5
#define NAME_LEN (sizeof(DIR_NAME) + DIGEST_HEX_LEN)

static char *name_of(char out[NAME_LEN], const struct digest *id)
{
	memcpy(out, DIR_NAME, sizeof(DIR_NAME));
	(void)fmt_hex(out + sizeof(DIR_NAME) - 1, id->b, DIGEST_LEN);
	return out;
}

static int open_name(struct store *store, const char *name, int flags)
{
	int fd;

	do
		fd = openat(store->dirfd, name, O_CLOEXEC | flags, 0600);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static int open_file(struct store *store, const struct digest *id, int flags)
{
	char name[NAME_LEN];

	return open_name(store, name_of(name, id), flags);
}

static int open_dir(struct store *store)
{
	return open_name(store, DIR_NAME, O_RDONLY | O_DIRECTORY);
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

static bool is_there(struct store *store, const struct digest *id)
{
	char name[NAME_LEN];

	return faccessat(store->dirfd, name_of(name, id), F_OK, 0) == 0;
}

/* In place of a file that cannot be made; -EAGAIN: somebody else has made it. */
static int take_dir(struct store *store, const struct digest *id)
{
	int fd = open_dir(store), rc;

	if (fd < 0)
		return fd;
	rc = lock_file(fd, LOCK_SH);
	if (rc == 0 && is_there(store, id))
		rc = -EAGAIN;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/*
 * Whether others have it locked.  A tester has the lock for an instant, so one
 * that is met is asked for again.  Takes `fd`, which may be an error.
 */
static int test_held(int fd)
{
	struct timespec pause = {.tv_nsec = TEST_PAUSE_MS * 1000000};
	int rc;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	for (int i = 0; (rc = lock_file(fd, LOCK_EX | LOCK_NB)) == -EBUSY && i < TESTS; i++)
		(void)nanosleep(&pause, NULL);
	close(fd);
	return rc == -EBUSY ? 1 : rc;
}

static int dir_held(struct store *store)
{
	return test_held(open_dir(store));
}

/* -EAGAIN: what was locked has lost its name. */
static int take_once(struct store *store, const struct digest *id, int how)
{
	int fd = open_file(store, id, store->read_only ? O_RDONLY : O_RDWR | O_CREAT), rc;

	if (fd == -ENOENT && store->read_only)
		return take_dir(store, id);
	if (fd < 0)
		return fd;
	rc = lock_file(fd, how);
	if (rc == 0 && is_named(store, id, fd))
		return fd;
	close(fd);
	return rc < 0 ? rc : -EAGAIN;
}

static int take(struct store *store, const struct digest *id, int how)
{
	int fd;

	do
		fd = take_once(store, id, how);
	while (fd == -EAGAIN);
	return fd;
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
	int fd = take(store, id, LOCK_EX | LOCK_NB), rc;

	if (fd < 0)
		return fd;
	rc = dir_held(store);
	if (rc == 0)
		return fd;
	close(fd);
	return rc > 0 ? -EBUSY : rc;
}

int lease_held(struct store *store, const struct digest *id)
{
	int fd = open_file(store, id, O_RDONLY), rc;

	if (fd < 0)
		return fd == -ENOENT ? dir_held(store) : fd;
	rc = lock_file(fd, LOCK_EX | LOCK_NB);
	close(fd);
	if (rc == -EBUSY)
		return 1;
	return rc < 0 ? rc : dir_held(store);
}

struct any {
	struct store *store;
	struct digest *ret;
};

static int look_at(void *ctx, int dirfd, const char *name)
{
	struct any *any = ctx;

	(void)dirfd;
	return fmt_unhex(any->ret->b, DIGEST_LEN, name) == 0 ? lease_held(any->store, any->ret) : 0;
}

int lease_any_held(struct store *store, struct digest *ret)
{
	struct any any = {store, ret};
	int rc;

	*ret = (struct digest){{0}};
	rc = lease_held(store, ret);	/* has it a file or not */
	return rc ? rc : io_each_name(store->dirfd, "leases", look_at, &any);
}

int lease_file_held(struct store *store, const struct digest *id)
{
	return test_held(open_file(store, id, O_RDONLY));
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

/* One process may have locked both. */
static bool is_listed(const int *pids, int n, int pid)
{
	for (int i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

static int look_for_holders(const struct stat st[2], int *pids, int max)
{
	FILE *f = fopen("/proc/locks", "re");
	char line[256];
	int n = 0;

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		int pid = holder(line, &st[0]);

		if (!pid)
			pid = holder(line, &st[1]);

		if (!pid || is_listed(pids, n < max ? n : max, pid))
			continue;
		if (n < max)
			pids[n] = pid;
		n++;
	}
	(void)fclose(f);
	return n;
}

/*
 * Of the file, if it is there, and of the directory.  The kernel hands out its list in
 * pieces, and may pass over one when another before it goes in between.
 */
static int list_holders(const struct stat st[2], int *pids, int max)
{
	int n = 0;

	for (int i = 0; i < LOOKS && n == 0; i++)
		n = look_for_holders(st, pids, max);
	return n;
}

int lease_lockers(const struct stat *st, int *pids, int max)
{
	struct stat both[2] = {*st, *st};

	return list_holders(both, pids, max);
}

int lease_holders(struct store *store, const struct digest *id, int *pids, int max)
{
	char name[NAME_LEN];
	struct stat st[2] = {0};

	if (fstatat(store->dirfd, name_of(name, id), &st[0], 0) < 0 && errno != ENOENT)
		return -errno;
	if (fstatat(store->dirfd, DIR_NAME, &st[1], 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return list_holders(st, pids, max);
}

void lease_remove(struct store *store, const struct digest *id, int fd)
{
	char name[NAME_LEN];

	(void)unlinkat(store->dirfd, name_of(name, id), 0);
	close(fd);
}
