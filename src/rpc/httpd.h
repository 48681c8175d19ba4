/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * httpd: a small HTTP server that speaks JSON, over a unix or TCP socket.
 *
 *	static const struct httpd_route routes[] = {
 *		{"GET", "/health", get_health},
 *		{"POST", "/sessions/{}/close", close_session},
 *		{0},
 *	};
 *
 *	httpd_new(listen_fd, routes, ctx, &h, &err);
 *	httpd_run(h);				(until httpd_stop())
 *	httpd_free(h);
 *
 * One thread runs the loop: handlers, timers, watches and posted functions are
 * called there and nowhere else, one at a time, and must not block.  Only
 * httpd_post(), httpd_stop() and httpd_conns() may be called by other threads.
 *
 * A handler answers its call once: at once, or later on the loop's thread (a
 * worker thread posts a function that answers).  Until then the call is valid,
 * even when the caller has gone away: the answer then goes nowhere.
 *
 * What never becomes a call (a broken request line, headers over the limit, a
 * body over the limit) gets 400, 413 or 417 from libevent, with {"error": "..."}, and
 * its connection is closed.  No peer can make the server exit, block, or use
 * more than `max_conns` connections and their limits.
 */
#ifndef LAMINA_RPC_HTTPD_H
#define LAMINA_RPC_HTTPD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "store/base/err.h"

#define HTTPD_MAX_ARGS 4	/* `{}` in a route */
#define HTTPD_MAX_LISTENERS 16
#define HTTPD_MAX_QUERY 16	/* parameters behind the `?`; more are answered with 400 */

struct httpd;
struct httpd_call;

/*
 * In a path, `{}` stands for one segment that is not empty.  The first route
 * that fits is taken; HEAD is answered by GET's.  No route: 404; one for other
 * methods only: 405 with Allow.
 */
struct httpd_route {
	const char *method;
	const char *path;
	void (*fn)(struct httpd_call *call, void *ctx);
};

/* Zero means the default, in brackets. */
struct httpd_limits {
	unsigned max_conns;	/* [256]; then the oldest that has sent no whole request
				   makes room, of those by TCP first */
	size_t max_body;	/* bytes of a request's body [1 MiB] */
	size_t max_headers;	/* bytes of a request's headers [16 KiB] */
	size_t max_values;	/* of a JSON body, about as many [no limit but max_body] */
	int idle_ms;		/* without a request, or an answer not taken [60 s] */
	int request_ms;		/* from a request's first byte to its last [20 s] */
};

/*
 * `listen_fd` (unix or inet, listening; made non-blocking) and `routes` are
 * borrowed until httpd_free().  `ctx` is what the handlers get.
 */
int httpd_new(int listen_fd, const struct httpd_route *routes, void *ctx, struct httpd **ret,
	      struct err *err);

/* Serves on another one, too; as that of httpd_new().  Before httpd_run().  -E2BIG. */
int httpd_listen(struct httpd *h, int listen_fd, struct err *err);

/*
 * Ends every connection.  Calls not yet answered hear that their caller hung up,
 * and may not be used again.  What was posted and has not run does not run.
 */
void httpd_free(struct httpd *h);

/* Before httpd_run(). */
void httpd_set_limits(struct httpd *h, const struct httpd_limits *limits);

/*
 * Serves until httpd_stop(), then writes out the answers that were given (for
 * one second at most) and returns.  May be called again.  SIGPIPE is blocked
 * in the thread meanwhile.
 */
int httpd_run(struct httpd *h, struct err *err);

/* From any thread, and from a signal handler.  Before httpd_run(): it returns at once. */
void httpd_stop(struct httpd *h);

/* Runs fn(arg) on the loop's thread, in the order posted.  From any thread.  -ENOMEM. */
int httpd_post(struct httpd *h, void (*fn)(void *arg), void *arg);

/* Runs fn(arg) every `ms` milliseconds until httpd_free().  -ENOMEM. */
int httpd_every(struct httpd *h, int ms, void (*fn)(void *arg), void *arg);

