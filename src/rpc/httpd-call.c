/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call has a connection until the caller hangs up:
 *
 *	answered first	evhttp writes the answer and frees the request; the call
 *			is freed at once.
 *	hung up first	evhttp takes the request off its connection, leaves it to
 *			us, and calls on_close(): the call is gone, and stays in
 *			the list.  To answer it then is to free it.
 *
 * After an answer reading is off until it is written: a caller that has shut
 * down its sending side still gets its answer.
 */
#include "src/rpc/httpd-call.h"

#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/rpc/address.h"
#include "src/rpc/digits.h"

static const struct {
	enum evhttp_cmd_type type;
	const char *name;
} methods[] = {
	{EVHTTP_REQ_GET, "GET"},	 {EVHTTP_REQ_HEAD, "HEAD"},
	{EVHTTP_REQ_POST, "POST"},	 {EVHTTP_REQ_PUT, "PUT"},
	{EVHTTP_REQ_DELETE, "DELETE"},	 {EVHTTP_REQ_PATCH, "PATCH"},
	{EVHTTP_REQ_OPTIONS, "OPTIONS"}, {EVHTTP_REQ_TRACE, "TRACE"},
	{EVHTTP_REQ_CONNECT, "CONNECT"},
};

void httpd_call_free(struct httpd_call *call)
{
	LIST_REMOVE(call, link);
	for (unsigned i = 0; i < call->nargs; i++)
		free(call->args[i]);
	free(call->query);
	json_decref(call->body);
	free(call);
}

/* ---- what was asked ---- */

struct httpd *httpd_of(const struct httpd_call *call)
{
	return call->site->h;
}

const char *httpd_method(const struct httpd_call *call)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (methods[i].type == evhttp_request_get_command(call->req))
			return methods[i].name;
	return "";
}

const char *httpd_path(const struct httpd_call *call)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(call->req);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;

	return path ? path : "";
}

const char *httpd_arg(const struct httpd_call *call, unsigned i)
{
	return i < call->nargs ? call->args[i] : NULL;
}

const char *httpd_query(const struct httpd_call *call, const char *name)
{
	for (unsigned i = 0; i < call->nparams; i++)
		if (!strcmp(call->params[i].name, name))
			return call->params[i].value;
	return NULL;
}

static bool is_in(const char *const *names, const char *name)
{
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

const char *httpd_query_other(const struct httpd_call *call, const char *const *names)
{
	for (unsigned i = 0; i < call->nparams; i++)
		if (!is_in(names, call->params[i].name))
			return call->params[i].name;
	return NULL;
}

const char *httpd_header(const struct httpd_call *call, const char *name)
{
	return evhttp_find_header(evhttp_request_get_input_headers(call->req), name);
}

/* No value is without one of these, but for the first: a parsed one is 20 times as large. */
static size_t count_values(const char *text, size_t len)
{
	size_t n = 1;

	for (size_t i = 0; i < len; i++)
		n += text[i] == ',' || text[i] == '[' || text[i] == '{';
	return n;
}

json_t *httpd_body(struct httpd_call *call)
{
	struct evbuffer *input = evhttp_request_get_input_buffer(call->req);
	size_t len = evbuffer_get_length(input);
	size_t max = call->site->conns.limits.max_values;
	const char *text;
	json_error_t error;

	if (call->body)
		return call->body;
	text = len ? (const char *)evbuffer_pullup(input, -1) : NULL;
	if (text && count_values(text, len) > max) {
		httpd_fail(call, 400, "the body has more than %zu values", max);
		return NULL;
	}
	if (text)
		call->body = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	else if (!len)
		call->body = json_object();
	if (json_is_object(call->body))
		return call->body;
	if (call->body)
		httpd_fail(call, 400, "the body is no JSON object");
	else if (text)
		httpd_fail(call, 400, "malformed JSON at line %d, column %d: %s", error.line,
			   error.column, error.text);
	else
		httpd_fail(call, 500, "out of memory");
	return NULL;
}

int httpd_local(const struct httpd_call *call, struct sockaddr_storage *ret)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);

	if (!call->conn)
		return -ENOTCONN;
	if (getsockname(bufferevent_getfd(call->conn->bev), (struct sockaddr *)&addr, &len) < 0)
		return -errno;
	*ret = addr;
	return 0;
}

int httpd_peer(const struct httpd_call *call, struct ucred *ret)
{
	struct sockaddr_storage local;
	int rc = httpd_local(call, &local);

	if (rc < 0)
		return rc;
	if (local.ss_family != AF_UNIX)
		return -ENOTSUP;
	return address_peer(bufferevent_getfd(call->conn->bev), ret);
}

void httpd_admit(struct httpd_call *call)
{
	if (call->conn)
		call->conn->admitted = true;
}

