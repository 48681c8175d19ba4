/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * http: one request to an HTTP server that speaks JSON, and its answer.
 *
 * Blocks, up to the timeout.  From any thread.  Any status is an answer: what a
 * 404 means is the caller's to say.  Environment variables (proxies) do not
 * count and redirections are not followed.
 *
 * Errors, each with a sentence that names the target:
 *
 *   ENOENT         there is no such socket
 *   ECONNREFUSED   nobody listens there
 *   ETIMEDOUT      no whole answer in time
 *   ECONNRESET     the connection ended before the answer did
 *   EBADMSG        what answers does not speak HTTP
 *   EMSGSIZE       the answer is larger than HTTP_MAX_ANSWER, or its headers, with those of all
 *                  that came before it, than HTTP_MAX_HEADERS
 *   EINVAL, ENAMETOOLONG, EACCES, EHOSTUNREACH, ENOMEM, ...
 */
#ifndef LAMINA_RPC_HTTP_H
#define LAMINA_RPC_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

#define HTTP_MAX_ANSWER (16u << 20)	/* bytes of an answer's body */
#define HTTP_MAX_HEADERS (64u << 10)	/* bytes */
#define HTTP_TIMEOUT_MS 30000		/* where a target has none */

/*
 * Whom to ask: `socket` is the path of a unix socket; else `host` and `port` are
 * TCP's; else `fd` is a connected stream socket (it stays the caller's, is made
 * non-blocking, and is good for one request).
 */
struct http_target {
	const char *socket;
	const char *host;
	const char *name;	/* what sentences call it; NULL: after the others */
	const char *token;	/* sent as Authorization: Bearer; NULL: none */
	int fd;
	int timeout_ms;		/* 0: HTTP_TIMEOUT_MS; < 0: none */
	uint16_t port;
	bool (*stopped)(void);	/* asked ten times a second; true: -ECANCELED.  NULL: not asked */
};

struct http_answer {
	int status;
	json_t *json;		/* NULL: it was not JSON */
	char *text;		/* the body as it came, with a NUL behind it */
	size_t len;
	char reason[32];	/* what http_answer_error() says when the body does not */
};

/*
 * `path` begins with '/' and is percent-encoded (http_escape()).  `body` is
 * borrowed; NULL: none.  After success `ret` is the caller's, for
 * http_answer_fini(); after a failure it is untouched.
 */
int http_request(const struct http_target *to, const char *method, const char *path,
		 const json_t *body, struct http_answer *ret, struct err *err);
void http_answer_fini(struct http_answer *answer);

/*
 * Several requests over one connection, which is made by the first and, when the server has
 * closed it, anew (not where the target is a descriptor: -ECONNRESET).  Strings of `to` are
 * borrowed until http_client_free(); a descriptor stays the caller's.  `timeout_ms` is this
 * request's (as above).
 */
struct http_client;
int http_client_new(const struct http_target *to, struct http_client **ret, struct err *err);
void http_client_free(struct http_client *c);	/* NULL is fine */
struct http_ask {
	const char *method;
	const char *path;
	const json_t *body;	/* or NULL */
	int timeout_ms;
};
int http_client_ask(struct http_client *c, const struct http_ask *ask, struct http_answer *ret,
		    struct err *err);

/*
 * Hands the body of the answer to `fn` as it comes, and keeps nothing of it; `fn` may end it with a
 * number below 0, which is returned.  For answers without end: to->timeout_ms bounds the connecting
 * alone.  A status other than 200 is -EREMOTEIO with the server's sentence.
 */
int http_follow(const struct http_target *to, const char *path,
		int (*fn)(const char *bytes, size_t len, void *ctx), void *ctx, struct err *err);

/*
 * Connects to `to->socket`, for a request that then gets the descriptor as its target: another
 * thread can end that request with shutdown(2).  The caller's to close.
 */
int http_connect(const struct http_target *to, struct err *err);

/* The server's sentence ("error" in the JSON), or "HTTP status N". */
const char *http_answer_error(const struct http_answer *answer);

/* One path segment or query value, percent-encoded; to be freed.  NULL: no memory. */
char *http_escape(const char *segment);

#endif
