/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/httpd.h"

#include <netinet/in.h>

#include "tests/unit/wire.h"

static struct served server;

/* ---- handlers ---- */

static void get_thing(struct httpd_call *call, void *ctx)
{
	httpd_json(call, 200,
		   json_pack("{s:s, s:s*, s:s*, s:b}", "method", httpd_method(call), "arg",
			     httpd_arg(call, 0), "second", httpd_arg(call, 1), "ctx",
			     ctx == &server));
}

static void get_query(struct httpd_call *call, void *ctx)
{
	static const char *const names[] = {"q", "r", NULL};

	(void)ctx;
	httpd_json(call, 200,
		   json_pack("{s:s*, s:s*, s:s*, s:s*}", "q", httpd_query(call, "q"), "r",
			     httpd_query(call, "r"), "x", httpd_header(call, "x-test"), "other",
			     httpd_query_other(call, names)));
}

static void post_body(struct httpd_call *call, void *ctx)
{
	json_t *body = httpd_body(call);

	(void)ctx;
	if (!body)
		return;
	if (httpd_body(call) != body)
		httpd_fail(call, 500, "the body changed");
	else
		httpd_json(call, 201, json_incref(body));
}

static void get_peer(struct httpd_call *call, void *ctx)
{
	struct ucred peer;
	int rc = httpd_peer(call, &peer);

	(void)ctx;
	if (rc < 0)
		httpd_fail(call, 403, "%s", strerrorname_np(-rc));
	else
		httpd_json(call, 200, json_pack("{s:b}", "me", peer.pid == getpid() &&
							       peer.uid == geteuid()));
}

static void get_empty(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_empty(call, 204);
}

static void get_null(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_json(call, 200, NULL);
}

static void get_bytes(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	if (httpd_set_header(call, "X-Bad", "a\r\nb"))
		httpd_fail(call, 500, "a header was split");
	else
		httpd_fail(call, 418, "no \xff UTF-8");
}

static void get_big(struct httpd_call *call, void *ctx)
{
	static char text[700000];

	(void)ctx;
	memset(text, 'x', sizeof(text) - 1);
	httpd_text(call, 200, "text/plain", text);
}

static struct httpd_call *_Atomic later;
static atomic_int hangups;

