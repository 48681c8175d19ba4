/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several requests over one connection; answers that have no end; who no longer waits. */
#include "src/rpc/http.h"

#include "tests/unit/wire.h"

static struct served server;
static struct err err;
static atomic_uint accepted;	/* connections of the counting server */

/* ---- a server that counts its connections ---- */

static void get_ok(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_json(call, 200, json_pack("{s:s*}", "q", httpd_query(call, "q")));
}

static void post_body(struct httpd_call *call, void *ctx)
{
	json_t *body = httpd_body(call);

	(void)ctx;
	if (body)
		httpd_json(call, 200, json_incref(body));
}

static void get_never(struct httpd_call *call, void *ctx)
{
	(void)call;
	(void)ctx;
}

/* Five pieces, then the end, unless it is asked to last. */
static void get_stream(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	if (httpd_stream_begin(call, "text/plain", 1 << 20) < 0) {
		httpd_fail(call, 500, "no stream");
		return;
	}
	for (int i = 0; i < 5; i++)
		(void)httpd_stream_send(call, "piece\n", 6);
	if (!httpd_query(call, "lasts"))
		httpd_stream_end(call);
}

static const struct httpd_route routes[] = {
	{"GET", "/ok", get_ok},
	{"POST", "/body", post_body},
	{"GET", "/never", get_never},
	{"GET", "/stream", get_stream},
	{0},
};

static struct http_client *client_of(const struct http_target *to)
{
	struct http_client *c;

	if (http_client_new(to, &c, &err) < 0)
		bail("no client: %s", err.text);
	return c;
}

static int ask(struct http_client *c, const char *method, const char *path, int timeout_ms)
{
	const struct http_ask a = {method, path, NULL, timeout_ms};
	struct http_answer answer;
	int rc = http_client_ask(c, &a, &answer, &err);

	if (rc < 0)
		return rc;
	http_answer_fini(&answer);
	return answer.status ? answer.status : 200;
}

static int ask_status(struct http_client *c, const struct http_ask *a, json_t **ret)
{
	struct http_answer answer;
	int rc = http_client_ask(c, a, &answer, &err);

	if (rc < 0)
		return rc;
	rc = answer.status;
	if (ret)
		*ret = json_incref(answer.json);
	http_answer_fini(&answer);
	return rc;
}

static void test_kept(void)
{
	struct http_target to = {.socket = server.path};
	struct http_client *c = client_of(&to);
	json_t *body = json_pack("{s:i}", "n", 7), *got = NULL;
	const struct http_ask post = {"POST", "/body", body, 0}, get = {"GET", "/ok?q=1", NULL, 0};
	int good = 0;

	for (int i = 0; i < 20; i++) {
		good += ask_status(c, &get, NULL) == 200;
		good += ask_status(c, &post, i == 19 ? &got : NULL) == 200;
	}
	is_int(good, 40, "forty requests");
	ok(json_equal(got, body), "what was sent came back");
	is_int(httpd_conns(server.h), 1, "over one connection");
	is_int(ask(c, "GET", "/nowhere", 0), 200, "a 404 is an answer");
	is_int(ask(c, "HEAD", "/ok", 0), 200, "so is one without a body");
	is_int(httpd_conns(server.h), 1, "that change nothing");
	json_decref(got);
	json_decref(body);
	http_client_free(c);
	ok(WIRE_WITHIN(httpd_conns(server.h) == 0), "it ends with the client");
	http_client_free(NULL);
}

/* A server that closes after each answer, without saying so. */
static void *be_curt(void *arg)
{
	char request[4096];
	int fd;

	while ((fd = accept(*(int *)arg, NULL, NULL)) >= 0) {
		if (recv(fd, request, sizeof(request), 0) > 0) {
			atomic_fetch_add(&accepted, 1);
			wire_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
		}
		close(fd);
	}
	return NULL;
}

