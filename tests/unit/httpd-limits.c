/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What peers may do to an httpd: rubbish, floods, silence, too many of them. */
#include "src/rpc/httpd.h"

#include <sys/resource.h>

#include "tests/unit/wire.h"

static struct served server;

static void get_ok(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_json(call, 200, json_pack("{s:b}", "ok", 1));
}

static void post_body(struct httpd_call *call, void *ctx)
{
	json_t *body = httpd_body(call);

	(void)ctx;
	if (body)
		httpd_json(call, 200, json_pack("{s:i}", "keys", (int)json_object_size(body)));
}

static void get_big(struct httpd_call *call, void *ctx)
{
	static char text[4 << 20];

	(void)ctx;
	memset(text, 'x', sizeof(text) - 1);
	httpd_text(call, 200, "text/plain", text);
}

static struct httpd_call *_Atomic later;

static void get_later(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	atomic_store(&later, call);
}

static void answer_later(void *arg)
{
	(void)arg;
	httpd_empty(atomic_exchange(&later, NULL), 204);
}

static const struct httpd_route routes[] = {
	{"GET", "/ok", get_ok},
	{"POST", "/body", post_body},
	{"GET", "/big", get_big},
	{"GET", "/later", get_later},
	{0},
};

static void begin(const struct httpd_limits *limits)
{
	wire_make(&server, routes, limits);
	wire_start(&server);
}

static void end(void)
{
	wire_stop(&server);
	wire_free(&server);
}

static bool is_alive(void)
{
	return wire_status(wire_ask(&server, GET("/ok"))) == 200;
}

/* Sends `len` times `byte`, or until the server wants no more. */
static void flood(int fd, char byte, size_t len)
{
	static char block[65536];
	size_t n;

	memset(block, byte, sizeof(block));
	for (; len; len -= n) {
		n = len < sizeof(block) ? len : sizeof(block);
		if (wire_send_mem(fd, block, n) < n)
			break;
	}
}

static void test_body_limit(void)
{
	int fd;

	begin(&(struct httpd_limits){.max_body = 1000, .request_ms = 1000});
	fd = wire_connect(server.path);
	wire_send(fd, "POST /body HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{");
	flood(fd, ' ', 998);
	wire_send(fd, "}");
	is_int(wire_status(wire_answer(fd)), 200, "a body at the limit");
	wire_send(fd, "POST /body HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n");
	flood(fd, ' ', 5000000);
	is_int(wire_status(wire_rest(fd)), 413, "one far beyond it");
	fd = wire_connect(server.path);
	wire_send(fd, "POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n");
	is_int(wire_status(wire_rest(fd)), 413, "a chunk one byte beyond it");
	is_int(wire_status(wire_ask(&server, "POST /body HTTP/1.1\r\n"
					     "Content-Length: -1\r\n\r\n")), 400,
	       "a negative length");
	is_str(wire_ask(&server, "POST /body HTTP/1.1\r\nContent-Length: "
				 "99999999999999999999999\r\n\r\n "),
	       "", "a length beyond all numbers, of which nothing comes");
	ok(is_alive(), "the server lives");
	end();
}

static const char *error_of(const char *answer)
{
	static char text[256];
	const char *body = strstr(answer, "\r\n\r\n");
	const char *error = NULL;
	json_t *json = body ? json_loads(body + 4, JSON_REJECT_DUPLICATES, NULL) : NULL;

	(void)json_unpack(json, "{s:s}", "error", &error);
	(void)snprintf(text, sizeof(text), "%s", error ? error : "");
	json_decref(json);
	return text;
}

