/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/unixsock.h"
#include "src/rpc/address.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128
#define CLAIM_BACKLOG 16

static int address(const char *path, struct sockaddr_un *ret)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, path, len);
	return 0;
}

/* ---- to listen in place of another ---- */

static int bind_and_listen(int fd, const struct sockaddr_un *addr, mode_t mode)
{
	(void)unlink(addr->sun_path);
	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return -errno;
	/* Nobody gets in between: until listen() there is nothing to connect to. */
	if (chmod(addr->sun_path, mode) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

static int check_place(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISSOCK(st.st_mode) ? 0 : -EEXIST;
}

static int replace(int fd, const char *path, mode_t mode)
{
	char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 16];
	struct sockaddr_un addr;
	int rc;

	(void)snprintf(name, sizeof(name), "%s.%d", path, (int)getpid());
	rc = address(name, &addr);
	if (rc == 0)
		rc = check_place(path);
	if (rc == 0)
		rc = bind_and_listen(fd, &addr, mode);
	if (rc == 0 && rename(addr.sun_path, path) < 0) {
		rc = -errno;
		(void)unlink(addr.sun_path);
	}
	return rc;
}

int unixsock_replace(const char *path, int type, mode_t mode, struct err *err)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return err_sys(err, -errno, "cannot make a socket");
	rc = replace(fd, path, mode);
	if (rc == 0)
		return fd;
	close(fd);
	if (rc == -EEXIST)
		return err_set(err, rc, "cannot listen on '%s': it is there and no socket", path);
	return err_sys(err, rc, "cannot listen on '%s'", path);
}

/* ---- to listen where nobody does ---- */

/*
 * Nobody is bound to it: ECONNREFUSED.  It is asked with a socket of another type:
 * a connection would be taken for a client's by whoever waits there.
 */
static bool is_dead(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, rc;

	if (lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
	rc = rc < 0 && errno == ECONNREFUSED;
	close(fd);
	return rc;
}

static int bind_unless_used(int fd, const struct sockaddr_un *addr)
{
	int rc = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;

	if (rc != -EADDRINUSE || !is_dead(addr))
		return rc;
	if (unlink(addr->sun_path) < 0 ||
	    bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return -errno;
	return 0;
}

static int claim(int fd, const struct sockaddr_un *addr, mode_t mode)
{
	int rc = bind_unless_used(fd, addr);

	if (rc == 0 && (chmod(addr->sun_path, mode) < 0 || listen(fd, CLAIM_BACKLOG) < 0)) {
		rc = -errno;
		(void)unlink(addr->sun_path);
	}
	return rc;
}

int unixsock_claim(const char *path, int type, mode_t mode, struct err *err)
{
	struct sockaddr_un addr;
	int fd, rc = address(path, &addr);

	if (rc < 0)
		return err_set(err, rc, "socket '%s': a socket's path has at most %zu bytes", path,
			       sizeof(addr.sun_path) - 1);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, -errno, "cannot make a socket");
	rc = claim(fd, &addr, mode);
	if (rc == 0)
		return fd;
	close(fd);
	return err_sys(err, rc, "cannot listen on '%s'", path);
}

/* ---- connections ---- */

int unixsock_connect(const char *path, int type)
{
	struct sockaddr_un addr;
	int rc = address(path, &addr), fd;

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/*
 * The other end of a connection is whoever called listen() last, and that is us now.
 * One who waits to be accepted must not keep us out.
 */
bool unixsock_is_at(int listening, const char *path)
{
	struct ucred who = {0};
	bool same = false;
	int fd;

	if (listen(listening, SOMAXCONN) < 0)
		return false;
	fd = unixsock_connect(path, SOCK_STREAM | SOCK_NONBLOCK);
	if (fd >= 0) {
		same = address_peer(fd, &who) == 0 && who.pid == getpid();
		close(fd);
	}
	(void)listen(listening, BACKLOG);
	return same;
}
