/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * httpd-call: a request that has come whole, until it is answered.  For httpd's
 * own files; handlers see httpd.h.
 */
#ifndef LAMINA_RPC_HTTPD_CALL_H
#define LAMINA_RPC_HTTPD_CALL_H

#include <sys/queue.h>

#include "src/rpc/httpd-conn.h"

struct evhttp_request;

LIST_HEAD(httpd_call_list, httpd_call);

/* What calls are made from and belong to. */
struct httpd_site {
	struct httpd *h;
	const struct httpd_route *routes;
	void *ctx;
	struct httpd_conns conns;
	struct httpd_call_list calls;	/* not yet answered */
};

struct httpd_param {
	const char *name;
	const char *value;
};

struct httpd_call {
	LIST_ENTRY(httpd_call) link;
	struct httpd_site *site;
	struct evhttp_request *req;
	struct httpd_conn *conn;	/* NULL: the caller hung up */
	char *args[HTTPD_MAX_ARGS];
	unsigned nargs;
	char *query;			/* what `params` point into */
	struct httpd_param params[HTTPD_MAX_QUERY];
	unsigned nparams;
	json_t *body;
	size_t stream_limit;		/* bytes that wait to be taken; 0: it is no stream */
	void (*taken)(void *arg);	/* of a stream, when the output is empty */
	void *taken_arg;
	void (*hangup)(void *arg);
	void *hangup_arg;
};

/* It is answered: the request and the connection are no longer its own. */
void httpd_call_free(struct httpd_call *call);

/* For evhttp_set_gencb(), with the site. */
void httpd_call_begin(struct evhttp_request *req, void *site);

/* Hangs up on every call and frees it; the connections are freed after it. */
void httpd_call_end_all(struct httpd_site *site);

#endif
