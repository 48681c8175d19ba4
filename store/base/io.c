/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/clock.h"

ssize_t io_pread(int fd, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_pread_all(int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t n = io_pread(fd, buf, len, off);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EBADMSG;
}

int io_pwrite_all(int fd, const void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

int io_write_all(int fd, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

int io_fsync(int fd)
{
	int rc;

	do
		rc = fsync(fd);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static int open_retry(int dirfd, const char *path, int flags, mode_t mode)
{
	int fd;

	do
		fd = openat(dirfd, path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int io_fsync_dir(int dirfd, const char *path)
{
	int fd = open_retry(dirfd, path, O_RDONLY | O_DIRECTORY, 0), rc;

	if (fd < 0)
		return fd;
	rc = io_fsync(fd);
	close(fd);
	return rc;
}

static int make_dir(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int io_mkdirs(const char *path, unsigned mode, struct err *err)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	int rc;

	if (len == 0)
		return err_set(err, -EINVAL, "a directory's name is empty");
	if (len >= sizeof(part))
		return err_set(err, -ENAMETOOLONG, "a directory's name is too long");
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		rc = make_dir(part, (mode_t)mode);
		if (rc < 0)
			return err_sys(err, rc, "cannot make directory '%s'", part);
	}
	return 0;
}

/* Reads to the end of a file whose size nobody knows (a pipe, /proc). */
static int slurp(int fd, size_t max, char **ret, size_t *ret_len)
{
	size_t cap = 0, len = 0;
	char *data = NULL, *bigger;
	ssize_t n;

	for (;;) {
		if (len == cap) {
			cap = cap ? cap * 2 : 4096;
			bigger = realloc(data, cap + 1);
			if (!bigger)
				goto no_memory;
			data = bigger;
		}
		n = read(fd, data + len, cap - len);
		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || len + (size_t)n > max) {
			int rc = n < 0 ? -errno : -EFBIG;

			free(data);
			return rc;
		}
		len += (size_t)n;
	}
	data[len] = '\0';
	*ret = data;
	if (ret_len)
		*ret_len = len;
	return 0;
no_memory:
	free(data);
	return -ENOMEM;
}

int io_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	int fd = open_retry(dirfd, path, O_RDONLY, 0), rc;

	if (fd < 0)
		return fd;
	rc = slurp(fd, max, ret, ret_len);
	close(fd);
	return rc;
}

int io_read_regular(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	int fd = open_retry(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0), rc;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else
		rc = S_ISREG(st.st_mode) ? slurp(fd, max, ret, ret_len) : -EMEDIUMTYPE;
	close(fd);
	return rc;
}

static int write_new_file(int dirfd, const char *path, const void *data, size_t len)
{
	int fd = open_retry(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC, 0666), rc;

	if (fd < 0)
		return fd;
	rc = io_write_all(fd, data, len);
	if (rc == 0)
		rc = io_fsync(fd);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

static int fsync_parent(int dirfd, const char *path)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	if (!slash)
		return io_fsync_dir(dirfd, ".");
	if (len == 0)
		return io_fsync_dir(dirfd, "/");
	memcpy(dir, path, len);
	dir[len] = '\0';
	return io_fsync_dir(dirfd, dir);
}

int io_replace_file(int dirfd, const char *path, const void *data, size_t len)
{
	char tmp[PATH_MAX];
	int rc;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= sizeof(tmp))
		return -ENAMETOOLONG;
	rc = write_new_file(dirfd, tmp, data, len);
	if (rc == 0 && renameat(dirfd, tmp, dirfd, path) < 0)
		rc = -errno;
	if (rc < 0) {
		(void)unlinkat(dirfd, tmp, 0);
		return rc;
	}
	return fsync_parent(dirfd, path);
}

/* A descriptor of its own: the walk moves it. */
static DIR *open_walk(int at, const char *path)
{
	DIR *dir;
	int fd, error;

	do
		fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0) {
		error = errno;
		close(fd);
		errno = error;
	}
	return dir;
}

int io_each_name(int at, const char *path, int (*fn)(void *ctx, int dirfd, const char *name),
		 void *ctx)
{
	DIR *dir = open_walk(at, path);
	struct dirent *d;
	int rc = 0;

	if (!dir)
		return -errno;
	while (rc == 0 && (errno = 0, d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			rc = fn(ctx, dirfd(dir), d->d_name);
	if (rc == 0 && errno)
		rc = -errno;
	closedir(dir);
	return rc;
}

char *io_absolute(const char *path)
{
	char *here, *whole;

	if (*path == '/')
		return strdup(path);
	here = getcwd(NULL, 0);
	if (!here || asprintf(&whole, "%s/%s", here, path) < 0)
		whole = NULL;
	free(here);
	return whole;
}

int io_lock_until(int fd, uint64_t end_ms)
{
	static const struct timespec pause = {.tv_nsec = 10 * 1000000L};

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (clock_ms() >= end_ms)
			return -EBUSY;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}
