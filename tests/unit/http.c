/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/http.h"

#include <fcntl.h>
#include <netinet/in.h>

#include "tests/fault.h"
#include "tests/unit/wire.h"

static struct served server;
static struct err err;

/* ---- a real server ---- */

static void echo(struct httpd_call *call, void *ctx)
{
	json_t *body = httpd_body(call);
	const char *token = httpd_header(call, "Authorization");

	(void)ctx;
	if (body)
		httpd_json(call, 200,
			   json_pack("{s:s, s:s, s:O, s:s*}", "method", httpd_method(call), "id",
				     httpd_arg(call, 0), "body", body, "token", token));
}

static void get_text(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_text(call, 200, "text/plain", "{}");
}

static void get_broken(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_text(call, 500, "application/json", "{\"error\":");
}

static void get_conflict(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_fail(call, 409, "session 'vm1' exists");
}

static void get_huge(struct httpd_call *call, void *ctx)
{
	char *text = malloc((size_t)HTTP_MAX_ANSWER + 2);
	size_t len = HTTP_MAX_ANSWER + (httpd_query(call, "more") ? 1 : 0);

	(void)ctx;
	memset(text, 'x', len);
	text[len] = '\0';
	httpd_text(call, 200, "text/plain", text);
	free(text);
}

static void get_never(struct httpd_call *call, void *ctx)
{
	(void)call;
	(void)ctx;
}

static const struct httpd_route routes[] = {
	{"GET", "/echo/{}", echo},
	{"POST", "/echo/{}", echo},
	{"PUT", "/echo/{}", echo},
	{"DELETE", "/echo/{}", echo},
	{"GET", "/text", get_text},
	{"GET", "/broken", get_broken},
	{"GET", "/conflict", get_conflict},
	{"GET", "/huge", get_huge},
	{"GET", "/never", get_never},
	{0},
};

static struct http_target target(void)
{
	return (struct http_target){.socket = server.path};
}

static void is_echo(const struct http_target *to, const char *method, json_t *body,
		    const char *want)
{
	struct http_answer answer;
	int rc = http_request(to, method, "/echo/a%2Fb", body, &answer, &err);
	char *text;

	json_decref(body);
	if (!is_int(rc, 0, "%s is answered", method)) {
		tap_diag("%s", err.text);
		return;
	}
	is_int(answer.status, 200, "with 200");
	text = json_dumps(answer.json, JSON_COMPACT | JSON_SORT_KEYS);
	is_str(text, want, "and what was sent");
	free(text);
	http_answer_fini(&answer);
}

static void test_requests(void)
{
	struct http_target to = target();

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	is_echo(&to, "GET", NULL, "{\"body\":{},\"id\":\"a/b\",\"method\":\"GET\"}");
	is_echo(&to, "POST", NULL, "{\"body\":{},\"id\":\"a/b\",\"method\":\"POST\"}");
	is_echo(&to, "DELETE", NULL, "{\"body\":{},\"id\":\"a/b\",\"method\":\"DELETE\"}");
	is_echo(&to, "PUT", json_pack("{s:i}", "n", 7),
		"{\"body\":{\"n\":7},\"id\":\"a/b\",\"method\":\"PUT\"}");
	to.token = "secret";
	is_echo(&to, "POST", json_pack("{s:i}", "n", 7),
		"{\"body\":{\"n\":7},\"id\":\"a/b\",\"method\":\"POST\","
		"\"token\":\"Bearer secret\"}");
	to.token = "a\r\nX: b";
	is_err(http_request(&to, "GET", "/text", NULL, NULL, &err), &err, -EINVAL,
	       "the token holds a line break");
}

static void is_refusal(const char *path, int status, const char *sentence)
{
	struct http_target to = target();
	struct http_answer answer;

	if (!is_int(http_request(&to, "GET", path, NULL, &answer, &err), 0, "%s answers", path))
		return;
	is_int(answer.status, status, "with %d", status);
	is_str(http_answer_error(&answer), sentence, "and a sentence");
	http_answer_fini(&answer);
}

static void test_answers(void)
{
	struct http_target to = target();
	struct http_answer answer;

	is_refusal("/conflict", 409, "session 'vm1' exists");
	is_refusal("/nowhere", 404, "there is nothing at '/nowhere'");
	is_refusal("/broken", 500, "HTTP status 500");
	is_int(http_request(&to, "GET", "/text", NULL, &answer, &err), 0, "text");
	ok(!answer.json, "is no JSON");
	is_str(answer.text, "{}", "though it looks so");
	is_int(answer.len, 2, "its length");
	http_answer_fini(&answer);
	is_int(http_request(&to, "HEAD", "/text", NULL, &answer, &err), 0, "HEAD");
	is_str(answer.text, "", "has no body");
	http_answer_fini(&answer);
	is_int(http_request(&to, "GET", "/huge", NULL, &answer, &err), 0, "an answer at the limit");
	is_int(answer.len, HTTP_MAX_ANSWER, "is whole");
	http_answer_fini(&answer);
	is_err(http_request(&to, "GET", "/huge?more=1", NULL, &answer, &err), &err, -EMSGSIZE,
	       "the answer of '%s' is larger than 16 MiB", server.path);
	is_int(answer.len, 0, "nothing is left there by a failure");
}

