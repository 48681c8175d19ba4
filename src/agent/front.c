/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The relays of vsock reach the server by an abstract socket, whose name the kernel chooses.
 * Anybody may connect to that: those who are not this process are turned away.
 */
#include "src/agent/front.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/agent/collapse.h"
#include "src/agent/logs.h"
#include "src/rpc/relay.h"

#define UNIX_MODE 0600
#define BACKLOG 64
#define MAX_CONNS 24		/* of the server */
#define MAX_RELAYED 16		/* of each relay */
#define MAX_BODY 16384
#define MAX_HEADERS 2048	/* a short one is 20 times as large when it is parsed */
#define REQUEST_MS 5000		/* for all of one to come */
#define MAX_VALUES (COLLAPSE_MAX_PIDS + 16)

/* ---- the socket of the relays ---- */

struct inner {
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];	/* "@NAME" */
};

static int listen_inside(struct inner *ret, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)) == 0 &&
	    listen(fd, BACKLOG) == 0 && getsockname(fd, (struct sockaddr *)&addr, &len) == 0) {
		(void)snprintf(ret->path, sizeof(ret->path), "@%.*s",
			       (int)(len - offsetof(struct sockaddr_un, sun_path) - 1),
			       addr.sun_path + 1);
		return fd;
	}
	rc = err_sys(err, -errno, "cannot listen for relays");
	if (fd >= 0)
		close(fd);
	return rc;
}

static void on_refused(uint32_t cid, void *ctx)
{
	struct front *f = ctx;

	refusals_add(&f->by_vsock, "a connection by vsock of CID %u was refused", cid);
}

static int add_relay(struct front *f, int fd, const struct inner *inner, struct err *err)
{
	const struct relay_config config = {
		.listen_fd = fd,
		.path = inner->path,
		.cid = f->args->peer,
		.max_conns = MAX_RELAYED,
		.refused = on_refused,
		.ctx = f,
	};
	int rc = relay_new(&config, &f->relays[f->nrelays], err);

	if (rc == 0)
		f->nrelays++;
	return rc;
}

/* ---- opening ---- */

static bool has_vsock(const struct args *args)
{
	for (unsigned i = 0; i < args->nlisten; i++)
		if (args->listen[i].kind == ADDRESS_VSOCK)
			return true;
	return false;
}

/* With the port that the kernel chose, if that was left to it. */
static void say_where(const struct address *address, int fd)
{
	struct address real = *address;
	struct sockaddr_in6 addr;	/* the port is where IPv4 has it */
	socklen_t len = sizeof(addr);
	char text[ADDRESS_TEXT_SIZE];

	if (real.kind == ADDRESS_TCP && getsockname(fd, (struct sockaddr *)&addr, &len) == 0)
		real.port = ntohs(addr.sin6_port);
	address_format(&real, text);
	logs_add(LOGS_INFO, "listens on %s", text);
}

static int open_sockets(struct front *f, struct inner *inner, struct err *err)
{
	const struct args *args = f->args;
	int fd;

	for (unsigned i = 0; i < args->nlisten; i++) {
		fd = address_listen(&args->listen[i], UNIX_MODE, err);
		if (fd < 0)
			return fd;
		f->fds[f->nfds++] = fd;
		say_where(&args->listen[i], fd);
	}
	if (!has_vsock(args))
		return 0;
	fd = listen_inside(inner, err);
	if (fd >= 0)
		f->fds[f->nfds++] = fd;
	return fd < 0 ? fd : 0;
}

static int serve_on(struct front *f, int fd, const struct httpd_route *routes, void *ctx,
		    struct err *err)
{
	if (f->httpd)
		return httpd_listen(f->httpd, fd, err);
	return httpd_new(fd, routes, ctx, &f->httpd, err);
}

static bool is_vsock(const struct front *f, unsigned i)
{
	return i < f->args->nlisten && f->args->listen[i].kind == ADDRESS_VSOCK;
}

static int start_relays(struct front *f, const struct inner *inner, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < f->nfds && rc == 0; i++)
		if (is_vsock(f, i))
			rc = add_relay(f, f->fds[i], inner, err);
	return rc;
}

int front_open(struct front *f, const struct args *args, const struct httpd_route *routes,
	       void *ctx, struct err *err)
{
	struct inner inner = {""};
	int rc;

	*f = (struct front){.args = args};
	refusals_init(&f->by_tcp, "by TCP");
	refusals_init(&f->by_vsock, "by vsock");
	refusals_init(&f->by_relays, "by the socket of the relays");
	rc = args->token_file ? token_open(&f->token, args->token_file, err) : 0;
	if (rc == 0)
		rc = open_sockets(f, &inner, err);
	for (unsigned i = 0; i < f->nfds && rc == 0; i++)
		if (!is_vsock(f, i))
			rc = serve_on(f, f->fds[i], routes, ctx, err);
	if (rc < 0)
		return rc;
	httpd_set_limits(f->httpd, &(struct httpd_limits){.max_conns = MAX_CONNS,
							  .max_body = MAX_BODY,
							  .max_headers = MAX_HEADERS,
							  .max_values = MAX_VALUES,
							  .request_ms = REQUEST_MS});
	return start_relays(f, &inner, err);
}

void front_unlink(struct front *f)
{
	for (unsigned i = 0; i < f->nfds && i < f->args->nlisten; i++)
		if (f->args->listen[i].kind == ADDRESS_UNIX)
			(void)unlink(f->args->listen[i].path);
}

void front_close(struct front *f)
{
	for (unsigned i = 0; i < f->nrelays; i++)
		relay_free(f->relays[i]);
	httpd_free(f->httpd);
	for (unsigned i = 0; i < f->nfds; i++)
		close(f->fds[i]);
	front_unlink(f);
	token_fini(&f->token);
}

/* ---- admitting ---- */

static bool knows_token(struct front *f, struct httpd_call *call)
{
	struct err err = {""};

	if (token_check(&f->token, httpd_header(call, "Authorization"), &err)) {
		httpd_admit(call);
		return true;
	}
	refusals_add(&f->by_tcp, "a request by TCP without the token was refused%s%s",
		     *err.text ? ": " : "", err.text);
	(void)httpd_set_header(call, "WWW-Authenticate", "Bearer");
	httpd_fail(call, 401, "this needs the token");
	return false;
}

static bool is_ours(struct front *f, struct httpd_call *call, const struct sockaddr_un *local)
{
	struct ucred peer;

	if (local->sun_path[0])
		return true;
	if (httpd_peer(call, &peer) == 0 && peer.pid == getpid())
		return true;
	refusals_add(&f->by_relays, "a request by the socket of the relays was refused");
	httpd_fail(call, 401, "this socket is for vsock's relays");
	return false;
}

bool front_admits(struct front *f, struct httpd_call *call)
{
	struct sockaddr_storage local;

	if (httpd_local(call, &local) < 0) {
		httpd_empty(call, 401);
		return false;
	}
	if (local.ss_family == AF_UNIX)
		return is_ours(f, call, (const struct sockaddr_un *)&local);
	return knows_token(f, call);
}

void front_tell_refused(struct front *f)
{
	refusals_tell(&f->by_tcp);
	refusals_tell(&f->by_vsock);
	refusals_tell(&f->by_relays);
}
