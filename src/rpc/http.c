/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A unix socket is connected to here and handed to libcurl as a descriptor, as
 * the caller's own are: connect() then says what is wrong, and waits where the
 * server's backlog is full, which libcurl's non-blocking one does not.
 *
 * CURL_SOCKOPT_ALREADY_CONNECTED is not heeded by libcurl 7.88, which connects
 * nevertheless.  So it gets a datagram socket whose connect() does nothing, and
 * before it sends the request our descriptor is put in that one's place.  It asks for
 * one when it has no connection that is alive: that is how a client's lasts from one
 * request to the next.
 *
 * A transfer is run in turns, for `stopped`: libcurl itself would ask once a second.
 */
#include "src/rpc/http.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/rpc/address.h"
#include "src/rpc/curl.h"
#include "src/rpc/http-headers.h"
#include "src/rpc/http-stand-in.h"

#define ASK_STOPPED_MS 100

struct body {
	char *data;
	size_t len;
	size_t size;
	bool too_large;
};

struct http_client {
	struct http_target to;
	char name[160];		/* of the target, for sentences */
	const struct curl *lib;
	CURL *curl;
	CURLM *multi;		/* has the connection between two requests */
	int fd;			/* of ours, to be put in the stand-in's place; -1: none */
	int stand_in;		/* what libcurl believes to have connected; -1: none */
	bool spent;		/* the target is a descriptor, and was used */
};

/* One request. */
struct exchange {
	struct http_client *client;
	struct curl_slist *headers;
	char *url;
	char *request;		/* the body that is sent */
	struct body body;	/* the one that comes */
	struct http_headers came;	/* before it, and behind it */
	int (*fn)(const char *bytes, size_t len, void *ctx);	/* gets it instead; or NULL */
	void *ctx;
	int timeout_ms;		/* < 0: none */
	int rc;			/* of what failed in one of our callbacks ... */
	struct err *err;	/* ... with its sentence here */
};

static void name_target(const struct http_target *to, char *name, size_t size)
{
	if (to->name || to->socket)
		(void)snprintf(name, size, "'%s'", to->name ? to->name : to->socket);
	else if (to->host)
		(void)snprintf(name, size, "'%s' port %u", to->host, to->port);
	else
		(void)snprintf(name, size, "descriptor %d", to->fd);
}

/* ---- connecting ---- */

static int cannot_connect(const char *name, int rc, struct err *err)
{
	switch (rc) {
	case -ENOENT:
		return err_set(err, rc, "there is no socket %s", name);
	case -ECONNREFUSED:
		return err_set(err, rc, "nobody listens on %s", name);
	case -ETIMEDOUT:
		return err_set(err, rc, "%s gave no answer in time", name);
	case -ECANCELED:
		return err_set(err, rc, "%s is not waited for any longer", name);
	default:
		return err_sys(err, rc, "cannot connect to %s", name);
	}
}

static int connect_socket(const struct http_target *to, int timeout_ms, const char *name,
			  struct err *err)
{
	struct address address;
	int rc = address_unix(to->socket, &address, err);

	if (rc < 0)
		return rc;
	rc = address_connect(&address, timeout_ms, to->stopped, NULL);
	return rc < 0 ? cannot_connect(name, rc, err) : rc;
}

static int actual_timeout(int timeout_ms)
{
	return timeout_ms ? timeout_ms : HTTP_TIMEOUT_MS;
}

int http_connect(const struct http_target *to, struct err *err)
{
	char name[160];

	name_target(to, name, sizeof(name));
	return connect_socket(to, actual_timeout(to->timeout_ms), name, err);
}

static void drop_fd(struct http_client *c)
{
	if (c->fd >= 0 && c->to.socket)
		close(c->fd);
	c->fd = -1;
}

