/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers in pieces, and servers with several sockets. */
#include "src/rpc/httpd.h"

#include <netinet/in.h>

#include "tests/unit/wire.h"

#define LIMIT 100000

static struct served server;
static struct httpd_call *_Atomic stream;
static atomic_int hangups, began, taken;

static void on_hangup(void *arg)
{
	(void)arg;
	atomic_fetch_add(&hangups, 1);
}

static void on_taken(void *arg)
{
	(void)arg;
	atomic_fetch_add(&taken, 1);
}

static void get_stream(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_on_hangup(call, on_hangup, NULL);
	atomic_store(&began, httpd_stream_begin(call, "text/x-lines", LIMIT));
	httpd_stream_on_taken(call, on_taken, NULL);
	atomic_store(&stream, call);
}

static void get_short(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	if (httpd_stream_begin(call, "text/plain", LIMIT) < 0) {
		httpd_fail(call, 500, "no stream");
		return;
	}
	(void)httpd_stream_send(call, "one\n", 4);
	(void)httpd_stream_send(call, "two\n", 4);
	httpd_stream_end(call);
}

static void get_local(struct httpd_call *call, void *ctx)
{
	struct sockaddr_storage addr;
	int rc = httpd_local(call, &addr);

	(void)ctx;
	if (rc < 0)
		httpd_fail(call, 500, "no name: %d", rc);
	else
		httpd_json(call, 200, json_pack("{s:s}", "by", addr.ss_family == AF_UNIX ?
						((struct sockaddr_un *)&addr)->sun_path : "tcp"));
}

static const struct httpd_route routes[] = {
	{"GET", "/stream", get_stream},
	{"GET", "/short", get_short},
	{"GET", "/local", get_local},
	{0},
};

/* ---- what is done on the loop's thread ---- */

struct order {
	const char *text;	/* NULL: the end */
	size_t len;
	int rc;
	atomic_bool done;
};

static void carry_out(void *arg)
{
	struct order *o = arg;

	if (o->text)
		o->rc = httpd_stream_send(atomic_load(&stream), o->text, o->len);
	else
		httpd_stream_end(atomic_exchange(&stream, NULL));
	atomic_store(&o->done, true);
}

static int order(const char *text, size_t len)
{
	struct order o = {.text = text, .len = len};

	if (httpd_post(server.h, carry_out, &o) < 0 || !WIRE_WITHIN(atomic_load(&o.done)))
		bail("the loop does not turn");
	return o.rc;
}

static int say(const char *text)
{
	return order(text, strlen(text));
}

static int begin(const char *request)
{
	int fd = wire_connect(server.path);

	wire_send(fd, request);
	if (!WIRE_WITHIN(atomic_load(&stream)))
		bail("no stream");
	return fd;
}

/* What comes up to and with `until`. */
static const char *hear(int fd, const char *until)
{
	static char text[4096];
	size_t len = 0;

	do
		text[len] = '\0';
	while (!strstr(text, until) && len < sizeof(text) - 1 && recv(fd, text + len, 1, 0) == 1 &&
	       ++len);
	return text;
}

/* ---- checks ---- */

static void test_pieces(void)
{
	int fd = begin("GET /stream HTTP/1.1\r\n\r\n");
	const char *head = hear(fd, "\r\n\r\n");

	is_int(wire_status(head), 200, "a stream begins before there is a piece");
	ok(strstr(head, "Content-Type: text/x-lines\r\n"), "with its type");
	ok(strstr(head, "Transfer-Encoding: chunked\r\n"), "in chunks");
	is_int(say("hello\n"), 0, "a piece");
	is_str(hear(fd, "hello\n\r\n"), "6\r\nhello\n\r\n", "comes at once");
	is_int(say("again\n"), 0, "another");
	is_str(hear(fd, "again\n\r\n"), "6\r\nagain\n\r\n", "comes, too");
	order(NULL, 0);
	is_str(hear(fd, "0\r\n\r\n"), "0\r\n\r\n", "the end is told");
	is_int(atomic_load(&hangups), 0, "nobody hung up");
	wire_send(fd, "GET /short HTTP/1.1\r\nConnection: close\r\n\r\n");
	is_str(wire_body(wire_rest(fd)), "4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n",
	       "and the connection is good for more");
}

static void test_plain_peers(void)
{
	int fd;

	is_str(wire_body(wire_ask(&server, "GET /short HTTP/1.0\r\n\r\n")), "one\ntwo\n",
	       "HTTP/1.0 gets the pieces as they are");
	fd = wire_connect(server.path);
	wire_send(fd, "HEAD /short HTTP/1.1\r\n\r\n");
	is_str(wire_body(hear(fd, "\r\n\r\n")), "", "HEAD gets no piece");
	wire_send(fd, "GET /short HTTP/1.1\r\nConnection: close\r\n\r\n");
	is_int(wire_status(wire_rest(fd)), 200, "and may ask on");
}

static void test_hangup(void)
{
	int fd = begin("GET /stream HTTP/1.1\r\n\r\n");

	is_int(say("x"), 0, "a piece is sent");
	close(fd);
	ok(WIRE_WITHIN(atomic_load(&hangups) == 1), "a caller who hangs up is noticed");
	is_int(say("y"), -EPIPE, "pieces have nowhere to go");
	order(NULL, 0);
	ok(WIRE_WITHIN(httpd_conns(server.h) == 0), "nothing is left");
}

