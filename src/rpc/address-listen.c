/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define BACKLOG 64

/* ---- unix sockets ---- */

/*
 * Nobody is bound to it: ECONNREFUSED.  It is asked with a socket of another type: a
 * connection would be taken for a client's by whoever waits there.
 */
static bool is_dead(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool dead = fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 &&
		    errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return dead;
}

int address_clear(const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct address a;
	struct stat st;
	int rc = address_unix(path, &a, err);

	if (rc < 0)
		return rc;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, -errno, "cannot look at '%s'", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -EEXIST, "'%s' is there and no socket", path);
	strcpy(addr.sun_path, a.path);
	if (!is_dead(&addr))
		return err_set(err, -EADDRINUSE, "somebody listens on '%s' already", path);
	return unlink(path) < 0 && errno != ENOENT ?
		err_sys(err, -errno, "cannot remove '%s'", path) : 0;
}

/* Until listen() nobody gets in, whatever the mode is. */
static int listen_unix(int fd, const struct address *a, unsigned mode, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int rc;

	strcpy(addr.sun_path, a->path);
	rc = address_clear(a->path, err);
	if (rc == -EEXIST)
		return err_set(err, rc, "cannot listen on '%s': it is there and no socket",
			       a->path);
	if (rc < 0)
		return rc;
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(err, -errno, "cannot listen on '%s'", a->path);
	if (chmod(a->path, mode) == 0 && listen(fd, BACKLOG) == 0)
		return 0;
	rc = err_sys(err, -errno, "cannot listen on '%s'", a->path);
	(void)unlink(a->path);
	return rc;
}

/* ---- the others ---- */

static int bind_and_listen(int fd, const struct sockaddr *addr, socklen_t len,
			   const struct address *a, struct err *err)
{
	char text[ADDRESS_TEXT_SIZE];
	int on = 1;

	if (addr->sa_family != AF_VSOCK)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, addr, len) == 0 && listen(fd, BACKLOG) == 0)
		return 0;
	address_format(a, text);
	return errno == EADDRINUSE ?
		err_set(err, -EADDRINUSE, "somebody listens on '%s' already", text) :
		err_sys(err, -errno, "cannot listen on '%s'", text);
}

static int listen_vsock(int fd, const struct address *a, struct err *err)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = a->cid,
		.svm_port = a->port ? a->port : VMADDR_PORT_ANY,
	};

	return bind_and_listen(fd, (const struct sockaddr *)&addr, sizeof(addr), a, err);
}

/*
 * No names, and not by getaddrinfo(): in a static program the libc looks names up by libraries
 * that may not be there.
 */
static socklen_t take_ip(const struct address *a, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *four = (struct sockaddr_in *)ret;

	*ret = (struct sockaddr_storage){0};
	if (inet_pton(AF_INET, a->host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)a->port);
		return sizeof(*four);
	}
	if (inet_pton(AF_INET6, a->host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)a->port);
		return sizeof(*six);
	}
	return 0;
}

static int listen_tcp(const struct address *a, struct err *err)
{
	struct sockaddr_storage addr;
	socklen_t len = take_ip(a, &addr);
	int fd, rc;

	if (!len)
		return err_set(err, -EINVAL, "cannot listen on '%s': it is no IP address", a->host);
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, -errno, "cannot make a socket");
	rc = bind_and_listen(fd, (const struct sockaddr *)&addr, len, a, err);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int address_listen(const struct address *a, unsigned mode, struct err *err)
{
	int fd, rc;

	if (a->kind == ADDRESS_HYBRID)
		return err_set(err, -EINVAL, "nobody can listen on a 'hybrid' address");
	if (a->kind == ADDRESS_TCP)
		return listen_tcp(a, err);
	fd = socket(a->kind == ADDRESS_UNIX ? AF_UNIX : AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return a->kind == ADDRESS_VSOCK ?
			err_sys(err, -errno, "cannot make a vsock socket") :
			err_sys(err, -errno, "cannot make a socket");
	rc = a->kind == ADDRESS_UNIX ? listen_unix(fd, a, mode, err) : listen_vsock(fd, a, err);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}
