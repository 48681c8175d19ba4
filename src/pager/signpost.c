/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/signpost.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/pager/unixsock.h"

#define PATH_LEN (PATH_MAX + 32)	/* what is not a path any more, the kernel tells */

static void name_it(char out[PATH_LEN], const char *runtime_dir)
{
	(void)snprintf(out, PATH_LEN, "%s/pager.sock", runtime_dir);
}

/* Whether both names lead to the same file, which is there. */
static bool is_same(const char *path, const char *other)
{
	struct stat a, b;

	return stat(path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* Whether a link may take its place: 0, -errno. */
static int check_place(const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISLNK(st.st_mode) && !S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = unixsock_connect(path, SOCK_STREAM | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return 0;
	return fd >= 0 || fd == -EAGAIN ? -EBUSY : fd;
}

static int put(const char *path, const char *socket)
{
	char made[PATH_LEN + 32];
	int rc;

	(void)snprintf(made, sizeof(made), "%s.%d", path, (int)getpid());
	(void)unlink(made);
	if (symlink(socket, made) < 0)
		return -errno;
	if (rename(made, path) == 0)
		return 0;
	rc = -errno;
	(void)unlink(made);
	return rc;
}

int signpost_put(const char *runtime_dir, const char *socket, struct err *err)
{
	char path[PATH_LEN];
	int rc;

	name_it(path, runtime_dir);
	if (strcmp(path, socket) == 0 || is_same(path, socket))
		return 0;
	rc = check_place(path);
	if (rc == 0)
		rc = put(path, socket);
	switch (rc) {
	case 0:
		return 0;
	case -EBUSY:
		return err_set(err, rc, "cannot lead from '%s' to '%s': another one answers there",
			       path, socket);
	case -EEXIST:
		return err_set(err, rc, "cannot lead from '%s' to '%s': it is there and no socket",
			       path, socket);
	default:
		return err_sys(err, rc, "cannot lead from '%s' to '%s'", path, socket);
	}
}

bool signpost_read(const char *runtime_dir, char ret[PATH_MAX])
{
	char path[PATH_LEN], where[PATH_MAX];
	ssize_t n;

	name_it(path, runtime_dir);
	n = readlink(path, where, sizeof(where));
	if (n <= 0 || n == sizeof(where))
		return false;
	where[n] = '\0';
	memcpy(ret, where, (size_t)n + 1);
	return true;
}

void signpost_clear(const char *runtime_dir, const char *socket)
{
	char path[PATH_LEN], where[PATH_MAX];

	name_it(path, runtime_dir);
	if (strcmp(path, socket) == 0 && signpost_read(runtime_dir, where))
		(void)unlink(path);
}

void signpost_remove(const char *runtime_dir, const char *socket)
{
	char path[PATH_LEN], where[PATH_MAX];

	if (!signpost_read(runtime_dir, where) || strcmp(where, socket) != 0)
		return;
	name_it(path, runtime_dir);
	(void)unlink(path);
}
