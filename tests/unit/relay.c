/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/relay.h"

#include <netinet/in.h>
#include <stddef.h>

#include "tests/unit/wire.h"

static struct served server;
static struct err err;
static char front[108];		/* where the relay listens */

static void get_ok(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_json(call, 200, json_pack("{s:b}", "ok", 1));
}

static void get_big(struct httpd_call *call, void *ctx)
{
	static char text[4 << 20];

	(void)ctx;
	memset(text, 'x', sizeof(text) - 1);
	httpd_text(call, 200, "text/plain", text);
}

static atomic_int hangups, nevers;

static void on_hangup(void *arg)
{
	(void)arg;
	atomic_fetch_add(&hangups, 1);
}

static void get_never(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_on_hangup(call, on_hangup, NULL);
	atomic_fetch_add(&nevers, 1);
}

static void post_body(struct httpd_call *call, void *ctx)
{
	json_t *body = httpd_body(call);

	(void)ctx;
	if (body)
		httpd_json(call, 200, json_pack("{s:I}", "len", (json_int_t)json_string_length(
								json_object_get(body, "s"))));
}

static const struct httpd_route routes[] = {
	{"GET", "/ok", get_ok},
	{"GET", "/big", get_big},
	{"GET", "/never", get_never},
	{"POST", "/body", post_body},
	{0},
};

static struct relay *begin(int *ret_fd, const char *path, unsigned max_conns)
{
	struct relay_config config = {.path = path, .cid = 2, .max_conns = max_conns};
	struct relay *r;

	*ret_fd = config.listen_fd = wire_listen(front, 64);
	if (relay_new(&config, &r, &err) < 0)
		bail("no relay: %s", err.text);
	return r;
}

static void end(struct relay *r, int fd)
{
	relay_free(r);
	close(fd);
}

static int ask(const char *request)
{
	int fd = wire_connect(front);

	wire_send(fd, request);
	return wire_status(wire_rest(fd));
}

static void test_http(void)
{
	static char body[600000];
	int fd, conn, n;
	struct relay *r = begin(&fd, server.path, 8);

	is_int(ask(GET("/ok")), 200, "a request is passed on");
	conn = wire_connect(front);
	for (int i = 0; i < 3; i++) {
		wire_send(conn, "GET /ok HTTP/1.1\r\n\r\n");
		is_int(wire_status(wire_answer(conn)), 200, "request %d of one connection", i);
	}
	close(conn);
	conn = wire_connect(front);
	wire_send(conn, GET("/big"));
	n = (int)strlen(wire_body(wire_rest(conn)));
	ok(n > 1000000, "a large answer: what there is room for");
	conn = wire_connect(front);
	n = snprintf(body, sizeof(body), "POST /body HTTP/1.1\r\nConnection: close\r\n"
		     "Content-Length: 500008\r\n\r\n{\"s\":\"");
	memset(body + n, 'a', 500000);
	memcpy(body + n + 500000, "\"}", 3);
	wire_send(conn, body);
	is_str(wire_body(wire_rest(conn)), "{\"len\":500000}", "a large body");
	is_int(ask("nonsense\r\n\r\n"), 400, "nonsense, too, is the server's to judge");
	ok(WIRE_WITHIN(httpd_conns(server.h) == 0), "nothing is left");
	end(r, fd);
}

static void test_hangup(void)
{
	int fd, conn;
	struct relay *r = begin(&fd, server.path, 8);

	conn = wire_connect(front);
	wire_send(conn, "GET /never HTTP/1.1\r\n\r\n");
	ok(WIRE_WITHIN(atomic_load(&nevers) == 1), "a call waits");
	close(conn);
	ok(WIRE_WITHIN(atomic_load(&hangups) == 1), "who hangs up is heard by the server");
	conn = wire_connect(front);
	wire_send(conn, "GET /never HTTP/1.1\r\n\r\n");
	ok(WIRE_WITHIN(atomic_load(&nevers) == 2), "another waits");
	relay_free(r);
	ok(WIRE_WITHIN(atomic_load(&hangups) == 2), "the relay's end is one of all");
	is_str(wire_rest(conn), "", "and told to the caller");
	close(fd);
}

