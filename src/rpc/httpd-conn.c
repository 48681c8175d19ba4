/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libevent's evhttp (2.1) limits neither the number of connections nor the time
 * of a request (its timeout begins anew with every byte), and does not tell when
 * a connection that never made a request ends.  So evhttp gets its bufferevents
 * from here, and for each we keep a reference and a slot:
 *
 *	evhttp frees a connection: it takes its callbacks off the bufferevent,
 *	drops its reference, and shuts the socket down.  Ours keeps the object
 *	(and its descriptor: BEV_OPT_CLOSE_ON_FREE) until reap() finds it without
 *	callbacks.  A slot is thus never free before its descriptor is.
 *
 * Phases follow from the buffers alone:
 *
 *	IDLE --input--> READING --request whole--> CALL --output--> WRITING
 *	  ^----------------------------------output empty-------------'
 *
 * An answer in pieces is in STREAM from its beginning to its end, whatever is in the buffers.
 * A page of evhttp's own, for a request that it refuses, goes from READING to
 * WRITING at once, and tick() makes JSON of it.  tick() ends what has been too long in its phase.
 *
 * Without a free slot a new connection takes the place of the oldest that has not sent a whole
 * request (make_room()), of those by TCP first: so whoever floods the server with halves of
 * requests pushes out himself.  One of TCP comes with its first bytes (TCP_DEFER_ACCEPT), and
 * may go once what it has sent was read; one of a unix socket, or of a caller who was admitted,
 * has GRACE_MS.  To give each time to be read, then only one is accepted a turn of the loop.
 * If none may go, or without a descriptor for accept(), the listeners are paused: callers
 * wait in their backlogs.  Without descriptors a second of idleness, or of a request that is not
 * whole, is enough to lose one's connection.
 *
 * evhttp exits the process if its read callback is called while a handler has
 * the request; so for as long as a call is deferred, reading is on (that is how
 * a hang-up is seen) but the read callback off: what comes stays in the input
 * buffer, whose high-water mark bounds it.
 */
#include "src/rpc/httpd-conn.h"

#include <stdlib.h>
#include <sys/ioctl.h>

#include "src/rpc/httpd-call.h"
#include "src/rpc/httpd-page.h"
#include "store/base/clock.h"

/* Beyond a body and headers at their limits: line ends, sizes of chunks. */
#define INPUT_SLACK 4096
#define TICK_MS 1000
#define HURRY_MS 1000
#define GRACE_MS 100
#define PAUSED_TICK_MS 50

/* Whose loop this thread runs: libevent does not tell it to on_accept_error(). */
static __thread struct httpd_conns *running;

static int tick_ms(const struct httpd_conns *c)
{
	int ms = c->paused ? PAUSED_TICK_MS : TICK_MS;

	if (ms > c->limits.idle_ms / 2)
		ms = c->limits.idle_ms / 2;
	if (ms > c->limits.request_ms / 2)
		ms = c->limits.request_ms / 2;
	return ms > 5 ? ms : 5;
}

/* Whether there is something that has its time: those whom a handler has have theirs of it. */
static bool is_timed(const struct httpd_conns *c)
{
	for (unsigned i = 0; c->n && i < c->limits.max_conns; i++)
		if (c->slots[i].bev && !c->slots[i].call)
			return true;
	return c->paused;
}

/* There is no tick without connections: an idle server sleeps. */
static void plan_tick(struct httpd_conns *c)
{
	int ms = tick_ms(c);
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	if (is_timed(c) && !evtimer_pending(c->tick, NULL))
		(void)evtimer_add(c->tick, &tv);
}

static void enter(struct httpd_conn *conn, enum httpd_phase phase)
{
	conn->phase = phase;
	conn->since_ms = (int64_t)clock_ms();
	if (!conn->call)
		plan_tick(conn->all);
}

static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
	struct httpd_conn *conn = arg;

	(void)input;
	if (info->n_added && conn->phase == HTTPD_IDLE)
		enter(conn, HTTPD_READING);
}

