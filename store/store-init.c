/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a store.  index.db gets its name last, in one rename: a directory
 * without it is not a store yet, and an init that was interrupted there is
 * done again over what it left.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/digest.h"
#include "store/index.h"
#include "store/store-private.h"
#include "store/store.h"

#define INDEX_NEW "index.db.new"

/* What an interrupted init may have left; lost+found is mkfs's. */
static bool may_be_there(const char *name)
{
	static const char *const ours[] = {
		"packs", "leases", "lock", "reserve", "lost+found",
		INDEX_NEW, INDEX_NEW "-wal", INDEX_NEW "-shm", INDEX_NEW "-journal",
	};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcmp(name, ours[i]) == 0)
			return true;
	return false;
}

/* The first name that is not: 1. */
static int find_strange(void *ctx, int dirfd, const char *name)
{
	(void)dirfd;
	if (may_be_there(name))
		return 0;
	(void)snprintf(ctx, NAME_MAX + 1, "%s", name);
	return 1;
}

static int check_empty(const char *path, int dirfd, struct err *err)
{
	char name[NAME_MAX + 1];
	int rc = io_each_name(dirfd, ".", find_strange, name);

	if (rc < 0)
		return err_sys(err, rc, "cannot read directory '%s'", path);
	return rc == 0 ? 0 : err_set(err, -ENOTEMPTY, "directory '%s' is not empty: it has '%s'",
				     path, name);
}

static int is_pack(void *ctx, int dirfd, const char *name)
{
	(void)ctx, (void)dirfd;
	return *name != '.';
}

static int check_no_packs(const char *path, int dirfd, struct err *err)
{
	int rc = io_each_name(dirfd, "packs", is_pack, NULL);

	if (rc == 1)
		return err_set(err, -ENOTEMPTY, "'%s' has packs but no index.db: "
			       "'lamina recover' makes it again", path);
	return rc == 0 || rc == -ENOENT ? 0 : err_sys(err, rc, "cannot read '%s/packs'", path);
}

static int check_usable(const char *path, int dirfd, struct err *err)
{
	struct stat st;
	int rc;

	if (fstatat(dirfd, "index.db", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(err, -EEXIST, "there is a store in '%s' already", path);
	rc = check_no_packs(path, dirfd, err);
	return rc < 0 ? rc : check_empty(path, dirfd, err);
}

static int make_dir(int dirfd, const char *path, const char *name, struct err *err)
{
	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return err_sys(err, -errno, "cannot make directory '%s/%s'", path, name);
	return 0;
}

static int make_lock(int dirfd, const char *path, struct err *err)
{
	int fd = openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_sys(err, -errno, "cannot make '%s/lock'", path);
	close(fd);
	return 0;
}

/* Both names of a file that another init may have left half made. */
static void drop_index(int dirfd)
{
	(void)unlinkat(dirfd, INDEX_NEW, 0);
	(void)unlinkat(dirfd, INDEX_NEW "-wal", 0);
	(void)unlinkat(dirfd, INDEX_NEW "-shm", 0);
	(void)unlinkat(dirfd, INDEX_NEW "-journal", 0);
}

static int fill_index(struct index *ix, const struct store_params *params, struct err *err)
{
	uint8_t uuid[16];
	int rc;

	if (getrandom(uuid, sizeof(uuid), 0) != (ssize_t)sizeof(uuid))
		return err_set(err, -EIO, "the kernel gives no random numbers");
	rc = index_begin(ix, err);
	if (rc < 0)
		return rc;
	rc = store_meta_put(ix, uuid, params, err);
	if (rc == 0)
		return index_commit(ix, err);
	index_abort(ix);
	return rc;
}

/* Closing the only connection moves the WAL into the file, which is then whole. */
static int make_index(const char *path, const struct store_params *params, struct err *err)
{
	struct index *ix;
	char *name;
	int rc;

	if (asprintf(&name, "%s/" INDEX_NEW, path) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rc = index_open(name, INDEX_CREATE, &ix, err);
	free(name);
	if (rc < 0)
		return rc;
	rc = fill_index(ix, params, err);
	if (rc == 0)
		index_checkpoint(ix);
	index_close(ix);
	return rc;
}

static int publish(int dirfd, const char *path, struct err *err)
{
	struct stat st;
	int fd, rc;

	if (fstatat(dirfd, INDEX_NEW "-wal", &st, 0) == 0 && st.st_size > 0)
		return err_set(err, -EIO, "'%s/" INDEX_NEW "' could not be completed", path);
	fd = openat(dirfd, INDEX_NEW, O_RDONLY | O_CLOEXEC);
	rc = fd < 0 ? -errno : io_fsync(fd);
	if (fd >= 0)
		close(fd);
	if (rc == 0 && renameat(dirfd, INDEX_NEW, dirfd, "index.db") < 0)
		rc = -errno;
	if (rc == 0 && (rc = io_fsync_dir(dirfd, ".")) < 0)
		(void)unlinkat(dirfd, "index.db", 0);
	return rc < 0 ? err_sys(err, rc, "cannot make '%s/index.db'", path) : 0;
}

static int fill(const char *path, int dirfd, const struct store_params *params, struct err *err)
{
	int rc = make_dir(dirfd, path, "packs", err);

	if (rc == 0)
		rc = make_dir(dirfd, path, "leases", err);
	if (rc == 0)
		rc = make_lock(dirfd, path, err);
	if (rc < 0)
		return rc;
	rc = store_reserve_at(dirfd);
	if (rc < 0)
		return err_sys(err, rc, "cannot make '%s/reserve'", path);
	drop_index(dirfd);
	rc = make_index(path, params, err);
	return rc < 0 ? rc : publish(dirfd, path, err);
}

static int init_at(const char *path, int dirfd, const struct store_params *params,
		   struct err *err)
{
	int rc = store_check_fs(path, dirfd, err);

	if (rc < 0)
		return rc;
	if (flock(dirfd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, -EBUSY, "a store is being made in '%s' by somebody else",
			       path);
	rc = check_usable(path, dirfd, err);
	if (rc < 0)
		return rc;
	if (fchmod(dirfd, 0700) < 0)
		return err_sys(err, -errno, "cannot change the mode of '%s'", path);
	return fill(path, dirfd, params, err);
}

static int make_path(const char *path, struct err *err)
{
	char *copy, *slash;
	int rc = 0;

	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT || *path == '\0')
		return err_sys(err, -errno, "cannot make directory '%s'", path);
	copy = strdup(path);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	slash = strrchr(copy, '/');
	if (slash && slash != copy) {
		*slash = '\0';
		rc = io_mkdirs(copy, 0755, err);
	}
	free(copy);
	if (rc == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
		rc = err_sys(err, -errno, "cannot make directory '%s'", path);
	return rc;
}

int store_init(const char *path, const struct store_params *params, struct err *err)
{
	int dirfd, rc = store_params_check(params, err);

	if (rc == 0 && digest_init() < 0)
		rc = err_set(err, -ENOTSUP, "libgcrypt does not offer the digests that are needed");
	if (rc == 0)
		rc = make_path(path, err);
	if (rc < 0)
		return rc;
	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_sys(err, -errno, "cannot open directory '%s'", path);
	rc = init_at(path, dirfd, params, err);
	if (rc == 0)
		(void)io_fsync_dir(dirfd, "..");
	close(dirfd);
	return rc;
}