bool httpd_gone(const struct httpd_call *call)
{
	return !call->conn;
}

void httpd_on_hangup(struct httpd_call *call, void (*fn)(void *arg), void *arg)
{
	call->hangup = call->conn ? fn : NULL;
	call->hangup_arg = arg;
}

/* ---- answers ---- */

bool httpd_set_header(struct httpd_call *call, const char *name, const char *value)
{
	return evhttp_add_header(evhttp_request_get_output_headers(call->req), name, value) == 0;
}

/* evhttp would send a HEAD's body, and tells neither its length nor a CONNECT's. */
static void withhold_body(struct httpd_call *call, struct evbuffer *body)
{
	char len[24];

	(void)snprintf(len, sizeof(len), "%zu", evbuffer_get_length(body));
	(void)httpd_set_header(call, "Content-Length", len);
	evbuffer_drain(body, evbuffer_get_length(body));
}

static void answer(struct httpd_call *call, int status, struct evbuffer *body)
{
	enum evhttp_cmd_type type = evhttp_request_get_command(call->req);
	struct evhttp_request *req = call->req;
	struct httpd_conn *conn = call->conn;

	if (body && type == EVHTTP_REQ_CONNECT)
		evbuffer_drain(body, evbuffer_get_length(body));
	if (body && (type == EVHTTP_REQ_HEAD || type == EVHTTP_REQ_CONNECT))
		withhold_body(call, body);
	if (conn)
		conn->call = NULL;
	httpd_call_free(call);
	evhttp_send_reply(req, status, NULL, body);
	if (conn)
		bufferevent_disable(conn->bev, EV_READ);
}

void httpd_empty(struct httpd_call *call, int status)
{
	answer(call, status, NULL);
}

void httpd_text(struct httpd_call *call, int status, const char *type, const char *text)
{
	struct evbuffer *body = evbuffer_new();

	if (!body || evbuffer_add(body, text, strlen(text)) < 0 ||
	    !httpd_set_header(call, "Content-Type", type))
		answer(call, 500, NULL);
	else
		answer(call, status, body);
	if (body)
		evbuffer_free(body);
}

void httpd_json(struct httpd_call *call, int status, json_t *takes)
{
	char *text = takes ? json_dumps(takes, JSON_COMPACT | JSON_REAL_PRECISION(digits_of(takes)))
			   : NULL;

	json_decref(takes);
	if (text)
		httpd_text(call, status, "application/json", text);
	else
		httpd_text(call, 500, "application/json", "{\"error\":\"out of memory\"}");
	free(text);
}

/* A path from outside, or a sentence cut off, may be no UTF-8. */
static void to_ascii(char *text)
{
	for (; *text; text++)
		if (*text & 0x80)
			*text = '?';
}

void httpd_fail(struct httpd_call *call, int status, const char *fmt, ...)
{
	char text[1024];
	json_t *object;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	object = json_pack("{s:s}", "error", text);
	if (!object) {
		to_ascii(text);
		object = json_pack("{s:s}", "error", text);
	}
	httpd_json(call, status, object);
}

/* ---- routes ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place.  -EINVAL: a bad escape, or a NUL. */
static int decode(char *text, bool plus_is_space)
{
	char *out = text;

	for (; *text; text++) {
		int high, low;

		if (*text != '%') {
			*out++ = *text == '+' && plus_is_space ? ' ' : *text;
			continue;
		}
		high = hex_digit(text[1]);
		low = high < 0 ? -1 : hex_digit(text[2]);
		if (low < 0 || !(high | low))
			return -EINVAL;
		*out++ = (char)(high << 4 | low);
		text += 2;
	}
	*out = '\0';
	return 0;
}

/* Whether `path` fits `pattern`; what its `{}` stand for, still encoded. */
static bool fits(const char *pattern, const char *path, const char *args[], size_t lens[])
{
	unsigned n = 0;

	for (;;) {
		if (pattern[0] == '{' && pattern[1] == '}') {
			size_t len = strcspn(path, "/");

			if (!len || n == HTTPD_MAX_ARGS)
				return false;
			args[n] = path;
			lens[n++] = len;
			pattern += 2;
			path += len;
			continue;
		}
		if (*pattern != *path)
			return false;
		if (!*pattern)
			return true;
		pattern++;
		path++;
	}
}

static unsigned count_args(const char *pattern)
{
	unsigned n = 0;

	while ((pattern = strstr(pattern, "{}"))) {
		pattern += 2;
		n++;
	}
	return n;
}

static int take_args(struct httpd_call *call, unsigned n, const char *args[], const size_t lens[])
{
	for (unsigned i = 0; i < n; i++) {
		char *arg = strndup(args[i], lens[i]);

		if (!arg)
			return -ENOMEM;
		call->args[call->nargs++] = arg;
		if (decode(arg, false) < 0)
			return -EINVAL;
	}
	return 0;
}

