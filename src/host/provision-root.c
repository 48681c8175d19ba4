/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A path's directory is opened with openat2(RESOLVE_IN_ROOT): links in it are followed as they
 * would be inside the guest, and no further.  The last part of a path is never followed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/host/provision-private.h"
#include "store/base/io.h"

#define TMP_SUFFIX ".lamina-tmp"

static int open_in(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned)(O_RDONLY | O_CLOEXEC | flags),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	do
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : (int)fd;
}

static int open_dir(int root, const char *path)
{
	return open_in(root, path, O_DIRECTORY);
}

/* The directory of `path`; `name` is its last part. */
static int open_parent(int root, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];

	*name = slash ? slash + 1 : path;
	if (!slash)
		return open_dir(root, ".");
	if ((size_t)(slash - path) >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	return open_dir(root, dir);
}

/* ---- reading ---- */

static int read_link(int dir, const char *name, struct provision_data *ret)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(dir, name, target, sizeof(target) - 1);

	if (len < 0)
		return -errno;
	target[len] = '\0';
	ret->data = strdup(target);
	ret->len = (size_t)len;
	ret->kind = PROVISION_LINK;
	return ret->data ? 0 : -ENOMEM;
}

static int read_open(int fd, struct provision_data *ret)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	ret->kind = PROVISION_OTHER;
	if (!S_ISREG(st.st_mode) || st.st_size > PROVISION_FILE_MAX)
		return 0;
	ret->data = malloc((size_t)st.st_size + 1);
	if (!ret->data)
		return -ENOMEM;
	n = io_pread(fd, ret->data, (size_t)st.st_size, 0);
	if (n < 0)
		return (int)n;
	ret->data[n] = '\0';
	ret->len = (size_t)n;
	ret->kind = PROVISION_FILE;
	ret->mode = st.st_mode & 07777;
	return 0;
}

static int read_regular(int dir, const char *name, struct provision_data *ret)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = read_open(fd, ret);
	(void)close(fd);
	return rc;
}

static int read_at(int dir, const char *name, struct provision_data *ret)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISLNK(st.st_mode))
		return read_link(dir, name, ret);
	if (S_ISREG(st.st_mode))
		return read_regular(dir, name, ret);
	ret->kind = S_ISDIR(st.st_mode) ? PROVISION_DIR : PROVISION_OTHER;
	return 0;
}

int provision_root_read(int root, const char *path, struct provision_data *ret, struct err *err)
{
	struct provision_data found = {.kind = PROVISION_NONE};
	const char *name;
	int dir = open_parent(root, path, &name), rc;

	if (dir == -ENOENT) {
		*ret = found;
		return 0;
	}
	rc = dir;
	if (dir >= 0) {
		rc = read_at(dir, name, &found);
		(void)close(dir);
	}
	if (rc < 0) {
		free(found.data);
		return err_sys(err, rc, "cannot read '/%s'", path);
	}
	*ret = found;
	return 0;
}