/* What libevent would answer with HTML. */
static void test_refusals(void)
{
	static const char chunk[] = "POST /body HTTP/1.1\r\nExpect: 100-continue\r\n"
				    "Transfer-Encoding: chunked\r\n\r\nzz\r\n";
	const char *answer, *last;
	int fd;

	begin(&(struct httpd_limits){.max_body = 1000, .max_headers = 2000});
	answer = wire_ask(&server, "rubbish\r\n\r\n");
	is_int(wire_status(answer), 400, "what is no HTTP");
	is_str(error_of(answer), "this is no request of HTTP, or its headers have more than 2000 "
	       "bytes", "is told in JSON");
	ok(strstr(answer, "\r\nContent-Type: application/json\r\n"), "which the type says");
	ok(strstr(answer, "\r\nConnection: close\r\n"), "and that this is the end");
	fd = wire_connect(server.path);
	wire_send(fd, "POST /body HTTP/1.1\r\nContent-Length: 1001\r\n\r\n");
	flood(fd, ' ', 1001);
	answer = wire_rest(fd);
	is_int(wire_status(answer), 413, "a body that is too large");
	is_str(error_of(answer), "the body has more than 1000 bytes, or its chunks are malformed",
	       "is told in JSON");
	answer = wire_ask(&server, "POST /body HTTP/1.1\r\nExpect: this\r\n"
				   "Content-Length: 10\r\n\r\n");
	is_int(wire_status(answer), 417, "what nobody can do");
	is_str(error_of(answer), "of 'Expect' only '100-continue' is known", "is told in JSON");
	answer = wire_ask(&server, chunk);
	last = strstr(answer, "HTTP/1.1 413 ");
	ok(last, "a chunk that is none");
	is_str(last ? error_of(last) : "", "the body has more than 1000 bytes, or its chunks are "
	       "malformed", "is told in JSON");
	ok(is_alive(), "the server lives");
	end();
}

static void test_header_limit(void)
{
	int fd;

	begin(&(struct httpd_limits){.max_headers = 2000});
	fd = wire_connect(server.path);
	wire_send(fd, "GET /ok HTTP/1.1\r\nA: ");
	flood(fd, 'a', 100000);
	is_int(wire_status(wire_rest(fd)), 400, "a header without end");
	fd = wire_connect(server.path);
	wire_send(fd, "GET /");
	flood(fd, 'a', 100000);
	is_int(wire_status(wire_rest(fd)), 400, "a path without end");
	fd = wire_connect(server.path);
	wire_send(fd, "GET /ok HTTP/1.1\r\n");
	for (int i = 0; i < 1000; i++)
		wire_send(fd, "A: b\r\n");
	is_int(wire_status(wire_rest(fd)), 400, "headers without end");
	ok(is_alive(), "the server lives");
	end();
}

