/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/live-dir.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/fmt.h"
#include "store/base/io.h"
#include "store/base/vec.h"
#include "store/delta.h"
#include "store/lease.h"
#include "store/store.h"

#define TESTS 5			/* live_dir_holder() has a lock for an instant */
#define TEST_PAUSE_MS 2
#define DEPTH_MAX 4		/* nothing of ours is deeper */

static int open_dir(int dirfd, const char *name)
{
	int fd;

	do
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int live_dir_open_all(struct store *store)
{
	return open_dir(store->dirfd, LIVE_DIR);
}

int live_dir_open(struct store *store, const char *name)
{
	int all = live_dir_open_all(store), fd;

	if (all < 0)
		return all;
	fd = open_dir(all, name);
	close(all);
	return fd;
}

char *live_dir_seq(char out[LIVE_DIR_SEQ_LEN], uint64_t seq)
{
	(void)snprintf(out, LIVE_DIR_SEQ_LEN, "%" PRIu64, seq);
	return out;
}

int live_dir_open_seq(int dirfd, uint64_t seq)
{
	char name[LIVE_DIR_SEQ_LEN];

	return open_dir(dirfd, live_dir_seq(name, seq));
}

/* ---- walks ---- */

static int add_seq(void *ctx, int dirfd, const char *name)
{
	char canonical[LIVE_DIR_SEQ_LEN];
	uint64_t seq;

	(void)dirfd;
	if (fmt_parse_u64(name, &seq) < 0 || seq == 0 ||
	    strcmp(name, live_dir_seq(canonical, seq)) != 0)
		return 0;
	return vec_push((struct live_dir_seqs *)ctx, seq);
}

static int by_number(const void *va, const void *vb)
{
	uint64_t a = *(const uint64_t *)va, b = *(const uint64_t *)vb;

	return (a > b) - (a < b);
}

int live_dir_seqs(int dirfd, struct live_dir_seqs *ret)
{
	int rc = io_each_name(dirfd, ".", add_seq, ret);

	if (rc == 0 && ret->n)
		qsort(ret->v, ret->n, sizeof(ret->v[0]), by_number);
	return rc;
}

/* Deltas go when a row says that they are in a layer: an older row still counts on them. */
const char *live_dir_why(int dirfd, uint64_t seq)
{
	struct live_dir_seqs seqs = {0};
	bool old = live_dir_seqs(dirfd, &seqs) == 0 && (seqs.n == 0 || seqs.v[0] > seq);

	vec_fini(&seqs);
	return old ? "; the index may be older than what was written, and 'lamina recover' mends "
		     "that" : "";
}

struct files {
	int (*fn)(struct files *f, int dirfd, const char *name, const struct stat *st);
	uint64_t bytes;
	unsigned depth;
};

/* Of all files, however deep; those that go away meanwhile are none. */
static int each_file(void *ctx, int dirfd, const char *name)
{
	struct files *f = ctx;
	struct stat st;
	int fd, rc;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return f->fn(f, dirfd, name, &st);
	if (f->depth == DEPTH_MAX)
		return -ELOOP;
	fd = open_dir(dirfd, name);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	f->depth++;
	rc = io_each_name(fd, ".", each_file, f);
	f->depth--;
	close(fd);
	return rc;
}

static int add_bytes(struct files *f, int dirfd, const char *name, const struct stat *st)
{
	(void)dirfd;
	(void)name;
	f->bytes += (uint64_t)st->st_blocks * 512;
	return 0;
}

int live_dir_bytes(int dirfd, uint64_t *ret)
{
	struct files f = {.fn = add_bytes};
	int rc = io_each_name(dirfd, ".", each_file, &f);

	if (rc == 0)
		*ret = f.bytes;
	return rc;
}

/* 1, which ends the walk: something is behind the header. */
static int look_for_data(struct files *f, int dirfd, const char *name, const struct stat *st)
{
	int fd, rc;

	(void)f;
	if (!S_ISREG(st->st_mode))
		return 0;
	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = lseek(fd, DELTA_BITS, SEEK_DATA) >= 0 ? 1 : errno == ENXIO ? 0 : -errno;
	close(fd);
	return rc;
}

int live_dir_is_blank(int dirfd)
{
	struct files f = {.fn = look_for_data};
	int rc = io_each_name(dirfd, ".", each_file, &f);

	return rc < 0 ? rc : !rc;
}

/* ---- removing ---- */

static int remove_one(void *ctx, int dirfd, const char *name);

static int remove_dir(unsigned *depth, int dirfd, const char *name)
{
	int fd = open_dir(dirfd, name), rc;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (*depth == DEPTH_MAX) {
		close(fd);
		return -ELOOP;
	}
	++*depth;
	rc = io_each_name(fd, ".", remove_one, depth);
	--*depth;
	close(fd);
	if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}

static int remove_one(void *ctx, int dirfd, const char *name)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	return errno == EISDIR || errno == EPERM ? remove_dir(ctx, dirfd, name) : -errno;
}

int live_dir_remove(int dirfd, const char *name)
{
	unsigned depth = 0;

	return remove_one(&depth, dirfd, name);
}

/* ---- who has it ---- */

static int try_lock(int fd, int how)
{
	int rc;

	do
		rc = flock(fd, how | LOCK_NB);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return 0;
}

static int lock_patiently(int fd)
{
	struct timespec pause = {.tv_nsec = TEST_PAUSE_MS * 1000000};
	int rc;

	for (int i = 0; (rc = try_lock(fd, LOCK_EX)) == -EBUSY && i < TESTS; i++)
		(void)nanosleep(&pause, NULL);
	return rc;
}

static int pid_of(int fd)
{
	struct stat st;
	int pid;

	if (fstat(fd, &st) < 0 || lease_lockers(&st, &pid, 1) < 1)
		return -1;
	return pid;
}

static int busy(const char *name, int fd, struct err *err)
{
	int pid = pid_of(fd);

	if (pid < 0)
		return err_set(err, -EBUSY, "live image '%s' is in use by somebody", name);
	return err_set(err, -EBUSY, "live image '%s' is in use by pid %d", name, pid);
}

int live_dir_lock(struct store *store, int dirfd, const char *name, struct err *err)
{
	int fd, rc;

	do
		fd = openat(dirfd, LIVE_DIR_LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	while (fd < 0 && errno == EINTR);
	rc = fd < 0 ? -errno : lock_patiently(fd);
	if (rc == 0)
		return fd;
	if (rc == -EBUSY)
		rc = busy(name, fd, err);
	else
		rc = err_sys(err, rc, "cannot lock '%s/" LIVE_DIR "/%s/" LIVE_DIR_LOCK "'",
			     store->path, name);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int open_lock(int dirfd)
{
	return openat(dirfd, LIVE_DIR_LOCK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

bool live_dir_is_locked(int dirfd)
{
	int fd = open_lock(dirfd);
	bool locked = fd >= 0 && try_lock(fd, LOCK_SH) == -EBUSY;

	if (fd >= 0)
		close(fd);
	return locked;
}

int live_dir_holder(int dirfd)
{
	int fd = open_lock(dirfd), pid;

	if (fd < 0)
		return 0;
	pid = try_lock(fd, LOCK_SH) == 0 ? 0 : pid_of(fd);
	close(fd);
	return pid;
}