static void test_escape(void)
{
	char *text = http_escape("a/b c\xff~-._%");

	is_str(text, "a%2Fb%20c%FF~-._%25", "a segment in a path");
	free(text);
}

/* ---- other ways to it ---- */

static void test_descriptor(void)
{
	struct http_target to = {.fd = wire_connect(server.path)};

	is_echo(&to, "GET", NULL, "{\"body\":{},\"id\":\"a/b\",\"method\":\"GET\"}");
	ok(fcntl(to.fd, F_GETFD) >= 0, "the descriptor is still the caller's");
	close(to.fd);
}

static void test_tcp(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	struct served s = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
	struct http_target to = {.host = "127.0.0.1"};

	if (bind(s.fd, (struct sockaddr *)&addr, len) < 0 || listen(s.fd, 8) < 0 ||
	    getsockname(s.fd, (struct sockaddr *)&addr, &len) < 0 ||
	    httpd_new(s.fd, routes, NULL, &s.h, NULL) < 0)
		bail("no TCP server");
	to.port = ntohs(addr.sin_port);
	wire_start(&s);
	is_echo(&to, "GET", NULL, "{\"body\":{},\"id\":\"a/b\",\"method\":\"GET\"}");
	wire_stop(&s);
	wire_free(&s);
	is_err(http_request(&to, "GET", "/", NULL, NULL, &err), &err, -ECONNREFUSED,
	       "nobody listens on '127.0.0.1' port %u", to.port);
}

/* ---- servers that are none ---- */

struct liar {
	int fd;
	const char *says;	/* first */
	const char *repeats;	/* then, until it is hung up on; or NULL */
};

static void *lie(void *arg)
{
	const struct liar *liar = arg;
	char request[4096];
	int fd = accept(liar->fd, NULL, NULL);

	(void)!recv(fd, request, sizeof(request), 0);
	wire_send(fd, liar->says);
	while (liar->repeats &&
	       send(fd, liar->repeats, strlen(liar->repeats), MSG_NOSIGNAL) >= 0)
		;
	close(fd);
	return NULL;
}

static int ask_liar(struct liar *liar, const char *path, struct http_answer *answer)
{
	struct http_target to = {.socket = path, .timeout_ms = 120000};
	pthread_t thread;
	int rc;

	liar->fd = wire_listen(path, 8);
	if (pthread_create(&thread, NULL, lie, liar))
		bail("no thread");
	rc = http_request(&to, "GET", "/", NULL, answer, &err);
	pthread_join(thread, NULL);
	close(liar->fd);
	return rc;
}

static void is_lie(const char *says, int rc, const char *fmt)
{
	const char *path = tap_path("liar");
	struct liar liar = {.says = says};
	struct http_answer answer = {0};
	char want[256];

	(void)snprintf(want, sizeof(want), "'%s' %s", path, fmt);
	is_err(ask_liar(&liar, path, &answer), &err, rc, "%s", want);
	http_answer_fini(&answer);
}

static void test_liars(void)
{
	is_lie("", -ECONNRESET, "hung up before it had answered");
	is_lie("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", -ECONNRESET,
	       "hung up before it had answered");
	is_lie("SSH-2.0-OpenSSH_9.2\r\n", -EBADMSG, "does not speak HTTP");
	is_lie("{\"error\": 1}", -EBADMSG, "does not speak HTTP");
}

/* It does not end before it is hung up on: the thread that says it is waited for. */
static void is_endless(const char *what, const char *says, const char *repeats)
{
	const char *path = tap_path("endless");
	struct liar liar = {.says = says, .repeats = repeats};
	struct http_answer answer = {0};

	tap_diag("%s", what);
	is_err(ask_liar(&liar, path, &answer), &err, -EMSGSIZE,
	       "the answer of '%s' has more than 64 KiB of headers", path);
	ok(!answer.text && !answer.json, "and nothing is answered");
	http_answer_fini(&answer);
}