static int take_params(struct httpd_call *call)
{
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(call->req));
	char *rest, *name;

	if (!query)
		return 0;
	rest = call->query = strdup(query);
	if (!rest)
		return -ENOMEM;
	while ((name = strsep(&rest, "&"))) {
		char *value = strchrnul(name, '=');

		if (!*name)
			continue;
		if (call->nparams == HTTPD_MAX_QUERY)
			return -E2BIG;
		if (*value)
			*value++ = '\0';
		if (decode(name, true) < 0 || decode(value, true) < 0)
			return -EINVAL;
		call->params[call->nparams++] = (struct httpd_param){name, value};
	}
	return 0;
}

static bool is_for(const struct httpd_route *route, const char *method)
{
	return !strcmp(route->method, method) ||
	       (!strcmp(method, "HEAD") && !strcmp(route->method, "GET"));
}

static void allow(char *text, size_t size, const char *method)
{
	size_t len = strlen(text);

	if (!strstr(text, method))
		(void)snprintf(text + len, size - len, "%s%s", len ? ", " : "", method);
}

static void no_route(struct httpd_call *call)
{
	const char *args[HTTPD_MAX_ARGS];
	size_t lens[HTTPD_MAX_ARGS];
	char allowed[128] = "";

	for (const struct httpd_route *r = call->site->routes; r->method; r++) {
		if (!fits(r->path, httpd_path(call), args, lens))
			continue;
		allow(allowed, sizeof(allowed), r->method);
		if (!strcmp(r->method, "GET"))
			allow(allowed, sizeof(allowed), "HEAD");
	}
	if (!*allowed) {
		httpd_fail(call, 404, "there is nothing at '%s'", httpd_path(call));
		return;
	}
	(void)httpd_set_header(call, "Allow", allowed);
	httpd_fail(call, 405, "'%s' takes only %s", httpd_path(call), allowed);
}

static const struct httpd_route *find_route(struct httpd_call *call, const char *args[],
					    size_t lens[])
{
	const struct httpd_route *r = call->site->routes;

	while (r->method && !(is_for(r, httpd_method(call)) &&
			      fits(r->path, httpd_path(call), args, lens)))
		r++;
	return r->method ? r : NULL;
}

static void dispatch(struct httpd_call *call)
{
	const char *args[HTTPD_MAX_ARGS];
	size_t lens[HTTPD_MAX_ARGS];
	const struct httpd_route *route = find_route(call, args, lens);
	int rc;

	if (!route) {
		no_route(call);
		return;
	}
	rc = take_args(call, count_args(route->path), args, lens);
	if (rc == 0)
		rc = take_params(call);
	if (rc == -ENOMEM)
		httpd_fail(call, 500, "out of memory");
	else if (rc == -E2BIG)
		httpd_fail(call, 400, "more than %d parameters", HTTPD_MAX_QUERY);
	else if (rc < 0)
		httpd_fail(call, 400, "a bad percent-encoding in the path or a parameter");
	else
		route->fn(call, call->site->ctx);
}

/* ---- life ---- */

static void hang_up(struct httpd_call *call)
{
	void (*fn)(void *arg) = call->hangup;

	call->conn = NULL;
	call->hangup = NULL;
	if (fn)
		fn(call->hangup_arg);
}

static void on_close(struct evhttp_connection *evcon, void *arg)
{
	struct httpd_conn *conn = arg;
	struct httpd_call *call = conn->call;

	(void)evcon;
	conn->call = NULL;
	httpd_conns_ended(conn->all);
	if (call)
		hang_up(call);
}

void httpd_call_begin(struct evhttp_request *req, void *arg)
{
	struct httpd_site *site = arg;
	struct evhttp_connection *evcon = evhttp_request_get_connection(req);
	struct bufferevent *bev = evhttp_connection_get_bufferevent(evcon);
	struct httpd_conn *conn = httpd_conns_find(&site->conns, bev);
	struct httpd_call *call = conn ? calloc(1, sizeof(*call)) : NULL;

	if (!call) {
		evhttp_send_error(req, 503, NULL);
		return;
	}
	call->site = site;
	call->req = req;
	call->conn = conn;
	LIST_INSERT_HEAD(&site->calls, call, link);
	httpd_conn_begin(conn, call);
	evhttp_connection_set_closecb(evcon, on_close, conn);
	dispatch(call);
	if (conn->call)
		httpd_conn_defer(conn);
}

void httpd_call_end_all(struct httpd_site *site)
{
	struct httpd_call *call;

	while ((call = LIST_FIRST(&site->calls))) {
		if (!call->conn)
			evhttp_request_free(call->req);
		else
			call->conn->call = NULL;
		hang_up(call);
		httpd_call_free(call);
	}
}