/*
 * Runs fn(fd, arg) whenever `fd` (borrowed) is readable, until httpd_unwatch(),
 * which comes before close(fd).  -EEXIST: it is watched; -ENOMEM.
 */
int httpd_watch(struct httpd *h, int fd, void (*fn)(int fd, void *arg), void *arg);
void httpd_unwatch(struct httpd *h, int fd);

/*
 * fn(arg) on the loop's thread soon after connections have ended, and what they needed was freed.
 * Before httpd_run().
 */
void httpd_on_ended(struct httpd *h, void (*fn)(void *arg), void *arg);

/* Connections that are open.  From any thread. */
unsigned httpd_conns(const struct httpd *h);

/*
 * What was asked.  Strings are borrowed from the call, until it is answered.
 */

struct httpd *httpd_of(const struct httpd_call *call);
const char *httpd_method(const struct httpd_call *call);
const char *httpd_path(const struct httpd_call *call);		/* as it was sent, without query */

/* The segment that the i-th `{}` stands for, percent-decoded (it may hold a '/'). */
const char *httpd_arg(const struct httpd_call *call, unsigned i);

/* A parameter's decoded value, "" if it has none; NULL: there is no such parameter. */
const char *httpd_query(const struct httpd_call *call, const char *name);

/* The first parameter that is none of these names (ends with NULL); NULL: there is none. */
const char *httpd_query_other(const struct httpd_call *call, const char *const *names);

/* A request header's value, or NULL. */
const char *httpd_header(const struct httpd_call *call, const char *name);

/*
 * The body, a JSON object; {} if it is empty.  Borrowed from the call until it
 * is answered.  NULL: it was none (malformed, not an object, a key twice, more
 * than max_values), and the call is answered with a 400 that says so: return.
 */
json_t *httpd_body(struct httpd_call *call);

/* The process at the other end of a unix socket.  -ENOTSUP: TCP; -ENOTCONN: it hung up. */
int httpd_peer(const struct httpd_call *call, struct ucred *ret);

/* The name of the socket that it came by: the listening one's.  -ENOTCONN: it hung up. */
int httpd_local(const struct httpd_call *call, struct sockaddr_storage *ret);

/*
 * The caller has shown that he may ask: until his next request his connection makes no room for
 * a new one as long as there are others by TCP, nor while he is still to take the answer.
 */
void httpd_admit(struct httpd_call *call);

/* Whether the caller hung up. */
bool httpd_gone(const struct httpd_call *call);

/*
 * fn(arg) when the caller hangs up before the answer; the call is still to be
 * answered.  NULL: no longer.  A caller that shuts down only its sending side
 * has hung up, once the handler has returned.
 */
void httpd_on_hangup(struct httpd_call *call, void (*fn)(void *arg), void *arg);

/*
 * Answers.  Each ends the call: it may not be used again.
 */

void httpd_json(struct httpd_call *call, int status, json_t *takes);	/* NULL: a 500 */
void httpd_text(struct httpd_call *call, int status, const char *type, const char *text);
void httpd_empty(struct httpd_call *call, int status);			/* 204, 202 */

/*
 * An answer in pieces, without end until httpd_stream_end(), which ends the call.  Pieces
 * that the caller does not take are kept up to `limit` bytes; httpd_stream_send() then says
 * -ENOBUFS and sends nothing; -EPIPE: he hung up.  httpd_stream_on_taken() tells when there
 * is room: fn(arg) when all has been taken, perhaps more often; NULL: no longer.
 * While it lasts idle limits do not count.  httpd_stream_begin() answers with 200; -EPIPE, -ENOMEM:
 * nothing has begun, and the call is still to be answered.
 */
int httpd_stream_begin(struct httpd_call *call, const char *type, size_t limit);
int httpd_stream_send(struct httpd_call *call, const char *text, size_t len);
void httpd_stream_on_taken(struct httpd_call *call, void (*fn)(void *arg), void *arg);
void httpd_stream_end(struct httpd_call *call);

/* {"error": "..."} */
void httpd_fail(struct httpd_call *call, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A header of the answer to come; false if memory ran out or it holds a line break. */
bool httpd_set_header(struct httpd_call *call, const char *name, const char *value);

#endif