/* These are never answered; the request's time ends them, however busy they are. */
static void test_slow(void)
{
	int fd[4];

	begin(&(struct httpd_limits){.request_ms = 200, .idle_ms = 400});
	for (int i = 0; i < 4; i++)
		fd[i] = wire_connect(server.path);
	wire_send(fd[0], "GET /ok HTTP/1.1\r\n");
	wire_send(fd[1], "POST /body HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{");
	wire_send(fd[2], "POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
	flood(fd[2], '0', 100 << 20);
	while (wire_send_mem(fd[0], "A", 1) == 1)
		nanosleep(&(struct timespec){0, 20000000}, NULL);
	ok(true, "a header sent byte by byte is cut off");
	close(fd[0]);
	is_str(wire_rest(fd[1]), "", "half a body too");
	is_str(wire_rest(fd[2]), "", "and the size of a chunk that never ends");
	is_str(wire_rest(fd[3]), "", "silence is cut off later");
	fd[0] = wire_connect(server.path);
	wire_send(fd[0], "GET /ok HTTP/1.1\r\n\r\n");
	is_int(wire_status(wire_answer(fd[0])), 200, "an answer");
	is_str(wire_rest(fd[0]), "", "and silence after it");
	ok(WIRE_WITHIN(httpd_conns(server.h) == 0), "nothing is left");
	end();
}

static void test_reader(void)
{
	int fd;

	begin(&(struct httpd_limits){.idle_ms = 200});
	fd = wire_connect(server.path);
	wire_send(fd, GET("/big"));
	ok(WIRE_WITHIN(httpd_conns(server.h) == 1) && WIRE_WITHIN(httpd_conns(server.h) == 0),
	   "who does not read the answer loses the connection");
	ok(strlen(wire_rest(fd)) < (4 << 20), "and the rest of it");
	fd = wire_connect(server.path);
	wire_send(fd, "GET /later HTTP/1.1\r\n\r\n");
	nanosleep(&(struct timespec){0, 600000000}, NULL);
	httpd_post(server.h, answer_later, NULL);
	is_int(wire_status(wire_answer(fd)), 204, "a handler may take longer than that");
	close(fd);
	end();
}

static void test_deferred_flood(void)
{
	int fd;

	begin(&(struct httpd_limits){.max_body = 1000, .idle_ms = 500});
	fd = wire_connect(server.path);
	wire_send(fd, "GET /later HTTP/1.1\r\n\r\n");
	ok(WIRE_WITHIN(atomic_load(&later)), "a call waits");
	while (send(fd, "GET /ok HTTP/1.1\r\n\r\n", 20, MSG_NOSIGNAL | MSG_DONTWAIT) == 20)
		;
	is_int(errno, EAGAIN, "more requests are read up to a limit");
	ok(is_alive(), "the server lives");
	httpd_post(server.h, answer_later, NULL);
	is_int(wire_status(wire_answer(fd)), 204, "the answer");
	is_int(wire_status(wire_answer(fd)), 200, "and the next");
	close(fd);
	end();
}

static void test_many(void)
{
	int fds[200], good = 0;

	begin(&(struct httpd_limits){.max_conns = 8});
	for (int i = 0; i < 200; i++) {
		fds[i] = wire_connect(server.path);
		wire_send(fds[i], GET("/ok"));
	}
	for (int i = 0; i < 200; i++)
		good += wire_status(wire_rest(fds[i])) == 200;
	is_int(good, 200, "200 callers, 8 at a time");
	for (int i = 0; i < 8; i++) {
		fds[i] = wire_connect(server.path);
		wire_send(fds[i], "GET /ok HTTP/1.1\r\n\r\n");
		is_int(wire_status(wire_answer(fds[i])), 200, "connection %d stays open", i);
	}
	ok(is_alive(), "then an idle one makes room");
	ok(httpd_conns(server.h) <= 8, "there are never more");
	is_str(wire_rest(fds[0]), "", "it was the oldest, and was told");
	for (int i = 1; i < 8; i++) {
		wire_send(fds[i], GET("/ok"));
		is_int(wire_status(wire_rest(fds[i])), 200, "connection %d is served again", i);
	}
	ok(is_alive(), "the server lives");
	end();
}

/* The first descriptor that is free. */
static int next_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static void test_descriptors(void)
{
	struct rlimit old, few;
	struct sockaddr_un addr;
	int fd;

	begin(NULL);
	addr = wire_address(server.path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	getrlimit(RLIMIT_NOFILE, &old);
	few = (struct rlimit){(rlim_t)next_fd(), old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &few);
	is_int(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0, "no descriptor is left");
	wire_send(fd, GET("/ok"));
	nanosleep(&(struct timespec){0, 300000000}, NULL);
	setrlimit(RLIMIT_NOFILE, &old);
	is_int(wire_status(wire_rest(fd)), 200, "once there is, the caller is served");
	end();
}

static uint64_t seed;

static unsigned draw(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

static const char *const scraps[] = {
	"GET", "POST", "HEAD", " ", " ", "/ok", "/body", "/later", "HTTP/1.1", "HTTP/1.0",
	"HTTP/9.9", "HTTP/-1.-1", "\r\n", "\r\n", "\r\n\r\n", "\n", ":", "Content-Length: 3",
	"Content-Length:", "Transfer-Encoding: chunked", "Expect: 100-continue", "Expect: x",
	"Connection: keep-alive", "Connection: close", "{", "}", "3\r\n", "0\r\n\r\n", "?", "%",
	"http://", "[::", "]", "@", "*", "#", "\xff", "\t", "Host: a:1", "Host:",
};

static size_t make_rubbish(char *out)
{
	size_t len = 0;

	for (unsigned n = draw(24) + 1; n; n--) {
		const char *scrap = scraps[draw(sizeof(scraps) / sizeof(scraps[0]))];

		if (draw(30) == 0) {
			out[len++] = (char)draw(256);
			continue;
		}
		strcpy(out + len, scrap);
		len += strlen(scrap);
	}
	return len;
}

static void answer_any(void *arg)
{
	(void)arg;
	if (atomic_load(&later))
		answer_later(NULL);
}

static void test_rubbish(void)
{
	char rubbish[2048];
	int fd;

	seed = tap_seed(20);
	begin(&(struct httpd_limits){.request_ms = 200, .idle_ms = 200, .max_conns = 32});
	for (int i = 0; i < 3000; i++) {
		size_t len = make_rubbish(rubbish);

		fd = wire_connect(server.path);
		if (draw(2))
			wire_send(fd, "GET /ok HTTP/1.1\r\n");
		wire_send_mem(fd, rubbish, len);
		if (draw(4) == 0)
			shutdown(fd, SHUT_WR);
		if (draw(16) == 0)
			(void)wire_rest(fd);
		else
			close(fd);
		httpd_post(server.h, answer_any, NULL);
	}
	ok(is_alive(), "3000 connections of rubbish, and the server lives");
	httpd_post(server.h, answer_any, NULL);
	ok(WIRE_WITHIN(httpd_conns(server.h) == 0), "with nothing left");
	end();
}

/* A client of ours is behind many who never end their requests. */
static void test_many_halves(void)
{
	int fds[24];

	begin(&(struct httpd_limits){.max_conns = 8, .request_ms = 600000, .idle_ms = 600000});
	for (int i = 0; i < 24; i++) {
		fds[i] = wire_connect(server.path);
		wire_send(fds[i], "POST /body HTTP/1.1\r\nContent-Length: 100\r\n\r\n{");
	}
	ok(is_alive(), "half-sent requests make room, too");
	for (int i = 0; i < 8; i++)
		is_str(wire_rest(fds[i]), "", "half-sent request %d was told", i);
	for (int i = 8; i < 24; i++)
		close(fds[i]);
	end();
}

/* One whose request is being worked on stays, whoever comes. */
static void test_many_beside_call(void)
{
	int fds[64], call;

	begin(&(struct httpd_limits){.max_conns = 4, .request_ms = 600000, .idle_ms = 600000});
	call = wire_connect(server.path);
	wire_send(call, "GET /later HTTP/1.1\r\n\r\n");
	ok(WIRE_WITHIN(atomic_load(&later)), "a call waits");
	for (int i = 0; i < 64; i++) {
		fds[i] = wire_connect(server.path);
		wire_send(fds[i], "GET /o");
	}
	ok(is_alive(), "behind 64 halves of requests another is answered");
	for (int i = 0; i < 60; i++)
		is_str(wire_rest(fds[i]), "", "half %d was told", i);
	httpd_post(server.h, answer_later, NULL);
	is_int(wire_status(wire_answer(call)), 204, "the oldest of all has its answer");
	for (int i = 60; i < 64; i++)
		close(fds[i]);
	close(call);
	end();
}

/* Each request cut off after each of its bytes. */
static void test_early_close(void)
{
	static const char request[] = "POST /body HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
	int fd;

	begin(NULL);
	for (size_t len = 0; len < sizeof(request); len++) {
		fd = wire_connect(server.path);
		wire_send_mem(fd, request, len);
		close(fd);
		fd = wire_connect(server.path);
		wire_send_mem(fd, request, len);
		shutdown(fd, SHUT_WR);
		is_int(wire_status(wire_rest(fd)), len == sizeof(request) - 1 ? 200 : -1,
		       "cut off after %zu bytes", len);
		if (len == sizeof(request) - 1)
			break;
	}
	for (int i = 0; i < 20; i++) {
		fd = wire_connect(server.path);
		wire_send(fd, GET("/big"));
		close(fd);
	}
	ok(is_alive(), "who hangs up while the answer is written harms nobody");
	ok(WIRE_WITHIN(httpd_conns(server.h) == 0), "and leaves nothing");
	end();
}

int main(void)
{
	test_body_limit();
	test_refusals();
	test_header_limit();
	test_slow();
	test_many_halves();
	test_many_beside_call();
	test_reader();
	test_deferred_flood();
	test_many();
	if (getenv("LAMINA_VALGRIND"))
		tap_skip("valgrind closes what the kernel accepts beyond the limit");
	else
		test_descriptors();
	test_rubbish();
	test_early_close();
	return tap_done();
}
