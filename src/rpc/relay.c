/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread polls: the listening socket while there is a free slot, and of each pair the sides
 * that can go on.
 *
 *	client -- flows[0] --> server		a flow: at most BUFFER bytes that were read
 *	client <-- flows[1] -- server		and not yet written, and whether its end has come
 *
 * The end of a flow is passed on when it is empty, by shutdown().  A pair is over when both
 * have ended; when a side fails; and LINGER_MS after the server, which is ours, has closed: a
 * client that neither takes the rest nor closes has no more time than that.
 */
#include "src/rpc/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "store/base/clock.h"

#define BUFFER 16384
#define LINGER_MS 5000
#define RETRY_MS 1000	/* without a descriptor for accept() */

enum { CLIENT, SERVER };

struct flow {
	size_t begin;
	size_t end;
	bool read_out;	/* nothing more comes */
	bool told;	/* ... and the other side was told */
	char data[BUFFER];
};

struct pair {
	int fd[2];
	uint64_t end_ms;	/* when it is over in any case; 0: not yet known */
	struct flow flows[2];	/* what was read from fd[i] */
};

struct relay {
	struct relay_config config;
	struct sockaddr_un server;
	socklen_t server_len;
	pthread_t thread;
	bool runs;
	int stop_fd;
	uint64_t retry_ms;	/* no accept() before that */
	struct pair **pairs;	/* max_conns; NULL: a free slot */
	struct pollfd *polled;	/* stop, listener, two of each pair */
};

/* ---- a pair ---- */