/* Nobody reads: at the limit it is refused, and goes on when somebody does. */
static void test_limit(void)
{
	static char block[10000];
	int fd = begin("GET /stream HTTP/1.1\r\n\r\n"), rc, n = 0, got = 0;
	char byte;

	memset(block, 'b', sizeof(block));
	is_int(order(block, LIMIT + 1), -ENOBUFS, "a piece above the limit is never sent");
	while ((rc = order(block, sizeof(block))) == 0 && n < 10000)
		n++;
	is_int(rc, -ENOBUFS, "who does not read is sent no more than the limit");
	ok(n >= LIMIT / (int)sizeof(block) - 1, "but as much");
	atomic_store(&taken, 0);
	hear(fd, "\r\n\r\n");
	while (got < n * (int)sizeof(block) && recv(fd, &byte, 1, 0) == 1)
		got += byte == 'b';
	ok(WIRE_WITHIN(atomic_load(&taken) > 0), "when all is taken that is told");
	is_int(say("on\n"), 0, "and there is room again");
	order(NULL, 0);
	ok(strstr(hear(fd, "\r\n0\r\n\r\n"), "on\n"), "up to the end");
	close(fd);
}

/* Longer than an idle connection may be. */
static void test_patience(void)
{
	int fd = begin("GET /stream HTTP/1.1\r\n\r\n"), idle = wire_connect(server.path);
	char byte;

	hear(fd, "\r\n\r\n");
	is_int(recv(idle, &byte, 1, 0), 0, "an idle connection is ended");
	is_int(say("late\n"), 0, "a stream is not");
	is_str(hear(fd, "late\n\r\n"), "5\r\nlate\n\r\n", "however long it was silent");
	order(NULL, 0);
	hear(fd, "0\r\n\r\n");
	is_int(recv(fd, &byte, 1, 0), 0, "after its end it is one like others");
	close(idle);
	close(fd);
}

static void test_freed(void)
{
	int fd = begin("GET /stream HTTP/1.1\r\n\r\n");

	atomic_store(&hangups, 0);
	is_int(say("x"), 0, "a stream is open");
	wire_stop(&server);
	wire_free(&server);
	is_int(atomic_load(&hangups), 1, "a server that ends tells its handler");
	is_int(wire_status(wire_rest(fd)), 200, "and its caller");
}

/* ---- several sockets ---- */

static int listen_tcp(unsigned short *ret_port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		bail("no TCP");
	*ret_port = ntohs(addr.sin_port);
	return fd;
}

static const char *ask_tcp(unsigned short port, const char *request)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)},
				   .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		bail("no connection");
	wire_send(fd, request);
	return wire_rest(fd);
}

static void test_sockets(void)
{
	const char *second = tap_path("second");
	int fd = wire_listen(second, 8), tcp, one;
	unsigned short port;
	char want[200];
	struct err err;

	wire_make(&server, routes, &(struct httpd_limits){.max_conns = 2, .idle_ms = 600000});
	tcp = listen_tcp(&port);
	one = wire_connect(server.path);
	is_err(httpd_listen(server.h, one, &err), &err, -EINVAL,
	       "descriptor %d is no listening socket", one);
	close(one);
	is_int(httpd_listen(server.h, fd, &err), 0, "a second socket");
	is_int(httpd_listen(server.h, tcp, &err), 0, "a third, of TCP");
	wire_start(&server);
	is_str(wire_body(ask_tcp(port, GET("/local"))), "{\"by\":\"tcp\"}", "one asks by TCP");
	(void)snprintf(want, sizeof(want), "{\"by\":\"%s\"}", second);
	one = wire_connect(second);
	wire_send(one, GET("/local"));
	is_str(wire_body(wire_rest(one)), want, "one by the second");
	(void)snprintf(want, sizeof(want), "{\"by\":\"%s\"}", server.path);
	is_str(wire_body(wire_ask(&server, GET("/local"))), want, "one by the first");
	for (int i = 0; i < 6; i++)
		(void)wire_connect(i % 2 ? second : server.path);
	is_str(wire_body(ask_tcp(port, GET("/local"))), "{\"by\":\"tcp\"}",
	       "when all slots were taken, each of them opens again");
	wire_stop(&server);
	wire_free(&server);
	close(fd);
	close(tcp);
}

static void test_too_many(void)
{
	struct err err;
	int fds[HTTPD_MAX_LISTENERS], rc = 0, n = 1;
	char name[16];

	wire_make(&server, routes, NULL);
	for (; n <= HTTPD_MAX_LISTENERS && rc == 0; n++) {
		(void)snprintf(name, sizeof(name), "s%d", n);
		fds[n - 1] = wire_listen(tap_path(name), 1);
		rc = httpd_listen(server.h, fds[n - 1], &err);
	}
	is_err(rc, &err, -E2BIG, "a server has at most 16 sockets");
	is_int(n, HTTPD_MAX_LISTENERS + 1, "and not fewer");
	wire_free(&server);
	for (int i = 0; i < n - 1; i++)
		close(fds[i]);
}

int main(void)
{
	wire_make(&server, routes, &(struct httpd_limits){.idle_ms = 300});
	wire_start(&server);
	test_pieces();
	test_plain_peers();
	test_hangup();
	test_limit();
	test_patience();
	test_freed();
	test_sockets();
	test_too_many();
	return tap_done();
}
