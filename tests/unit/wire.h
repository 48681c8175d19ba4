/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An httpd in a thread, and a client that sends bytes as they are. */
#ifndef LAMINA_TESTS_UNIT_WIRE_H
#define LAMINA_TESTS_UNIT_WIRE_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "src/rpc/httpd.h"
#include "tests/tap.h"

#define WIRE_FN static inline __attribute__((unused))

struct served {
	struct httpd *h;
	pthread_t thread;
	char path[108];
	int fd;
	int rc;		/* of httpd_run() */
};

WIRE_FN struct sockaddr_un wire_address(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return addr;
}

WIRE_FN int wire_listen(const char *path, int backlog)
{
	struct sockaddr_un addr = wire_address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, backlog) < 0)
		bail("cannot listen on %s: %s", path, strerror(errno));
	return fd;
}

WIRE_FN int wire_connect(const char *path)
{
	struct sockaddr_un addr = wire_address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		bail("cannot connect to %s: %s", path, strerror(errno));
	return fd;
}

WIRE_FN void *wire_run(void *arg)
{
	struct served *s = arg;

	s->rc = httpd_run(s->h, NULL);
	return NULL;
}

/* Makes it only: for a test that has more to set before wire_start(). */
WIRE_FN void wire_make(struct served *s, const struct httpd_route *routes,
		       const struct httpd_limits *limits)
{
	struct err err;

	(void)snprintf(s->path, sizeof(s->path), "%s", tap_path("socket"));
	s->fd = wire_listen(s->path, 512);
	if (httpd_new(s->fd, routes, s, &s->h, &err) < 0)
		bail("no server: %s", err.text);
	if (limits)
		httpd_set_limits(s->h, limits);
}

WIRE_FN void wire_start(struct served *s)
{
	if (pthread_create(&s->thread, NULL, wire_run, s))
		bail("no thread");
}

WIRE_FN void wire_stop(struct served *s)
{
	httpd_stop(s->h);
	pthread_join(s->thread, NULL);
}

WIRE_FN void wire_free(struct served *s)
{
	httpd_free(s->h);
	close(s->fd);
}

/* What the peer takes of it; it may have hung up. */
WIRE_FN size_t wire_send_mem(int fd, const void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = send(fd, (const char *)data + done, len - done, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

WIRE_FN size_t wire_send(int fd, const char *text)
{
	return wire_send_mem(fd, text, strlen(text));
}

/* Up to the end of the connection (then it is closed); in a buffer that the next call uses. */
WIRE_FN const char *wire_rest(int fd)
{
	static char text[1 << 20];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) - 1 &&
	       (n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fd);
	return text;
}

/* One answer with a Content-Length, of a connection that stays open. */
WIRE_FN const char *wire_answer(int fd)
{
	static char text[65536];
	size_t len = 0, want = sizeof(text) - 1;
	char *end;

	while (len < want && recv(fd, text + len, 1, 0) == 1) {
		text[++len] = '\0';
		if (want == sizeof(text) - 1 && (end = strstr(text, "\r\n\r\n"))) {
			char *field = strcasestr(text, "content-length:");

			want = len + (field ? strtoul(field + 15, NULL, 10) : 0);
		}
	}
	text[len] = '\0';
	return text;
}

WIRE_FN const char *wire_ask(const struct served *s, const char *request)
{
	int fd = wire_connect(s->path);

	wire_send(fd, request);
	return wire_rest(fd);
}

WIRE_FN const char *wire_body(const char *answer)
{
	const char *body = strstr(answer, "\r\n\r\n");

	return body ? body + 4 : "(no body)";
}

WIRE_FN int wire_status(const char *answer)
{
	int status = -1;

	(void)sscanf(answer, "HTTP/1.%*d %d ", &status);
	return status;
}

/* Waits, up to half a minute, until `cond` holds. */
#define WIRE_WITHIN(cond)							\
	({									\
		int turns_ = 3000;						\
		while (!(cond) && turns_-- > 0)					\
			nanosleep(&(struct timespec){0, 10000000}, NULL);	\
		(cond);								\
	})

#define GET(path) "GET " path " HTTP/1.1\r\nConnection: close\r\n\r\n"

#endif