/* It is whole when the loop comes to tick(), and not yet being written. */
static void note_page(struct httpd_conn *conn)
{
	conn->page = true;
	event_active(conn->all->tick, EV_TIMEOUT, 0);
}

static void on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
	struct httpd_conn *conn = arg;
	struct evbuffer *input;

	(void)info;
	if (conn->phase == HTTPD_STREAM) {
		if (!evbuffer_get_length(output))
			event_active(conn->all->tick, EV_TIMEOUT, 0);
		return;
	}
	if (evbuffer_get_length(output)) {
		if (conn->phase == HTTPD_READING)
			note_page(conn);
		enter(conn, HTTPD_WRITING);
		return;
	}
	input = bufferevent_get_input(conn->bev);
	enter(conn, evbuffer_get_length(input) ? HTTPD_READING : HTTPD_IDLE);
}

/* Whether evhttp has freed its connection. */
static bool is_dead(const struct httpd_conn *conn)
{
	bufferevent_event_cb event_cb;

	bufferevent_getcb(conn->bev, NULL, NULL, &event_cb, NULL);
	return !event_cb;
}

static void drop(struct httpd_conn *conn)
{
	struct bufferevent *bev = conn->bev;

	evbuffer_remove_cb_entry(bufferevent_get_input(bev), conn->input_cb);
	evbuffer_remove_cb_entry(bufferevent_get_output(bev), conn->output_cb);
	bufferevent_disable(bev, EV_READ | EV_WRITE);
	bufferevent_decref(bev);
	*conn = (struct httpd_conn){0};
}

static void reap(struct httpd_conns *c)
{
	unsigned had = c->n;

	for (unsigned i = 0; c->n && i < c->limits.max_conns; i++) {
		if (!c->slots[i].bev || !is_dead(&c->slots[i]))
			continue;
		drop(&c->slots[i]);
		c->n--;
	}
	if (c->n < had && c->ended && running == c)
		c->ended(c->ended_arg);
}

static int allowed_ms(const struct httpd_conns *c, enum httpd_phase phase)
{
	int ms = phase == HTTPD_READING ? c->limits.request_ms : c->limits.idle_ms;

	return c->starved && phase != HTTPD_WRITING && ms > HURRY_MS ? HURRY_MS : ms;
}

static bool is_late(const struct httpd_conns *c, const struct httpd_conn *conn, int64_t now)
{
	return conn->bev && !conn->call && !is_dead(conn) &&
	       now - conn->since_ms >= allowed_ms(c, conn->phase);
}

static void end_conn(struct httpd_conn *conn)
{
	bufferevent_trigger_event(conn->bev, BEV_EVENT_READING | BEV_EVENT_EOF, 0);
}

static void end_late(struct httpd_conns *c)
{
	int64_t now = (int64_t)clock_ms();

	for (unsigned i = 0; i < c->limits.max_conns; i++)
		if (is_late(c, &c->slots[i], now))
			end_conn(&c->slots[i]);
}

static void pause_listeners(struct httpd_conns *c)
{
	c->paused = true;
	for (unsigned i = 0; i < c->nlisteners; i++)
		evconnlistener_disable(c->listeners[i]);
}

static bool enable_listeners(struct httpd_conns *c)
{
	for (unsigned i = 0; i < c->nlisteners; i++)
		if (evconnlistener_enable(c->listeners[i]) < 0)
			return false;
	return true;
}

/* ---- making room ---- */

static bool is_by_tcp(struct httpd_conn *conn)
{
	socklen_t len = sizeof(conn->domain);

	if (!conn->domain && getsockopt(bufferevent_getfd(conn->bev), SOL_SOCKET, SO_DOMAIN,
					&conn->domain, &len) < 0)
		conn->domain = AF_UNIX;
	return conn->domain != AF_UNIX;
}

/* Anybody can come by TCP. */
static bool is_stranger(struct httpd_conn *conn)
{
	return !conn->admitted && is_by_tcp(conn);
}