/* Half a connection ends; the other half goes on. */
static void test_half(void)
{
	const char *path = tap_path("plain");
	int back = wire_listen(path, 8), fd, conn, there;
	struct relay *r = begin(&fd, path, 8);
	char byte;

	conn = wire_connect(front);
	there = accept(back, NULL, NULL);
	wire_send(conn, "ab");
	shutdown(conn, SHUT_WR);
	is_int(recv(there, &byte, 1, MSG_WAITALL) + recv(there, &byte, 1, MSG_WAITALL), 2,
	       "what was sent comes");
	is_int(recv(there, &byte, 1, 0), 0, "then its end");
	wire_send(there, "later");
	shutdown(there, SHUT_WR);
	is_str(wire_rest(conn), "later", "and an answer after it");
	ok(recv(there, &byte, 1, 0) <= 0, "both ends end it");
	close(there);
	conn = wire_connect(front);
	there = accept(back, NULL, NULL);
	shutdown(there, SHUT_WR);
	is_int(recv(conn, &byte, 1, 0), 0, "the server ends its half");
	wire_send(conn, "z");
	is_int(recv(there, &byte, 1, MSG_WAITALL), 1, "and hears the other");
	close(conn);
	is_int(recv(there, &byte, 1, 0), 0, "to its end");
	close(there);
	end(r, fd);
	close(back);
}

static void test_many(void)
{
	int fd, conns[6], first, good = 0;
	struct relay *r = begin(&fd, server.path, 2);

	first = wire_connect(front);
	wire_send(first, "GET /ok HTTP/1.1\r\n\r\n");
	is_int(wire_status(wire_answer(first)), 200, "one of two slots stays taken");
	for (int i = 0; i < 6; i++) {
		conns[i] = wire_connect(front);
		wire_send(conns[i], GET("/ok"));
	}
	for (int i = 0; i < 6; i++)
		good += wire_status(wire_rest(conns[i])) == 200;
	is_int(good, 6, "six take turns in the other");
	ok(httpd_conns(server.h) <= 2, "never more than two");
	close(first);
	end(r, fd);
}

/* A server that closes, and a client that neither reads nor closes. */
static void test_stuck(void)
{
	int fd, stuck, other;
	struct relay *r = begin(&fd, server.path, 1);

	stuck = wire_connect(front);
	wire_send(stuck, GET("/big"));
	other = wire_connect(front);
	wire_send(other, GET("/ok"));
	is_int(wire_status(wire_rest(other)), 200, "who takes nothing makes room in the end");
	close(stuck);
	end(r, fd);
}

static void test_no_server(void)
{
	struct relay_config config = {.cid = 2, .max_conns = 1};
	char longer[200];
	struct relay *r = NULL;
	int fd;

	r = begin(&fd, tap_path("none"), 4);
	is_str(wire_rest(wire_connect(front)), "", "without a server the caller is hung up on");
	is_str(wire_rest(wire_connect(front)), "", "so is the next");
	end(r, fd);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	config.path = longer;
	is_int(relay_new(&config, &r, &err), -ENAMETOOLONG, "a long path: %s", err.text);
	config.path = "/x";
	config.listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	is_err(relay_new(&config, &r, &err), &err, -EINVAL, "descriptor %d is no listening socket",
	       config.listen_fd);
	close(config.listen_fd);
	relay_free(NULL);
}

/* Its name is the kernel's choice: five digits. */
static void test_abstract(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(addr);
	int back = socket(AF_UNIX, SOCK_STREAM, 0), fd, there;
	struct relay *r;
	char path[16], byte;

	if (bind(back, (struct sockaddr *)&addr, sizeof(sa_family_t)) < 0 || listen(back, 4) < 0 ||
	    getsockname(back, (struct sockaddr *)&addr, &len) < 0)
		bail("no abstract socket");
	(void)snprintf(path, sizeof(path), "@%.5s", addr.sun_path + 1);
	r = begin(&fd, path, 2);
	wire_send(wire_connect(front), "x");
	there = accept(back, NULL, NULL);
	is_int(recv(there, &byte, 1, 0), 1, "an abstract socket is one, too");
	close(there);
	end(r, fd);
	close(back);
}

int main(void)
{
	(void)snprintf(front, sizeof(front), "%s", tap_path("front"));
	wire_make(&server, routes, NULL);
	wire_start(&server);
	test_http();
	test_hangup();
	test_half();
	test_many();
	test_no_server();
	test_abstract();
	wire_stop(&server);
	wire_free(&server);
	wire_make(&server, routes, &(struct httpd_limits){.idle_ms = 300});
	wire_start(&server);
	test_stuck();
	wire_stop(&server);
	wire_free(&server);
	return tap_done();
}