/* Leaves a connected descriptor in `fd`. */
static int connect_target(struct exchange *x)
{
	struct http_client *c = x->client;
	int flags;

	drop_fd(c);
	if (c->to.socket) {
		c->fd = connect_socket(&c->to, x->timeout_ms, c->name, x->err);
		if (c->fd < 0)
			return c->fd;
	} else if (c->spent) {
		return err_set(x->err, -ECONNRESET, "%s has ended the connection", c->name);
	} else {
		c->fd = c->to.fd;
		c->spent = true;
	}
	flags = fcntl(c->fd, F_GETFL);
	if (flags < 0 || fcntl(c->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(x->err, -errno, "cannot use %s", c->name);
	return 0;
}

/* ---- libcurl's callbacks ---- */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
	struct exchange *x = arg;
	int fd;

	(void)purpose;
	x->rc = connect_target(x);
	if (x->rc < 0)
		return CURL_SOCKET_BAD;
	fd = http_stand_in(addr);
	if (fd < 0) {
		x->rc = err_set(x->err, -EIO, "cannot make a socket");
		return CURL_SOCKET_BAD;
	}
	x->client->stand_in = fd;
	return fd;
}

/* Called also for a connection that was there: there is nothing to replace then. */
static int replace_stand_in(void *arg, char *remote, char *local, int remote_port, int local_port)
{
	struct http_client *c = ((struct exchange *)arg)->client;
	int fd = c->stand_in;

	(void)remote;
	(void)local;
	(void)remote_port;
	(void)local_port;
	if (fd < 0)
		return CURL_PREREQFUNC_OK;
	c->stand_in = -1;
	if (dup3(c->fd, fd, O_CLOEXEC) < 0)
		return CURL_PREREQFUNC_ABORT;
	drop_fd(c);
	return CURL_PREREQFUNC_OK;
}

static size_t keep_body(struct body *body, const char *data, size_t len)
{
	size_t need = body->len + len + 1;

	if (len > HTTP_MAX_ANSWER - body->len) {
		body->too_large = true;
		return 0;
	}
	if (need > body->size) {
		size_t size = need < 4096 ? 4096 : need * 2;
		char *grown = realloc(body->data, size);

		if (!grown)
			return 0;
		body->data = grown;
		body->size = size;
	}
	memcpy(body->data + body->len, data, len);
	body->len += len;
	body->data[body->len] = '\0';
	return len;
}

static size_t take_body(char *data, size_t one, size_t len, void *arg)
{
	struct exchange *x = arg;
	long status = 0;

	(void)one;
	if (x->fn)
		x->client->lib->easy_getinfo(x->client->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return keep_body(&x->body, data, len);
	x->rc = x->fn(data, len, x->ctx);
	return x->rc < 0 ? 0 : len;
}

/* ---- the request ---- */

static int add_header(struct exchange *x, const char *line)
{
	struct curl_slist *more = x->client->lib->slist_append(x->headers, line);

	if (!more)
		return -ENOMEM;
	x->headers = more;
	return 0;
}

static int add_token(struct exchange *x)
{
	const char *token = x->client->to.token;
	char *line;
	int rc;

	if (!token)
		return 0;
	if (strpbrk(token, "\r\n"))
		return -EINVAL;
	if (asprintf(&line, "Authorization: Bearer %s", token) < 0)
		return -ENOMEM;
	rc = add_header(x, line);
	free(line);
	return rc;
}

static bool is_tcp(const struct http_target *to)
{
	return !to->socket && to->host;
}

static int make_url(struct exchange *x, const char *path)
{
	const struct http_target *to = &x->client->to;
	int n;

	if (!is_tcp(to))
		n = asprintf(&x->url, "http://localhost%s", path);
	else
		n = asprintf(&x->url,
			     strchr(to->host, ':') ? "http://[%s]:%u%s" : "http://%s:%u%s",
			     to->host, to->port, path);
	if (n < 0)
		x->url = NULL;
	return n < 0 ? -ENOMEM : 0;
}

/* "Expect:" stops libcurl from waiting for leave to send a large body. */
static int make_request(struct exchange *x, const struct http_ask *ask, struct err *err)
{
	int rc = make_url(x, ask->path);

	if (rc == 0)
		rc = add_token(x);
	if (rc == 0)
		rc = add_header(x, "Accept: application/json");
	if (rc == 0)
		rc = add_header(x, "Expect:");
	if (rc == 0 && ask->body) {
		x->request = json_dumps(ask->body, JSON_COMPACT | JSON_ENCODE_ANY);
		rc = x->request ? add_header(x, "Content-Type: application/json") : -ENOMEM;
	}
	if (rc == -EINVAL)
		return err_set(err, rc, "the token holds a line break");
	return rc < 0 ? err_sys(err, rc, "cannot ask %s", x->client->name) : 0;
}

static void set_method(struct exchange *x, const char *method)
{
	const struct curl *lib = x->client->lib;
	CURL *curl = x->client->curl;

	if (x->request) {
		lib->easy_setopt(curl, CURLOPT_POSTFIELDS, x->request);
		lib->easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(x->request));
	} else if (!strcmp(method, "POST")) {
		lib->easy_setopt(curl, CURLOPT_POSTFIELDS, "");
	}
	if (!strcmp(method, "HEAD"))
		lib->easy_setopt(curl, CURLOPT_NOBODY, 1L);
	else
		lib->easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

static void set_socket(struct exchange *x)
{
	const struct curl *lib = x->client->lib;
	CURL *curl = x->client->curl;

	lib->easy_setopt(curl, CURLOPT_IPRESOLVE, CURL_IPRESOLVE_V4);
	lib->easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	lib->easy_setopt(curl, CURLOPT_OPENSOCKETDATA, x);
	lib->easy_setopt(curl, CURLOPT_PREREQFUNCTION, replace_stand_in);
	lib->easy_setopt(curl, CURLOPT_PREREQDATA, x);
}

static void set_options(struct exchange *x, const char *method)
{
	const struct curl *lib = x->client->lib;
	CURL *curl = x->client->curl;

	lib->easy_reset(curl);
	lib->easy_setopt(curl, CURLOPT_URL, x->url);
	lib->easy_setopt(curl, CURLOPT_HTTPHEADER, x->headers);
	lib->easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	lib->easy_setopt(curl, CURLOPT_NOPROXY, "*");
	lib->easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	lib->easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	lib->easy_setopt(curl, CURLOPT_WRITEDATA, x);
	lib->easy_setopt(curl, CURLOPT_HEADERFUNCTION, http_headers_take);
	lib->easy_setopt(curl, CURLOPT_HEADERDATA, &x->came);
	if (x->timeout_ms > 0)
		lib->easy_setopt(curl, x->fn ? CURLOPT_CONNECTTIMEOUT_MS : CURLOPT_TIMEOUT_MS,
				 (long)x->timeout_ms);
	set_method(x, method);
	if (!is_tcp(&x->client->to))
		set_socket(x);
}

/* ---- the answer ---- */

static int failed(const struct exchange *x, CURLcode code, struct err *err)
{
	const struct curl *lib = x->client->lib;
	const char *name = x->client->name;
	long os_errno = 0;

	if (http_headers_too_large(&x->came, lib, x->client->curl, code))
		return err_set(err, -EMSGSIZE, "the answer of %s has more than %u KiB of headers",
			       name, HTTP_MAX_HEADERS >> 10);
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return cannot_connect(name, -ETIMEDOUT, err);
	case CURLE_COULDNT_CONNECT:
		lib->easy_getinfo(x->client->curl, CURLINFO_OS_ERRNO, &os_errno);
		return cannot_connect(name, os_errno ? -(int)os_errno : -EHOSTUNREACH, err);
	case CURLE_COULDNT_RESOLVE_HOST:
		return err_set(err, -EHOSTUNREACH, "%s: there is no such host", name);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		return err_set(err, -EBADMSG, "%s does not speak HTTP", name);
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_PARTIAL_FILE:
		return err_set(err, -ECONNRESET, "%s hung up before it had answered", name);
	case CURLE_URL_MALFORMAT:
		return err_set(err, -EINVAL, "%s: the address or path is malformed", name);
	case CURLE_OUT_OF_MEMORY:
		return err_sys(err, -ENOMEM, "cannot ask %s", name);
	case CURLE_WRITE_ERROR:
		if (!x->body.too_large)
			return err_sys(err, -ENOMEM, "cannot ask %s", name);
		return err_set(err, -EMSGSIZE, "the answer of %s is larger than %u MiB", name,
			       HTTP_MAX_ANSWER >> 20);
	default:
		return err_set(err, -EIO, "cannot ask %s: %s", name, lib->easy_strerror(code));
	}
}

static bool says_json(const struct http_client *c)
{
	static const char json[] = "application/json";
	const char *type = NULL;

	c->lib->easy_getinfo(c->curl, CURLINFO_CONTENT_TYPE, &type);
	return type && !strncasecmp(type, json, sizeof(json) - 1);
}

static int take_answer(struct exchange *x, struct http_answer *ret, struct err *err)
{
	struct http_answer answer = {.len = x->body.len};
	long status = 0;

	if (!x->body.data) {
		x->body.data = calloc(1, 1);
		if (!x->body.data)
			return err_sys(err, -ENOMEM, "cannot ask %s", x->client->name);
	}
	x->client->lib->easy_getinfo(x->client->curl, CURLINFO_RESPONSE_CODE, &status);
	answer.status = (int)status;
	(void)snprintf(answer.reason, sizeof(answer.reason), "HTTP status %d", answer.status);
	if (says_json(x->client))
		answer.json = json_loadb(x->body.data, x->body.len, JSON_DECODE_ANY, NULL);
	answer.text = x->body.data;
	x->body.data = NULL;
	*ret = answer;
	return 0;
}

/* ---- the transfer ---- */

static CURLcode result_of(struct http_client *c)
{
	const struct CURLMsg *message;
	int left;

	while ((message = c->lib->multi_info_read(c->multi, &left)))
		if (message->msg == CURLMSG_DONE)
			return message->data.result;
	return CURLE_OUT_OF_MEMORY;
}

static CURLcode transfer(struct exchange *x)
{
	struct http_client *c = x->client;
	bool (*stopped)(void) = c->to.stopped;
	int running = 1;

	while (c->lib->multi_perform(c->multi, &running) == CURLM_OK && running) {
		if (stopped && stopped()) {
			x->rc = cannot_connect(c->name, -ECANCELED, x->err);
			return CURLE_ABORTED_BY_CALLBACK;
		}
		if (c->lib->multi_poll(c->multi, NULL, 0, stopped ? ASK_STOPPED_MS : 1000, NULL) !=
		    CURLM_OK)
			break;
	}
	return result_of(c);
}

static int perform(struct exchange *x, const struct http_ask *ask, struct err *err)
{
	struct http_client *c = x->client;
	CURLcode code;

	set_options(x, ask->method);
	if (c->lib->multi_add_handle(c->multi, c->curl) != CURLM_OK)
		return err_sys(err, -ENOMEM, "cannot ask %s", c->name);
	code = transfer(x);
	(void)c->lib->multi_remove_handle(c->multi, c->curl);
	if (code == CURLE_OK)
		return 0;
	return x->rc < 0 ? x->rc : failed(x, code, err);
}

/* Leaves the answer in `x`, which is to be ended in any case. */
static int exchange_run(struct exchange *x, const struct http_ask *ask, struct err *err)
{
	int rc;

	x->timeout_ms = actual_timeout(ask->timeout_ms);
	x->err = err;
	rc = make_request(x, ask, err);
	return rc < 0 ? rc : perform(x, ask, err);
}

static void exchange_fini(struct exchange *x)
{
	x->client->lib->slist_free_all(x->headers);
	free(x->url);
	free(x->request);
	free(x->body.data);
}

/* ---- clients ---- */

/*
 * Before there are descriptors of libcurl's: one that is closed might be mistaken for one of
 * those.
 */
static int check_target(const struct http_target *to, struct err *err)
{
	if (to->socket || to->host || fcntl(to->fd, F_GETFD) >= 0)
		return 0;
	return err_sys(err, -errno, "cannot use descriptor %d", to->fd);
}

int http_client_new(const struct http_target *to, struct http_client **ret, struct err *err)
{
	const struct curl *lib;
	struct http_client *c;
	int rc = check_target(to, err);

	if (rc < 0)
		return rc;
	lib = curl_load(err);
	if (!lib)
		return -ELIBACC;
	c = calloc(1, sizeof(*c));
	if (c) {
		c->lib = lib;
		c->to = *to;
		c->fd = c->stand_in = -1;
		name_target(to, c->name, sizeof(c->name));
		c->curl = lib->easy_init();
		c->multi = lib->multi_init();
	}
	if (!c || !c->curl || !c->multi) {
		http_client_free(c);
		return err_set(err, -ENOMEM, "no memory for a request");
	}
	*ret = c;
	return 0;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	c->lib->easy_cleanup(c->curl);
	(void)c->lib->multi_cleanup(c->multi);
	drop_fd(c);
	free(c);
}

int http_client_ask(struct http_client *c, const struct http_ask *ask, struct http_answer *ret,
		    struct err *err)
{
	struct exchange x = {.client = c};
	int rc = exchange_run(&x, ask, err);

	if (rc == 0)
		rc = take_answer(&x, ret, err);
	exchange_fini(&x);
	return rc;
}

int http_request(const struct http_target *to, const char *method, const char *path,
		 const json_t *body, struct http_answer *ret, struct err *err)
{
	const struct http_ask ask = {method, path, body, to->timeout_ms};
	struct http_client *c;
	int rc = http_client_new(to, &c, err);

	if (rc < 0)
		return rc;
	rc = http_client_ask(c, &ask, ret, err);
	http_client_free(c);
	return rc;
}

static int follow(struct exchange *x, const struct http_ask *ask, struct err *err)
{
	struct http_answer answer;
	int rc = exchange_run(x, ask, err);

	if (rc == 0)
		rc = take_answer(x, &answer, err);
	if (rc < 0)
		return rc;
	if (answer.status != 200)
		rc = err_set(err, -EREMOTEIO, "%s", http_answer_error(&answer));
	http_answer_fini(&answer);
	return rc;
}

int http_follow(const struct http_target *to, const char *path,
		int (*fn)(const char *bytes, size_t len, void *ctx), void *ctx, struct err *err)
{
	const struct http_ask ask = {"GET", path, NULL, to->timeout_ms};
	struct exchange x = {.fn = fn, .ctx = ctx};
	int rc = http_client_new(to, &x.client, err);

	if (rc < 0)
		return rc;
	rc = follow(&x, &ask, err);
	exchange_fini(&x);
	http_client_free(x.client);
	return rc;
}