static bool has_unread(const struct httpd_conn *conn)
{
	int n = 0;

	return ioctl(bufferevent_getfd(conn->bev), FIONREAD, &n) == 0 && n > 0;
}

/* A stranger who does not take his answer holds no place by that. */
static bool may_go(struct httpd_conn *conn, int64_t now)
{
	if (now - conn->since_ms >= GRACE_MS)
		return conn->phase != HTTPD_WRITING || is_stranger(conn);
	return conn->phase != HTTPD_WRITING && is_stranger(conn) && !has_unread(conn);
}

static bool goes_before(struct httpd_conn *a, struct httpd_conn *b)
{
	if (is_stranger(a) != is_stranger(b))
		return is_stranger(a);
	return a->number < b->number;
}

/* NULL: there is none.  `any`: also one that should not go yet, but is in no call. */
static struct httpd_conn *first_to_go(struct httpd_conns *c, bool any)
{
	int64_t now = (int64_t)clock_ms();
	struct httpd_conn *first = NULL;

	for (unsigned i = 0; i < c->limits.max_conns; i++) {
		struct httpd_conn *conn = &c->slots[i];

		if (!conn->bev || conn->call || is_dead(conn) || !(any || may_go(conn, now)))
			continue;
		if (!first || goes_before(conn, first))
			first = conn;
	}
	return first;
}

static void make_room(struct httpd_conns *c)
{
	struct httpd_conn *conn = first_to_go(c, false);

	if (!conn)
		conn = first_to_go(c, true);
	if (conn)
		end_conn(conn);
}

static bool has_room(struct httpd_conns *c)
{
	return c->n < c->limits.max_conns || first_to_go(c, false);
}

static void resume_listeners(struct httpd_conns *c)
{
	if (!c->paused || !has_room(c) || !enable_listeners(c))
		return;
	c->paused = false;
	c->starved = false;
}

/* Not from on_output(): what is told will write. */
static void tell_taken(struct httpd_conns *c)
{
	for (unsigned i = 0; c->n && i < c->limits.max_conns; i++) {
		const struct httpd_conn *conn = &c->slots[i];

		if (conn->phase == HTTPD_STREAM && conn->call && conn->call->taken &&
		    !evbuffer_get_length(bufferevent_get_output(conn->bev)))
			conn->call->taken(conn->call->taken_arg);
	}
}

static void rewrite_pages(struct httpd_conns *c)
{
	for (unsigned i = 0; c->n && i < c->limits.max_conns; i++) {
		struct httpd_conn *conn = &c->slots[i];

		if (conn->page)
			httpd_page_rewrite(bufferevent_get_output(conn->bev), &c->limits);
		conn->page = false;
	}
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
	struct httpd_conns *c = arg;

	(void)fd;
	(void)what;
	rewrite_pages(c);
	tell_taken(c);
	end_late(c);
	reap(c);
	resume_listeners(c);
	plan_tick(c);
}

void httpd_conns_ended(struct httpd_conns *c)
{
	event_active(c->tick, EV_TIMEOUT, 0);
}

static struct httpd_conn *free_slot(struct httpd_conns *c)
{
	reap(c);
	if (c->n == c->limits.max_conns) {
		make_room(c);
		reap(c);
	}
	for (unsigned i = 0; i < c->limits.max_conns; i++)
		if (!c->slots[i].bev)
			return &c->slots[i];
	return NULL;
}

static int fill_slot(struct httpd_conns *c, struct httpd_conn *conn, struct bufferevent *bev)
{
	conn->input_cb = evbuffer_add_cb(bufferevent_get_input(bev), on_input, conn);
	conn->output_cb = evbuffer_add_cb(bufferevent_get_output(bev), on_output, conn);
	if (!conn->input_cb || !conn->output_cb)
		return -ENOMEM;
	bufferevent_setwatermark(bev, EV_READ, 0,
				 c->limits.max_body + c->limits.max_headers + INPUT_SLACK);
	bufferevent_incref(bev);
	conn->all = c;
	conn->bev = bev;
	conn->number = ++c->accepted;
	enter(conn, HTTPD_IDLE);
	if (++c->n == c->limits.max_conns) {
		pause_listeners(c);
		event_active(c->tick, EV_TIMEOUT, 0);
	}
	plan_tick(c);
	return 0;
}

