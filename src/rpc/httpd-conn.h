/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * httpd-conn: the connections of an httpd, how many there may be and how long
 * each may take.  For httpd's own files.
 */
#ifndef LAMINA_RPC_HTTPD_CONN_H
#define LAMINA_RPC_HTTPD_CONN_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdatomic.h>

#include "src/rpc/httpd.h"

enum httpd_phase {
	HTTPD_IDLE,	/* nothing of a request has come */
	HTTPD_READING,
	HTTPD_CALL,	/* a handler has it, and as long as it likes */
	HTTPD_WRITING,
	HTTPD_STREAM,	/* an answer without end: also as long as it likes */
};

struct httpd_conn {
	struct httpd_conns *all;
	struct bufferevent *bev;	/* a reference of our own; NULL: a free slot */
	struct evbuffer_cb_entry *input_cb;
	struct evbuffer_cb_entry *output_cb;
	struct httpd_call *call;	/* in HTTPD_CALL and HTTPD_STREAM */
	enum httpd_phase phase;
	int64_t since_ms;		/* in this phase; when writing: the last progress */
	uint64_t number;		/* those that came later have larger ones */
	int domain;			/* of its socket; 0: not yet looked at */
	bool admitted;			/* see httpd_admit() */
	bool page;			/* its output is evhttp's own, and still HTML */
};

struct httpd_conns {
	struct event_base *base;
	struct evconnlistener *listeners[HTTPD_MAX_LISTENERS];
	unsigned nlisteners;
	struct event *tick;
	struct httpd_limits limits;	/* none is zero */
	struct httpd_conn *slots;	/* limits.max_conns of them, once it runs */
	atomic_uint n;			/* read by any thread */
	void (*ended)(void *arg);	/* NULL, or after some were freed */
	void *ended_arg;
	uint64_t accepted;		/* so far */
	bool paused;			/* the listeners: no slot, or no descriptor */
	bool starved;			/* ... it is the descriptor */
};

int httpd_conns_init(struct httpd_conns *c, struct event_base *base);

/* One of HTTPD_MAX_LISTENERS, disabled until they all start; it stays evhttp's. */
void httpd_conns_listen(struct httpd_conns *c, struct evconnlistener *listener);

/* After the connections themselves have been freed. */
void httpd_conns_fini(struct httpd_conns *c);

/* Accepts, in this thread's loop.  -ENOMEM. */
int httpd_conns_start(struct httpd_conns *c);

/* No longer accepts; those there are stay.  When the loop has ended. */
void httpd_conns_stop(struct httpd_conns *c);

/* For evhttp_set_bevcb(), with the conns: what a new connection reads and writes with. */
struct bufferevent *httpd_conns_accept(struct event_base *base, void *conns);

struct httpd_conn *httpd_conns_find(const struct httpd_conns *c, const struct bufferevent *bev);

/* Whether an answer is still being written. */
bool httpd_conns_writing(const struct httpd_conns *c);

/* A connection has ended: its slot is free after this turn of the loop. */
void httpd_conns_ended(struct httpd_conns *c);

/* From now on the connection belongs to `call`. */
void httpd_conn_begin(struct httpd_conn *conn, struct httpd_call *call);

/* The handler has returned without an answer: a hang-up is to be noticed meanwhile. */
void httpd_conn_defer(struct httpd_conn *conn);

/* An answer in pieces begins; and has ended, what is written of it apart. */
void httpd_conn_stream(struct httpd_conn *conn);
void httpd_conn_streamed(struct httpd_conn *conn);

#endif