static void pair_free(struct pair *p)
{
	close(p->fd[CLIENT]);
	if (p->fd[SERVER] >= 0)
		close(p->fd[SERVER]);
	free(p);
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* False: the side has failed. */
static bool take(struct pair *p, int side)
{
	struct flow *f = &p->flows[side];
	ssize_t n;

	if (f->read_out || f->end == BUFFER)
		return true;
	n = recv(p->fd[side], f->data + f->end, BUFFER - f->end, MSG_DONTWAIT);
	if (n < 0)
		return would_block();
	f->end += (size_t)n;
	f->read_out = n == 0;
	return true;
}

static bool give(struct pair *p, int from)
{
	struct flow *f = &p->flows[from];
	int to = p->fd[!from];
	ssize_t n;

	if (f->begin < f->end) {
		n = send(to, f->data + f->begin, f->end - f->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return would_block();
		f->begin += (size_t)n;
	}
	if (f->begin < f->end)
		return true;
	f->begin = f->end = 0;
	if (f->read_out && !f->told) {
		f->told = true;
		return shutdown(to, SHUT_WR) == 0;
	}
	return true;
}

static bool is_over(const struct pair *p, uint64_t now)
{
	return (p->flows[CLIENT].told && p->flows[SERVER].told) || (p->end_ms && now >= p->end_ms);
}

/* The server has closed: what is still for it is lost, what it has said is not. */
static bool server_is_gone(struct pair *p)
{
	struct flow *in = &p->flows[CLIENT];
	size_t had;

	if (!p->end_ms)
		p->end_ms = clock_ms() + LINGER_MS;
	in->read_out = in->told = true;
	in->begin = in->end = 0;
	do {
		had = p->flows[SERVER].end;
		if (!take(p, SERVER))
			return false;
	} while (p->flows[SERVER].end != had);
	return true;
}

/* False: it is over. */
static bool pair_turn(struct pair *p, short client, short server)
{
	if ((client & (POLLERR | POLLNVAL)) || (server & POLLNVAL))
		return false;
	if ((client & (POLLIN | POLLHUP)) && !take(p, CLIENT))
		return false;
	if ((server & POLLIN) && !take(p, SERVER))
		return false;
	if ((server & (POLLHUP | POLLERR)) && !server_is_gone(p))
		return false;
	if (!p->flows[CLIENT].told && !give(p, CLIENT) && !server_is_gone(p))
		return false;
	return give(p, SERVER) && !is_over(p, clock_ms());
}

/*
 * A side is not polled for what cannot be done: it would be told without end.  The server's hang-up
 * is heard once, the client's with what it is read or written for.
 */
static void plan_side(const struct pair *p, int side, struct pollfd *polled)
{
	const struct flow *from = &p->flows[side], *to = &p->flows[!side];

	*polled = (struct pollfd){.fd = p->fd[side]};
	if (!from->read_out && from->end < BUFFER)
		polled->events |= POLLIN;
	if (to->begin < to->end)
		polled->events |= POLLOUT;
	if (!polled->events && (side == CLIENT || p->end_ms))
		polled->fd = -1;
}

/* ---- accepting ---- */

static bool is_welcome(const struct relay *r, int fd)
{
	struct sockaddr_vm peer = {0};
	socklen_t len = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return false;
	if (peer.svm_family != AF_VSOCK || peer.svm_cid == r->config.cid)
		return true;
	if (r->config.refused)
		r->config.refused(peer.svm_cid, r->config.ctx);
	return false;
}

static int connect_server(const struct relay *r)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&r->server, r->server_len) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Takes `fd`. */
static struct pair *make_pair(const struct relay *r, int fd)
{
	struct pair *p = is_welcome(r, fd) ? malloc(sizeof(*p)) : NULL;

	if (!p) {
		close(fd);
		return NULL;
	}
	/* Not all of it: pages that are not used are not to be touched. */
	p->fd[CLIENT] = fd;
	p->end_ms = 0;
	for (int i = 0; i < 2; i++)
		memset(&p->flows[i], 0, offsetof(struct flow, data));
	p->fd[SERVER] = connect_server(r);
	if (p->fd[SERVER] >= 0)
		return p;
	pair_free(p);
	return NULL;
}

static void accept_one(struct relay *r, struct pair **slot)
{
	int fd = accept4(r->config.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		*slot = make_pair(r, fd);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
		r->retry_ms = clock_ms() + RETRY_MS;
}

static struct pair **free_slot(const struct relay *r)
{
	for (unsigned i = 0; i < r->config.max_conns; i++)
		if (!r->pairs[i])
			return &r->pairs[i];
	return NULL;
}

/* ---- the loop ---- */

static int sooner(int ms, uint64_t then, uint64_t now)
{
	int left = then > now ? (int)(then - now) : 0;

	return ms < 0 || left < ms ? left : ms;
}

/* Fills `polled`; how long to wait, in ms, or -1. */
static int plan(struct relay *r)
{
	bool wait = r->retry_ms != 0;
	uint64_t now = clock_ms();
	int ms = wait ? sooner(-1, r->retry_ms, now) : -1;

	r->polled[0] = (struct pollfd){.fd = r->stop_fd, .events = POLLIN};
	r->polled[1] = (struct pollfd){.fd = -1, .events = POLLIN};
	if (!wait && free_slot(r))
		r->polled[1].fd = r->config.listen_fd;
	for (unsigned i = 0; i < r->config.max_conns; i++) {
		struct pollfd *polled = &r->polled[2 + 2 * i];
		const struct pair *p = r->pairs[i];

		polled[0] = polled[1] = (struct pollfd){.fd = -1};
		if (!p)
			continue;
		plan_side(p, CLIENT, &polled[0]);
		plan_side(p, SERVER, &polled[1]);
		if (p->end_ms)
			ms = sooner(ms, p->end_ms, now);
	}
	return ms;
}

static void turn_pairs(struct relay *r)
{
	for (unsigned i = 0; i < r->config.max_conns; i++) {
		const struct pollfd *polled = &r->polled[2 + 2 * i];

		if (!r->pairs[i] || pair_turn(r->pairs[i], polled[0].revents, polled[1].revents))
			continue;
		pair_free(r->pairs[i]);
		r->pairs[i] = NULL;
	}
}

static void *run(void *arg)
{
	struct relay *r = arg;
	unsigned n = 2 + 2 * r->config.max_conns;

	for (;;) {
		int got = poll(r->polled, n, plan(r));

		if (got < 0)
			continue;
		if (r->polled[0].revents)
			return NULL;
		if (r->retry_ms && clock_ms() >= r->retry_ms)
			r->retry_ms = 0;
		turn_pairs(r);
		if (r->polled[1].revents)
			accept_one(r, free_slot(r));
	}
}

/* ---- beginning and end ---- */

static int take_path(struct relay *r, struct err *err)
{
	size_t len = strlen(r->config.path);

	if (len == 0 || len >= sizeof(r->server.sun_path))
		return err_set(err, -ENAMETOOLONG,
			       "'%.200s': the path of a socket has 1 to %zu characters",
			       r->config.path, sizeof(r->server.sun_path) - 1);
	r->server.sun_family = AF_UNIX;
	memcpy(r->server.sun_path, r->config.path, len);
	if (*r->server.sun_path == '@')
		*r->server.sun_path = '\0';
	r->server_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 0;
}

static int check_listener(int fd, struct err *err)
{
	int listening = 0, flags = fcntl(fd, F_GETFL);
	socklen_t len = sizeof(listening);

	if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(err, -errno, "cannot relay descriptor %d", fd);
	if (!listening)
		return err_set(err, -EINVAL, "descriptor %d is no listening socket", fd);
	return 0;
}

static int start(struct relay *r)
{
	unsigned n = r->config.max_conns;
	int rc;

	r->pairs = calloc(n, sizeof(struct pair *));
	r->polled = calloc(2 + 2 * (size_t)n, sizeof(struct pollfd));
	if (!r->pairs || !r->polled)
		return -ENOMEM;
	r->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->stop_fd < 0)
		return -errno;
	rc = -pthread_create(&r->thread, NULL, run, r);
	r->runs = rc == 0;
	return rc;
}

int relay_new(const struct relay_config *config, struct relay **ret, struct err *err)
{
	struct relay *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_sys(err, -ENOMEM, "cannot relay");
	r->config = *config;
	r->stop_fd = -1;
	rc = take_path(r, err);
	if (rc == 0)
		rc = check_listener(config->listen_fd, err);
	if (rc == 0) {
		rc = start(r);
		if (rc < 0)
			(void)err_sys(err, rc, "cannot relay");
	}
	if (rc == 0)
		*ret = r;
	else
		relay_free(r);
	return rc;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	if (r->runs) {
		(void)!write(r->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
		(void)pthread_join(r->thread, NULL);
	}
	for (unsigned i = 0; r->pairs && i < r->config.max_conns; i++)
		if (r->pairs[i])
			pair_free(r->pairs[i]);
	if (r->stop_fd >= 0)
		close(r->stop_fd);
	free(r->pairs);
	free(r->polled);
	free(r);
}