static void test_closed(void)
{
	struct http_target to = {.socket = tap_path("curt")};
	int listener = wire_listen(to.socket, 8), good = 0;
	struct http_client *c = client_of(&to);
	pthread_t thread;

	if (pthread_create(&thread, NULL, be_curt, &listener))
		bail("no thread");
	for (int i = 0; i < 5; i++)
		good += ask(c, "GET", "/ok", 0) == 200;
	is_int(good, 5, "a server that closes is asked");
	is_int(atomic_load(&accepted), 5, "by connections made anew");
	shutdown(listener, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(listener);
	is_err(ask(c, "GET", "/ok", 0), &err, -ECONNREFUSED, "nobody listens on '%s'", to.socket);
	http_client_free(c);
}

static void test_descriptor(void)
{
	struct http_target to = {.fd = wire_connect(server.path), .name = "guest vm1"};
	struct http_client *c = client_of(&to);
	int good = 0;

	for (int i = 0; i < 5; i++)
		good += ask(c, "GET", "/ok", 0) == 200;
	is_int(good, 5, "five requests over a descriptor");
	is_int(ask(c, "GET", "/never", 100), -ETIMEDOUT, "one without an answer: %s", err.text);
	is_err(ask(c, "GET", "/ok", 0), &err, -ECONNRESET, "'guest vm1' has ended the connection");
	http_client_free(c);
	ok(send(to.fd, "", 0, MSG_NOSIGNAL) == 0, "the descriptor is still the caller's");
	close(to.fd);
}

/* ---- who no longer waits ---- */

static atomic_int patience;

static bool impatient(void)
{
	return atomic_fetch_sub(&patience, 1) <= 0;
}

static void test_stopped(void)
{
	struct http_target to = {.socket = server.path, .timeout_ms = -1, .stopped = impatient};
	struct http_answer answer = {0};
	struct http_client *c;
	int fd;

	atomic_store(&patience, 3);
	is_err(http_request(&to, "GET", "/never", NULL, &answer, &err), &err, -ECANCELED,
	       "'%s' is not waited for any longer", server.path);
	ok(WIRE_WITHIN(httpd_conns(server.h) == 0), "the connection is ended");
	atomic_store(&patience, 1000000);
	c = client_of(&to);
	is_int(ask(c, "GET", "/ok", 0), 200, "who waits gets it");
	atomic_store(&patience, 3);
	is_int(ask(c, "GET", "/never", 0), -ECANCELED, "on a connection that was there, too");
	atomic_store(&patience, 1000000);
	is_int(ask(c, "GET", "/ok", 0), 200, "the next request makes another");
	http_client_free(c);
	fd = wire_connect(server.path);
	to = (struct http_target){.fd = fd, .timeout_ms = -1, .stopped = impatient};
	atomic_store(&patience, 3);
	is_int(http_request(&to, "GET", "/never", NULL, &answer, &err), -ECANCELED,
	       "and over a descriptor");
	close(fd);
}

/* ---- answers that have no end ---- */

struct heard {
	char text[256];
	size_t len;
	int enough;	/* bytes; 0: never */
};

static int hear(const char *bytes, size_t len, void *ctx)
{
	struct heard *h = ctx;

	if (len > sizeof(h->text) - 1 - h->len)
		return -ENOBUFS;
	memcpy(h->text + h->len, bytes, len);
	h->len += len;
	h->text[h->len] = '\0';
	return h->enough && h->len >= (size_t)h->enough ? -EINTR : 0;
}

static void test_follow(void)
{
	struct http_target to = {.socket = server.path, .timeout_ms = 20000};
	struct heard all = {0}, some = {.enough = 12}, none = {0};

	is_int(http_follow(&to, "/stream", hear, &all, &err), 0, "a stream that ends");
	is_str(all.text, "piece\npiece\npiece\npiece\npiece\n", "came whole");
	is_int(http_follow(&to, "/stream?lasts=1", hear, &some, &err), -EINTR,
	       "one that does not is ended by who hears it");
	ok(some.len >= 12, "after enough");
	ok(WIRE_WITHIN(httpd_conns(server.h) == 0), "and with it the connection");
	is_err(http_follow(&to, "/nowhere", hear, &none, &err), &err, -EREMOTEIO,
	       "there is nothing at '/nowhere'");
	is_int(none.len, 0, "an error is not handed on");
	to.stopped = impatient;
	atomic_store(&patience, 5);
	is_int(http_follow(&to, "/stream?lasts=1", hear, &none, &err), -ECANCELED,
	       "it can be stopped");
	ok(none.len == 30, "having heard what there was");
	to = (struct http_target){.socket = tap_path("none")};
	is_int(http_follow(&to, "/stream", hear, &none, &err), -ENOENT, "no server");
}

int main(void)
{
	wire_make(&server, routes, NULL);
	wire_start(&server);
	test_kept();
	test_closed();
	test_descriptor();
	test_stopped();
	test_follow();
	wire_stop(&server);
	wire_free(&server);
	return tap_done();
}