static void test_headers(void)
{
	char line[1001], many[60 * 1000 + 200];
	struct liar liar = {.says = many};
	struct http_answer answer = {0};
	size_t len;

	is_endless("lines", "HTTP/1.1 200 OK\r\n", "X-More: and more\r\n");
	is_endless("one line", "HTTP/1.1 200 OK\r\nX-More: ", "and more");
	is_endless("a status", "HTTP/1.1 200 ", "OK");
	is_endless("to be gone on with", "", "HTTP/1.1 100 Continue\r\n\r\n");
	is_endless("hints", "", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
	is_endless("lines behind the body",
		   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
		   "X-More: and more\r\n");
	(void)snprintf(line, sizeof(line), "X-More: %0990d\r\n", 7);
	len = (size_t)snprintf(many, sizeof(many), "HTTP/1.1 100 Continue\r\n\r\n"
			       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");
	for (int i = 0; i < 60; i++)
		len += (size_t)snprintf(many + len, sizeof(many) - len, "%s", line);
	(void)snprintf(many + len, sizeof(many) - len, "\r\n{}");
	is_int(ask_liar(&liar, tap_path("many"), &answer), 0, "sixty thousand bytes are not many");
	is_str(answer.text, "{}", "what is behind them is the answer");
	http_answer_fini(&answer);
}

static void test_no_server(void)
{
	char longer[200];
	struct http_target to = {.socket = tap_path("none")};
	int fd;

	is_err(http_request(&to, "GET", "/", NULL, NULL, &err), &err, -ENOENT,
	       "there is no socket '%s'", to.socket);
	close(wire_listen(to.socket, 1));
	is_err(http_request(&to, "GET", "/", NULL, NULL, &err), &err, -ECONNREFUSED,
	       "nobody listens on '%s'", to.socket);
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	to.socket = longer;
	is_int(http_request(&to, "GET", "/", NULL, NULL, &err), -ENAMETOOLONG, "a long path");
	ok(strstr(err.text, "the path of a socket has at most 107 characters"), "is told so");
	fd = open("/", O_RDONLY | O_CLOEXEC);
	to = (struct http_target){.fd = fd};
	is_int(http_request(&to, "GET", "/", NULL, NULL, &err), -ECONNRESET, "a directory");
	close(fd);
	is_err(http_request(&to, "GET", "/", NULL, NULL, &err), &err, -EBADF,
	       "cannot use descriptor %d: Bad file descriptor", fd);
}

static void test_timeout(void)
{
	struct http_target to = target();
	int full[16], listener, n = 0;

	to.timeout_ms = 100;
	is_err(http_request(&to, "GET", "/never", NULL, NULL, &err), &err, -ETIMEDOUT,
	       "'%s' gave no answer in time", server.path);
	to.socket = tap_path("full");
	listener = wire_listen(to.socket, 0);
	for (struct sockaddr_un addr = wire_address(to.socket); n < 16; n++) {
		full[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(full[n], (struct sockaddr *)&addr, sizeof(addr)) < 0)
			break;
	}
	is_err(http_request(&to, "GET", "/", NULL, NULL, &err), &err, -ETIMEDOUT,
	       "'%s' gave no answer in time", to.socket);
	for (int i = 0; i <= n && i < 16; i++)
		close(full[i]);
	close(listener);
}

/* ---- many, and none ---- */

static void *ask_often(void *arg)
{
	struct http_target to = target();
	struct http_answer answer;

	for (int i = 0; i < 50; i++) {
		if (http_request(&to, "GET", "/echo/x", NULL, &answer, NULL) < 0)
			continue;
		atomic_fetch_add((atomic_int *)arg, answer.status == 200);
		http_answer_fini(&answer);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[4];
	atomic_int good = 0;

	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, ask_often, &good))
			bail("no thread");
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	is_int(atomic_load(&good), 200, "four threads ask fifty times each");
}

/* Each of our own allocations fails once; the server is stopped, so that none is its. */
static void test_memory(void)
{
	struct http_target to = {.socket = tap_path("none"), .token = "t"};
	json_t *body = json_pack("{s:i}", "n", 1);
	struct http_answer answer = {0};
	unsigned long n = 0;
	int rc;

	close(wire_listen(to.socket, 1));
	do {
		fault_arm(FAULT_MALLOC, ++n, ENOMEM);
		rc = http_request(&to, "POST", "/", body, &answer, &err);
		fault_disarm();
	} while (rc == -ENOMEM);
	is_int(rc, -ECONNREFUSED, "with memory, it is the server that is missing");
	ok(!answer.text && !answer.json, "and nothing was answered before");
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	ok(!http_escape("a"), "without memory nothing is escaped");
	fault_disarm();
	json_decref(body);
}

int main(void)
{
	wire_make(&server, routes, NULL);
	wire_start(&server);
	test_requests();
	test_answers();
	test_escape();
	test_descriptor();
	test_tcp();
	test_liars();
	test_headers();
	test_no_server();
	test_timeout();
	test_threads();
	wire_stop(&server);
	wire_free(&server);
	test_memory();
	return tap_done();
}
