/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/http-stand-in.h"

#include <sys/socket.h>
#include <unistd.h>

/* Connects without anybody at the other end. */
static int make_udp(const struct curl_sockaddr *addr)
{
	int fd = socket(addr->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, &addr->addr, addr->addrlen) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Connects to itself. */
static int make_unix(struct curl_sockaddr *addr)
{
	const struct sockaddr any = {.sa_family = AF_UNIX};
	socklen_t len = sizeof(addr->addr);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && (bind(fd, &any, sizeof(any.sa_family)) < 0 ||
			getsockname(fd, &addr->addr, &len) < 0)) {
		close(fd);
		return -1;
	}
	addr->family = AF_UNIX;
	addr->addrlen = len;
	return fd;
}

int http_stand_in(struct curl_sockaddr *addr)
{
	int fd = make_udp(addr);

	return fd >= 0 ? fd : make_unix(addr);
}