ssize_t provision_root_head(int root, const char *path, void *ret, size_t len)
{
	int fd = open_in(root, path, O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t rc;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = -EMEDIUMTYPE;
	else
		rc = io_pread(fd, ret, len, 0);
	(void)close(fd);
	return rc;
}

/* ---- writing ---- */

static int write_open(int fd, const struct provision_data *what)
{
	int rc = io_write_all(fd, what->data, what->len);

	if (rc == 0 && geteuid() == 0 && fchown(fd, 0, 0) < 0)
		rc = -errno;
	if (rc == 0 && fchmod(fd, what->mode) < 0)
		rc = -errno;
	return rc < 0 ? rc : io_fsync(fd);
}

static int write_tmp(int dir, const char *tmp, const struct provision_data *what)
{
	int fd, rc;

	if (what->kind == PROVISION_LINK)
		return symlinkat(what->data, dir, tmp) < 0 ? -errno : 0;
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = write_open(fd, what);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

static int tmp_name(char out[NAME_MAX + 1], const char *name)
{
	int len = snprintf(out, NAME_MAX + 1, ".%s" TMP_SUFFIX, name);

	return len > NAME_MAX ? -ENAMETOOLONG : 0;
}

static int remove_at(int dir, const char *name)
{
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int replace_at(int dir, const char *name, const struct provision_data *what)
{
	char tmp[NAME_MAX + 1];
	int rc = tmp_name(tmp, name);

	if (rc < 0)
		return rc;
	rc = remove_at(dir, tmp);
	if (rc == 0)
		rc = write_tmp(dir, tmp, what);
	if (rc == 0 && renameat(dir, tmp, dir, name) < 0)
		rc = -errno;
	if (rc < 0)
		(void)unlinkat(dir, tmp, 0);
	return rc < 0 ? rc : io_fsync(dir);
}

int provision_root_write(int root, const char *path, const struct provision_data *what,
			 struct err *err)
{
	const char *name;
	int dir = open_parent(root, path, &name), rc = dir;

	if (dir >= 0) {
		rc = replace_at(dir, name, what);
		(void)close(dir);
	}
	return rc < 0 ? err_sys(err, rc, "cannot write '/%s'", path) : 0;
}

/* What a killed replace_at() left.  Where nothing can be written there may be nothing to do. */
static int remove_tmp(int dir, const char *name)
{
	char tmp[NAME_MAX + 1];
	int rc = tmp_name(tmp, name);
	struct stat st;

	if (rc < 0)
		return rc;
	if (fstatat(dir, tmp, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0;
	return unlinkat(dir, tmp, 0) == 0 ? io_fsync(dir) : errno == ENOENT ? 0 : -errno;
}

int provision_root_tidy(int root, const char *path, struct err *err)
{
	const char *name;
	int dir = open_parent(root, path, &name), rc = dir;

	if (dir == -ENOENT || dir == -ENOTDIR)
		return 0;
	if (dir >= 0) {
		rc = remove_tmp(dir, name);
		(void)close(dir);
	}
	return rc < 0 ? err_sys(err, rc, "cannot tidy up beside '/%s'", path) : 0;
}

static int remove_durably(int dir, const char *name)
{
	int rc = remove_at(dir, name);

	return rc < 0 ? rc : io_fsync(dir);
}

int provision_root_remove(int root, const char *path, struct err *err)
{
	const char *name;
	int dir = open_parent(root, path, &name), rc = dir;

	if (dir == -ENOENT)
		return 0;
	if (dir >= 0) {
		rc = remove_durably(dir, name);
		(void)close(dir);
	}
	return rc < 0 ? err_sys(err, rc, "cannot remove '/%s'", path) : 0;
}

/* ---- directories ---- */

int provision_root_each(int root, const char *path,
			int (*fn)(void *ctx, int dirfd, const char *name), void *ctx)
{
	int fd = open_dir(root, path), rc;

	if (fd < 0)
		return fd;
	rc = io_each_name(fd, ".", fn, ctx);
	(void)close(fd);
	return rc;
}

int provision_root_has_dir(int root, const char *path, struct err *err)
{
	int dir = open_dir(root, path);

	if (dir == -ENOENT)
		return 0;
	if (dir < 0)
		return err_sys(err, dir, "cannot open directory '/%s'", path);
	(void)close(dir);
	return 1;
}

static int mkdir_at(int dir, const char *name)
{
	if (mkdirat(dir, name, 0755) < 0)
		return errno == EEXIST ? 0 : -errno;
	/* Whatever the umask is. */
	if (fchmodat(dir, name, 0755, 0) < 0)
		return -errno;
	return io_fsync(dir);
}

int provision_root_mkdir(int root, const char *path, struct err *err)
{
	const char *name;
	int dir = open_parent(root, path, &name), rc = dir;

	if (dir >= 0) {
		rc = mkdir_at(dir, name);
		(void)close(dir);
	}
	return rc < 0 ? err_sys(err, rc, "cannot make directory '/%s'", path) : 0;
}

int provision_root_rmdir(int root, const char *path, struct err *err)
{
	const char *name;
	int dir = open_parent(root, path, &name), rc = dir;

	if (dir == -ENOENT)
		return 0;
	if (dir >= 0) {
		rc = unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
		rc = rc < 0 ? rc : io_fsync(dir);
		(void)close(dir);
	}
	if (rc == -EEXIST)
		rc = -ENOTEMPTY;
	return rc < 0 ? err_sys(err, rc, "cannot remove directory '/%s'", path) : 0;
}