/* After NULL evhttp would make a bufferevent of its own; without memory it cannot. */
struct bufferevent *httpd_conns_accept(struct event_base *base, void *conns)
{
	struct httpd_conns *c = conns;
	struct httpd_conn *conn = free_slot(c);
	struct bufferevent *bev;

	if (!conn)
		return NULL;
	bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (bev && fill_slot(c, conn, bev) < 0) {
		*conn = (struct httpd_conn){0};
		bufferevent_free(bev);
		bev = NULL;
	}
	return bev;
}

/* The argument is evhttp's. */
static void on_accept_error(struct evconnlistener *listener, void *http)
{
	(void)listener;
	(void)http;
	pause_listeners(running);
	running->starved = true;
	plan_tick(running);
}

struct httpd_conn *httpd_conns_find(const struct httpd_conns *c, const struct bufferevent *bev)
{
	for (unsigned i = 0; i < c->limits.max_conns; i++)
		if (c->slots[i].bev == bev)
			return &c->slots[i];
	return NULL;
}

bool httpd_conns_writing(const struct httpd_conns *c)
{
	for (unsigned i = 0; i < c->limits.max_conns; i++)
		if (c->slots[i].bev && c->slots[i].phase == HTTPD_WRITING &&
		    !is_dead(&c->slots[i]))
			return true;
	return false;
}

/* Whoever is accepted finds one who can go for him: see httpd_conns_accept(). */
void httpd_conn_begin(struct httpd_conn *conn, struct httpd_call *call)
{
	struct httpd_conns *c = conn->all;

	conn->call = call;
	conn->admitted = false;
	enter(conn, HTTPD_CALL);
	if (c->n == c->limits.max_conns && !c->paused && !first_to_go(c, true)) {
		pause_listeners(c);
		plan_tick(c);
	}
}

void httpd_conn_defer(struct httpd_conn *conn)
{
	bufferevent_data_cb write_cb;
	bufferevent_event_cb event_cb;
	void *arg;

	bufferevent_getcb(conn->bev, NULL, &write_cb, &event_cb, &arg);
	bufferevent_setcb(conn->bev, NULL, write_cb, event_cb, arg);
	(void)bufferevent_enable(conn->bev, EV_READ);
}

void httpd_conn_stream(struct httpd_conn *conn)
{
	enter(conn, HTTPD_STREAM);
}

void httpd_conn_streamed(struct httpd_conn *conn)
{
	bool writing = evbuffer_get_length(bufferevent_get_output(conn->bev));

	enter(conn, writing ? HTTPD_WRITING : HTTPD_IDLE);
}

int httpd_conns_init(struct httpd_conns *c, struct event_base *base)
{
	c->base = base;
	c->tick = evtimer_new(base, tick, c);
	return c->tick ? 0 : -ENOMEM;
}

void httpd_conns_listen(struct httpd_conns *c, struct evconnlistener *listener)
{
	evconnlistener_set_error_cb(listener, on_accept_error);
	c->listeners[c->nlisteners++] = listener;
}

int httpd_conns_start(struct httpd_conns *c)
{
	if (!c->slots)
		c->slots = calloc(c->limits.max_conns, sizeof(*c->slots));
	if (!c->slots)
		return -ENOMEM;
	running = c;
	c->paused = c->n == c->limits.max_conns;
	return c->paused || enable_listeners(c) ? 0 : -ENOMEM;
}

void httpd_conns_stop(struct httpd_conns *c)
{
	pause_listeners(c);
	running = NULL;
}

void httpd_conns_fini(struct httpd_conns *c)
{
	if (c->slots)
		reap(c);
	free(c->slots);
	if (c->tick)
		event_free(c->tick);
	*c = (struct httpd_conns){0};
}
