/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything here waits in turns of ASK_STOPPED_MS, so that `stopped` is asked.  A unix socket
 * whose backlog is full cannot be polled: connect() itself waits, as long as SO_SNDTIMEO says.
 * The others are connected without blocking, and polled.
 */
#include "src/rpc/address.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "store/base/clock.h"

#define ASK_STOPPED_MS 100
#define MAX_LINE 64	/* what a hybrid one answers: "OK ", a port, a line's end */

struct wait {
	uint64_t end_ms;	/* UINT64_MAX: for ever */
	bool (*stopped)(void);
};

/* How long the next turn may take, in ms; -ETIMEDOUT, -ECANCELED. */
static int next_turn(const struct wait *w)
{
	uint64_t now = clock_ms();

	if (w->stopped && w->stopped())
		return -ECANCELED;
	if (now >= w->end_ms)
		return -ETIMEDOUT;
	return w->end_ms - now > ASK_STOPPED_MS ? ASK_STOPPED_MS : (int)(w->end_ms - now);
}

static int await(int fd, short events, const struct wait *w)
{
	struct pollfd p = {.fd = fd, .events = events};
	int ms, n;

	for (;;) {
		ms = next_turn(w);
		if (ms < 0)
			return ms;
		n = poll(&p, 1, ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* ---- connecting ---- */

static int connect_unix(int fd, const char *path, const struct wait *w)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int ms;

	strcpy(addr.sun_path, path);
	for (;;) {
		struct timeval tv;

		ms = next_turn(w);
		if (ms < 0)
			return ms;
		tv = (struct timeval){ms / 1000, ms % 1000 * 1000};
		if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
			return -errno;
		if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
			break;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){0}, sizeof(struct timeval));
	return 0;
}

static int connect_polled(int fd, const struct sockaddr *addr, socklen_t len, const struct wait *w)
{
	int flags = fcntl(fd, F_GETFL), error = 0, rc;
	socklen_t error_len = sizeof(error);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	if (connect(fd, addr, len) < 0) {
		if (errno != EINPROGRESS)
			return -errno;
		rc = await(fd, POLLOUT, w);
		if (rc < 0)
			return rc;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) < 0)
			return -errno;
		if (error)
			return -error;
	}
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

static int connect_vsock(int fd, const struct address *a, const struct wait *w)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = a->cid,
		.svm_port = a->port,
	};
	int rc = connect_polled(fd, (const struct sockaddr *)&addr, sizeof(addr), w);

	/* That is how vsock says that nobody listens. */
	return rc == -ECONNRESET ? -ECONNREFUSED : rc;
}

/* ---- hybrid ---- */

/* Byte by byte: what is behind the line is the guest's. */
static int read_line(int fd, char line[MAX_LINE], const struct wait *w)
{
	for (size_t len = 0; len < MAX_LINE;) {
		int rc = await(fd, POLLIN, w);
		ssize_t n;

		if (rc < 0)
			return rc;
		n = recv(fd, line + len, 1, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0 && errno != ECONNRESET)
			return -errno;
		/* The device closes when nobody in the guest listens. */
		if (n <= 0)
			return len ? -EBADMSG : -ECONNREFUSED;
		if (line[len] == '\n') {
			line[len] = '\0';
			return 0;
		}
		len++;
	}
	return -EBADMSG;
}

static bool is_ok(const char *line)
{
	return !strncmp(line, "OK ", 3) && line[3] && strspn(line + 3, "0123456789") ==
							      strlen(line + 3);
}

static int ask_device(int fd, uint32_t port, const struct wait *w)
{
	char line[MAX_LINE];
	int n = snprintf(line, sizeof(line), "CONNECT %u\n", port), rc;

	if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		return errno == EPIPE ? -ECONNREFUSED : -errno;
	rc = read_line(fd, line, w);
	if (rc < 0)
		return rc;
	return is_ok(line) ? 0 : -EBADMSG;
}

static int connect_hybrid(int fd, const struct address *a, const struct wait *w)
{
	int rc = connect_unix(fd, a->path, w);

	return rc < 0 ? rc : ask_device(fd, a->port, w);
}

/* ---- TCP ---- */

static int find_host(const struct address *a, struct addrinfo **ret)
{
	const struct addrinfo hints = {
		.ai_flags = AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	char port[16];
	int rc;

	(void)snprintf(port, sizeof(port), "%u", a->port);
	rc = getaddrinfo(a->host, port, &hints, ret);
	if (rc == 0)
		return 0;
	return rc == EAI_MEMORY ? -ENOMEM : rc == EAI_SYSTEM ? -errno : -EHOSTUNREACH;
}

/* One address of the host after another.  A descriptor. */
static int connect_tcp(const struct address *a, const struct wait *w)
{
	struct addrinfo *found;
	int rc = find_host(a, &found), fd = -1;

	if (rc < 0)
		return rc;
	for (const struct addrinfo *i = found; i; i = i->ai_next) {
		fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		rc = fd < 0 ? -errno : connect_polled(fd, i->ai_addr, i->ai_addrlen, w);
		if (rc == 0)
			break;
		if (fd >= 0)
			close(fd);
		if (rc == -ETIMEDOUT || rc == -ECANCELED)
			break;
	}
	freeaddrinfo(found);
	return rc < 0 ? rc : fd;
}

/* ---- any ---- */

static int connect_any(const struct address *a, const struct wait *w)
{
	int fd, rc;

	if (a->kind == ADDRESS_TCP)
		return connect_tcp(a, w);
	fd = socket(a->kind == ADDRESS_VSOCK ? AF_VSOCK : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (a->kind == ADDRESS_UNIX)
		rc = connect_unix(fd, a->path, w);
	else if (a->kind == ADDRESS_HYBRID)
		rc = connect_hybrid(fd, a, w);
	else
		rc = connect_vsock(fd, a, w);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

static int failed(const struct address *a, int rc, struct err *err)
{
	char text[ADDRESS_TEXT_SIZE];

	address_format(a, text);
	switch (rc) {
	case -ENOENT:
		return err_set(err, rc, "there is no socket '%s'", a->path);
	case -ECONNREFUSED:
		return err_set(err, rc, "nobody listens on '%s'", text);
	case -ETIMEDOUT:
		return err_set(err, rc, "'%s' gave no answer in time", text);
	case -EBADMSG:
		return err_set(err, rc, "what answers on '%s' is no vsock device of a hypervisor",
			       a->path);
	case -ECANCELED:
		return err_set(err, rc, "'%s' is not waited for any longer", text);
	default:
		return err_sys(err, rc, "cannot connect to '%s'", text);
	}
}

int address_connect(const struct address *a, int timeout_ms, bool (*stopped)(void),
		    struct err *err)
{
	struct wait w = {.end_ms = UINT64_MAX, .stopped = stopped};
	int rc;

	if (a->kind != ADDRESS_UNIX && a->port == 0)
		return err_set(err, -EINVAL, "port 0 is only for listening");
	if (a->kind == ADDRESS_VSOCK && a->cid == ADDRESS_CID_ANY)
		return err_set(err, -EINVAL, "the CID 'any' is only for listening");
	if (timeout_ms >= 0)
		w.end_ms = clock_ms() + (uint64_t)timeout_ms;
	rc = connect_any(a, &w);
	return rc < 0 ? failed(a, rc, err) : rc;
}