static void on_hangup(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void get_later(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_on_hangup(call, on_hangup, &hangups);
	atomic_store(&later, call);
}

static void answer_later(void *arg)
{
	struct httpd_call *call = atomic_exchange(&later, NULL);

	if (arg)
		*(atomic_int *)arg = httpd_gone(call) ? 1 : 2;
	httpd_json(call, 200, json_pack("{s:b}", "later", 1));
}

static const struct httpd_route routes[] = {
	{"GET", "/thing", get_thing},
	{"GET", "/thing/{}", get_thing},
	{"DELETE", "/thing/{}", get_thing},
	{"POST", "/thing/{}/of/{}", get_thing},
	{"GET", "/query", get_query},
	{"POST", "/body", post_body},
	{"GET", "/peer", get_peer},
	{"GET", "/empty", get_empty},
	{"GET", "/null", get_null},
	{"GET", "/bytes", get_bytes},
	{"GET", "/big", get_big},
	{"GET", "/later", get_later},
	{0},
};

/* ---- tests ---- */

static void is_answer(const char *request, int status, const char *body)
{
	const char *answer = wire_ask(&server, request);

	is_int(wire_status(answer), status, "%d for %.40s", status, request);
	is_str(wire_body(answer), body, "and its body");
}

static void test_routes(void)
{
	const char *answer;
	int fd;

	is_answer(GET("/thing"), 200, "{\"method\":\"GET\",\"ctx\":true}");
	is_answer(GET("/thing/a%2fb%20"), 200,
		  "{\"method\":\"GET\",\"arg\":\"a/b \",\"ctx\":true}");
	is_answer(GET("http://somewhere/thing/x"), 200,
		  "{\"method\":\"GET\",\"arg\":\"x\",\"ctx\":true}");
	is_answer("POST /thing/1/of/2 HTTP/1.1\r\nConnection: close\r\n\r\n", 200,
		  "{\"method\":\"POST\",\"arg\":\"1\",\"second\":\"2\",\"ctx\":true}");
	is_answer(GET("/thing/"), 404, "{\"error\":\"there is nothing at '/thing/'\"}");
	is_answer(GET("/thing/a/b"), 404, "{\"error\":\"there is nothing at '/thing/a/b'\"}");
	is_answer(GET("/thin"), 404, "{\"error\":\"there is nothing at '/thin'\"}");
	is_answer(GET("/\xff\xfe"), 404, "{\"error\":\"there is nothing at '/\?\?'\"}");
	fd = wire_connect(server.path);
	wire_send(fd, "CONNECT a:1 HTTP/1.1\r\n\r\n");
	is_int(wire_status(wire_answer(fd)), 404, "no tunnels");
	close(fd);
	is_answer(GET("/thing/%zz"), 400,
		  "{\"error\":\"a bad percent-encoding in the path or a parameter\"}");
	is_answer(GET("/thing/a%00b"), 400,
		  "{\"error\":\"a bad percent-encoding in the path or a parameter\"}");
	is_answer(GET("/thing/a%4"), 400,
		  "{\"error\":\"a bad percent-encoding in the path or a parameter\"}");
	answer = wire_ask(&server, "PUT /thing/a HTTP/1.1\r\nConnection: close\r\n\r\n");
	is_int(wire_status(answer), 405, "a path, but another method");
	ok(strstr(answer, "\r\nAllow: GET, HEAD, DELETE\r\n"), "is told which ones there are");
	is_str(wire_body(answer), "{\"error\":\"'/thing/a' takes only GET, HEAD, DELETE\"}",
	       "in a sentence too");
	answer = wire_ask(&server, "BREW /body HTTP/1.1\r\nConnection: close\r\n\r\n");
	is_int(wire_status(answer), 405, "a method nobody knows");
	is_answer("GET /thing HTTP/1.0\r\n\r\n", 200, "{\"method\":\"GET\",\"ctx\":true}");
}

static void test_queries(void)
{
	char many[512] = "GET /query?a";

	is_answer(GET("/query?q=a+b%26&r"), 200, "{\"q\":\"a b&\",\"r\":\"\"}");
	is_answer(GET("/query?&&r=1&q"), 200, "{\"q\":\"\",\"r\":\"1\"}");
	is_answer(GET("/query?q=1&q=2"), 200, "{\"q\":\"1\"}");
	is_answer(GET("/query?q=1&Q=2&s"), 200, "{\"q\":\"1\",\"other\":\"Q\"}");
	is_answer(GET("/query"), 200, "{}");
	is_answer(GET("/query?q=%"), 400,
		  "{\"error\":\"a bad percent-encoding in the path or a parameter\"}");
	is_answer("GET /query HTTP/1.1\r\nX-Test: y\r\nConnection: close\r\n\r\n", 200,
		  "{\"x\":\"y\"}");
	for (int i = 0; i < HTTPD_MAX_QUERY; i++)
		strcat(many, "&a=b");
	strcat(many, " HTTP/1.1\r\nConnection: close\r\n\r\n");
	is_answer(many, 400, "{\"error\":\"more than 16 parameters\"}");
}

static void test_answers(void)
{
	const char *answer;

	is_answer(GET("/peer"), 200, "{\"me\":true}");
	is_answer(GET("/empty"), 204, "");
	is_answer(GET("/null"), 500, "{\"error\":\"out of memory\"}");
	is_answer(GET("/bytes"), 418, "{\"error\":\"no ? UTF-8\"}");
	answer = wire_ask(&server, "HEAD /thing HTTP/1.1\r\nConnection: close\r\n\r\n");
	is_int(wire_status(answer), 200, "HEAD");
	ok(strstr(answer, "\r\nContent-Length: 28\r\n"), "tells the length");
	is_str(wire_body(answer), "", "and sends nothing");
	answer = wire_ask(&server, GET("/thing"));
	ok(strstr(answer, "\r\nContent-Type: application/json\r\n"), "JSON is called JSON");
	is_int(strlen(wire_body(wire_ask(&server, GET("/big")))), 699999, "a large answer");
}

static void is_body(const char *body, size_t len, int status, const char *want)
{
	char head[128];
	const char *answer;
	int fd = wire_connect(server.path);

	(void)snprintf(head, sizeof(head),
		       "POST /body HTTP/1.1\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
		       len);
	wire_send(fd, head);
	wire_send_mem(fd, body, len);
	answer = wire_rest(fd);
	is_int(wire_status(answer), status, "%d for the body %.20s", status, body);
	if (want)
		is_str(wire_body(answer), want, "and its answer");
}

static void test_bodies(void)
{
	static char deep[100000];

	is_body("{\"a\": [1, 2]}", 13, 201, "{\"a\":[1,2]}");
	is_body("", 0, 201, "{}");
	is_body("[]", 2, 400, "{\"error\":\"the body is no JSON object\"}");
	is_body("7", 1, 400,
		"{\"error\":\"malformed JSON at line 1, column 1: "
		"'[' or '{' expected near '7'\"}");
	is_body("{\"a\":1,\n\"a\":2}", 14, 400,
		"{\"error\":\"malformed JSON at line 2, column 3: "
		"duplicate object key near '\\\"a\\\"'\"}");
	is_body("{\"a\":\n\n }", 9, 400,
		"{\"error\":\"malformed JSON at line 3, column 2: "
		"unexpected token near '}'\"}");
	is_body("{} {}", 5, 400,
		"{\"error\":\"malformed JSON at line 1, column 4: "
		"end of file expected near '{'\"}");
	is_body("{\"a\":\"\xff\"}", 9, 400, NULL);
	is_body("{\"a\":\"\\u0000\"}", 14, 400, NULL);
	is_body("{}\0", 3, 400, NULL);
	is_body("{\"a", 3, 400, NULL);
	is_body("{\"a\":232.646}", 13, 201, "{\"a\":232.646}");
	is_body("{\"a\":1795328479.6496582}", 24, 201, "{\"a\":1795328479.6496582}");
	memset(deep, '[', sizeof(deep));
	is_body(deep, sizeof(deep), 400, NULL);
}

static void test_pieces(void)
{
	static const char request[] = "POST /body HTTP/1.1\r\nConnection: close\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n"
				      "3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
	int fd = wire_connect(server.path);

	for (size_t i = 0; i < sizeof(request) - 1; i++)
		wire_send_mem(fd, request + i, 1);
	is_str(wire_body(wire_rest(fd)), "{\"a\":1}", "a chunked body, byte by byte");
	is_answer("POST /body HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "zz\r\n", 413, "{\"error\":\"the body has more than 1048576 bytes, or its chunks "
		  "are malformed\"}");
}

static void test_connection(void)
{
	int fd = wire_connect(server.path);
	int good = 0;

	for (int i = 0; i < 20; i++) {
		wire_send(fd, "GET /thing HTTP/1.1\r\n\r\n");
		good += wire_status(wire_answer(fd)) == 200;
	}
	is_int(good, 20, "one connection, request after request");
	for (int i = 0; i < 20; i++)
		wire_send(fd, "GET /thing HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n");
	for (int i = 0; i < 40; i++)
		good += wire_status(wire_answer(fd)) == (i % 2 ? 404 : 200);
	is_int(good, 60, "and pipelined");
	wire_send(fd, "GET /thing HTTP/1.1\r\n\r\n");
	shutdown(fd, SHUT_WR);
	is_int(wire_status(wire_rest(fd)), 200, "a caller that shut its side gets the answer");
	fd = wire_connect(server.path);
	wire_send(fd, GET("/big"));
	shutdown(fd, SHUT_WR);
	is_int(strlen(wire_body(wire_rest(fd))), 699999, "the whole of it");
}

static void test_later(void)
{
	atomic_int seen = 0;
	int fd = wire_connect(server.path);

	wire_send(fd, "GET /later HTTP/1.1\r\n\r\n");
	ok(WIRE_WITHIN(atomic_load(&later)), "a handler that does not answer");
	wire_send(fd, "GET /thing HTTP/1.1\r\n\r\nGET /th");
	is_int(wire_status(wire_ask(&server, GET("/thing"))), 200, "others are served");
	is_int(httpd_post(server.h, answer_later, &seen), 0, "another thread posts the answer");
	is_str(wire_body(wire_answer(fd)), "{\"later\":true}", "it comes");
	is_int(atomic_load(&seen), 2, "to one who had waited");
	is_int(wire_status(wire_answer(fd)), 200, "then the one to what was sent meanwhile");
	wire_send(fd, "ing HTTP/1.1\r\n\r\n");
	is_int(wire_status(wire_answer(fd)), 200, "and to the next");
	is_int(atomic_load(&hangups), 0, "nobody hung up");
	wire_send(fd, "GET /later HTTP/1.1\r\n\r\n");
	ok(WIRE_WITHIN(atomic_load(&later)), "again");
	close(fd);
	ok(WIRE_WITHIN(atomic_load(&hangups) == 1), "a hang-up is told");
	atomic_store(&seen, 0);
	httpd_post(server.h, answer_later, &seen);
	ok(WIRE_WITHIN(atomic_load(&seen)), "the call is still there");
	is_int(atomic_load(&seen), 1, "and knows");
	ok(WIRE_WITHIN(httpd_conns(server.h) == 0), "its connection is not");
}

static char order[16];
static atomic_int ran;

static void note(void *arg)
{
	order[atomic_load(&ran)] = *(const char *)arg;
	atomic_fetch_add(&ran, 1);
}

static void count(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void on_readable(int fd, void *arg)
{
	char byte;

	if (read(fd, &byte, 1) == 1)
		atomic_store((atomic_int *)arg, byte);
}

static void unwatch(void *arg)
{
	httpd_unwatch(server.h, *(int *)arg);
	atomic_fetch_add(&ran, 1);
}

static void test_loop(void)
{
	static atomic_int ticks, byte;
	int fds[2];

	for (int i = 0; i < 5; i++)
		httpd_post(server.h, note, (char *)"abcde" + i);
	ok(WIRE_WITHIN(atomic_load(&ran) == 5), "what is posted runs");
	is_str(order, "abcde", "in order");
	wire_stop(&server);
	is_int(server.rc, 0, "the loop stops");
	if (pipe(fds) < 0)
		bail("no pipe");
	is_int(httpd_every(server.h, 1, count, &ticks), 0, "a timer");
	is_int(httpd_watch(server.h, fds[0], on_readable, &byte), 0, "a watched pipe");
	is_int(httpd_watch(server.h, fds[0], on_readable, &byte), -EEXIST, "watched once");
	wire_start(&server);
	ok(WIRE_WITHIN(atomic_load(&ticks) > 3), "the timer comes again and again");
	ok(write(fds[1], "!", 1) == 1 && WIRE_WITHIN(atomic_load(&byte) == '!'), "it is read");
	httpd_post(server.h, unwatch, &fds[0]);
	ok(WIRE_WITHIN(atomic_load(&ran) == 6), "and let go");
	close(fds[0]);
	close(fds[1]);
	is_answer(GET("/thing"), 200, "{\"method\":\"GET\",\"ctx\":true}");
}

/* What is given before the stop arrives, though it is more than a socket holds. */
static void test_stop(void)
{
	int fd = wire_connect(server.path), size = 4096;
	char byte;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	wire_send(fd, GET("/big"));
	is_int(recv(fd, &byte, 1, 0), 1, "an answer begins");
	httpd_stop(server.h);
	is_int(strlen(wire_body(wire_rest(fd))), 699999, "and is finished after the stop");
	pthread_join(server.thread, NULL);
	httpd_stop(server.h);
	is_int(httpd_run(server.h, NULL), 0, "stopped before it runs, it returns");
}

static void test_free(void)
{
	struct served s;
	int fd;

	atomic_store(&hangups, 0);
	wire_make(&s, routes, NULL);
	wire_start(&s);
	fd = wire_connect(s.path);
	wire_send(fd, "GET /later HTTP/1.1\r\n\r\n");
	ok(WIRE_WITHIN(atomic_load(&later)), "a call without an answer");
	wire_stop(&s);
	httpd_post(s.h, count, &hangups);
	wire_free(&s);
	is_int(atomic_load(&hangups), 1, "hears of the end; what was posted too late does not run");
	is_str(wire_rest(fd), "", "its caller gets nothing");
	wire_make(&s, routes, NULL);
	wire_free(&s);
	httpd_free(NULL);
}

static void test_tcp(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	struct served s = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(s.fd, (struct sockaddr *)&addr, len) < 0 || listen(s.fd, 8) < 0 ||
	    getsockname(s.fd, (struct sockaddr *)&addr, &len) < 0)
		bail("no TCP socket");
	is_int(httpd_new(s.fd, routes, NULL, &s.h, NULL), 0, "a TCP socket");
	wire_start(&s);
	if (connect(fd, (struct sockaddr *)&addr, len) < 0)
		bail("no connection");
	wire_send(fd, GET("/peer"));
	is_str(wire_body(wire_rest(fd)), "{\"error\":\"EOPNOTSUPP\"}", "has no peer to name");
	wire_stop(&s);
	wire_free(&s);
}

static void test_bad_sockets(void)
{
	struct httpd *h = NULL;
	struct err err;
	int fds[2];

	is_err(httpd_new(-1, routes, NULL, &h, &err), &err, -EBADF,
	       "cannot serve on descriptor -1: Bad file descriptor");
	if (pipe(fds) < 0)
		bail("no pipe");
	is_err(httpd_new(fds[0], routes, NULL, &h, &err), &err, -ENOTSOCK,
	       "cannot serve on descriptor %d: Socket operation on non-socket", fds[0]);
	close(fds[0]);
	close(fds[1]);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		bail("no socket");
	is_err(httpd_new(fds[0], routes, NULL, &h, &err), &err, -EINVAL,
	       "descriptor %d is no listening socket", fds[0]);
	close(fds[0]);
	close(fds[1]);
	fds[0] = socket(AF_NETLINK, SOCK_RAW, 0);
	is_err(httpd_new(fds[0], routes, NULL, &h, &err), &err, -EINVAL,
	       "descriptor %d is no unix or inet socket", fds[0]);
	close(fds[0]);
	ok(!h, "nothing is made");
}

int main(void)
{
	wire_make(&server, routes, NULL);
	wire_start(&server);
	test_routes();
	test_queries();
	test_answers();
	test_bodies();
	test_pieces();
	test_connection();
	test_later();
	test_loop();
	test_stop();
	wire_free(&server);
	test_free();
	test_tcp();
	test_bad_sockets();
	return tap_done();
}
