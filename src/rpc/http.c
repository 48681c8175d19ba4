/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A unix socket is connected to here and handed to libcurl as a descriptor, as
 * the caller's own are: connect() then says what is wrong, and waits where the
 * server's backlog is full, which libcurl's non-blocking one does not.
 *
 * CURL_SOCKOPT_ALREADY_CONNECTED is not heeded by libcurl 7.88, which connects
 * nevertheless.  So it gets a datagram socket that it may connect to itself, and
 * before it sends the request our descriptor is put in that one's place.
 */
#include "src/rpc/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct body {
	char *data;
	size_t len;
	size_t size;
	bool too_large;
};

struct exchange {
	const struct http_target *to;
	CURL *curl;
	struct curl_slist *headers;
	char name[160];		/* of the target, for sentences */
	char *url;
	char *request;		/* the body that is sent */
	struct body body;	/* the one that comes */
	int fd;			/* connected; -1: libcurl connects */
	int stand_in;		/* what libcurl believes to have connected */
	int timeout_ms;		/* what is left of it; < 0: none */
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

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int timed_out(const struct exchange *x, struct err *err)
{
	return err_set(err, -ETIMEDOUT, "%s gave no answer in time", x->name);
}

/* ---- unix sockets ---- */

/* SO_SNDTIMEO is how long connect() waits for room in the backlog. */
static int connect_within(int fd, const struct sockaddr_un *addr, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms, left = timeout_ms;

	for (;;) {
		struct timeval tv = {0};

		if (timeout_ms >= 0)
			tv = (struct timeval){left / 1000, left % 1000 * 1000};
		if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
			return -errno;
		if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
			return 0;
		if (errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		left = end - now_ms();
		if (timeout_ms >= 0 && left <= 0)
			return -ETIMEDOUT;
	}
}

static int cannot_connect(const struct exchange *x, int rc, struct err *err)
{
	switch (rc) {
	case -ENOENT:
		return err_set(err, rc, "there is no socket %s", x->name);
	case -ECONNREFUSED:
		return err_set(err, rc, "nobody listens on %s", x->name);
	case -ETIMEDOUT:
		return timed_out(x, err);
	default:
		return err_sys(err, rc, "cannot connect to %s", x->name);
	}
}

static int connect_unix(struct exchange *x, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int64_t began = now_ms();
	int rc;

	if (strlen(x->to->socket) >= sizeof(addr.sun_path))
		return err_set(err, -ENAMETOOLONG,
			       "%s: the path of a socket has at most %zu characters", x->name,
			       sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, x->to->socket);
	x->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (x->fd < 0)
		return err_sys(err, -errno, "cannot make a socket");
	rc = connect_within(x->fd, &addr, x->timeout_ms);
	if (rc < 0)
		return cannot_connect(x, rc, err);
	if (x->timeout_ms < 0)
		return 0;
	x->timeout_ms -= (int)(now_ms() - began);
	return x->timeout_ms > 0 ? 0 : timed_out(x, err);
}

int http_connect(const struct http_target *to, struct err *err)
{
	struct exchange x = {.to = to, .fd = -1};
	int rc;

	x.timeout_ms = to->timeout_ms ? to->timeout_ms : HTTP_TIMEOUT_MS;
	name_target(to, x.name, sizeof(x.name));
	rc = connect_unix(&x, err);
	if (rc == 0)
		return x.fd;
	if (x.fd >= 0)
		close(x.fd);
	return rc;
}

static int connect_target(struct exchange *x, struct err *err)
{
	int flags, rc = 0;

	if (x->to->socket)
		rc = connect_unix(x, err);
	else if (!x->to->host)
		x->fd = x->to->fd;
	else
		return 0;
	if (rc < 0)
		return rc;
	flags = fcntl(x->fd, F_GETFL);
	if (flags < 0 || fcntl(x->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(err, -errno, "cannot use %s", x->name);
	return 0;
}

/* ---- libcurl's callbacks ---- */

static curl_socket_t open_stand_in(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
	const struct sockaddr any = {.sa_family = AF_UNIX};
	struct exchange *x = arg;
	socklen_t len = sizeof(addr->addr);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)purpose;
	if (fd >= 0 && (bind(fd, &any, sizeof(any.sa_family)) < 0 ||
			getsockname(fd, &addr->addr, &len) < 0)) {
		close(fd);
		return CURL_SOCKET_BAD;
	}
	addr->family = AF_UNIX;
	addr->addrlen = len;
	x->stand_in = fd;
	return fd;
}

static int replace_stand_in(void *arg, char *remote, char *local, int remote_port, int local_port)
{
	const struct exchange *x = arg;

	(void)remote;
	(void)local;
	(void)remote_port;
	(void)local_port;
	return dup3(x->fd, x->stand_in, O_CLOEXEC) < 0 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static size_t take_body(char *data, size_t one, size_t len, void *arg)
{
	struct body *body = arg;
	size_t need = body->len + len + 1;

	(void)one;
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

/* ---- the request ---- */

static int add_header(struct exchange *x, const char *line)
{
	struct curl_slist *more = curl_slist_append(x->headers, line);

	if (!more)
		return -ENOMEM;
	x->headers = more;
	return 0;
}

static int add_token(struct exchange *x)
{
	char *line;
	int rc;

	if (!x->to->token)
		return 0;
	if (strpbrk(x->to->token, "\r\n"))
		return -EINVAL;
	if (asprintf(&line, "Authorization: Bearer %s", x->to->token) < 0)
		return -ENOMEM;
	rc = add_header(x, line);
	free(line);
	return rc;
}

static int make_url(struct exchange *x, const char *path)
{
	const char *host = x->to->host;
	const char *form = host && strchr(host, ':') ? "http://[%s]:%u%s" : "http://%s:%u%s";
	int n;

	if (x->fd >= 0)
		n = asprintf(&x->url, "http://localhost%s", path);
	else
		n = asprintf(&x->url, form, host, x->to->port, path);
	if (n < 0)
		x->url = NULL;
	return n < 0 ? -ENOMEM : 0;
}

/* "Expect:" stops libcurl from waiting for leave to send a large body. */
static int make_request(struct exchange *x, const char *path, const json_t *body)
{
	int rc = make_url(x, path);

	if (rc == 0)
		rc = add_token(x);
	if (rc == 0)
		rc = add_header(x, "Accept: application/json");
	if (rc == 0)
		rc = add_header(x, "Expect:");
	if (rc < 0 || !body)
		return rc;
	x->request = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
	return x->request ? add_header(x, "Content-Type: application/json") : -ENOMEM;
}

static void set_method(struct exchange *x, const char *method)
{
	if (x->request) {
		curl_easy_setopt(x->curl, CURLOPT_POSTFIELDS, x->request);
		curl_easy_setopt(x->curl, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)strlen(x->request));
	} else if (!strcmp(method, "POST")) {
		curl_easy_setopt(x->curl, CURLOPT_POSTFIELDS, "");
	}
	if (!strcmp(method, "HEAD"))
		curl_easy_setopt(x->curl, CURLOPT_NOBODY, 1L);
	else
		curl_easy_setopt(x->curl, CURLOPT_CUSTOMREQUEST, method);
}

static void set_socket(struct exchange *x)
{
	curl_easy_setopt(x->curl, CURLOPT_IPRESOLVE, CURL_IPRESOLVE_V4);
	curl_easy_setopt(x->curl, CURLOPT_OPENSOCKETFUNCTION, open_stand_in);
	curl_easy_setopt(x->curl, CURLOPT_OPENSOCKETDATA, x);
	curl_easy_setopt(x->curl, CURLOPT_PREREQFUNCTION, replace_stand_in);
	curl_easy_setopt(x->curl, CURLOPT_PREREQDATA, x);
}

static void set_options(struct exchange *x, const char *method)
{
	curl_easy_setopt(x->curl, CURLOPT_URL, x->url);
	curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, x->headers);
	curl_easy_setopt(x->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(x->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(x->curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(x->curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(x->curl, CURLOPT_WRITEDATA, &x->body);
	if (x->timeout_ms > 0)
		curl_easy_setopt(x->curl, CURLOPT_TIMEOUT_MS, (long)x->timeout_ms);
	set_method(x, method);
	if (x->fd >= 0)
		set_socket(x);
}

/* ---- the answer ---- */

static int failed(const struct exchange *x, CURLcode code, struct err *err)
{
	long os_errno = 0;

	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return timed_out(x, err);
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(x->curl, CURLINFO_OS_ERRNO, &os_errno);
		return cannot_connect(x, os_errno ? -(int)os_errno : -EHOSTUNREACH, err);
	case CURLE_COULDNT_RESOLVE_HOST:
		return err_set(err, -EHOSTUNREACH, "%s: there is no such host", x->name);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		return err_set(err, -EBADMSG, "%s does not speak HTTP", x->name);
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_PARTIAL_FILE:
		return err_set(err, -ECONNRESET, "%s hung up before it had answered", x->name);
	case CURLE_URL_MALFORMAT:
		return err_set(err, -EINVAL, "%s: the address or path is malformed", x->name);
	case CURLE_OUT_OF_MEMORY:
		return err_sys(err, -ENOMEM, "cannot ask %s", x->name);
	case CURLE_WRITE_ERROR:
		if (!x->body.too_large)
			return err_sys(err, -ENOMEM, "cannot ask %s", x->name);
		return err_set(err, -EMSGSIZE, "the answer of %s is larger than %u MiB", x->name,
			       HTTP_MAX_ANSWER >> 20);
	default:
		return err_set(err, -EIO, "cannot ask %s: %s", x->name, curl_easy_strerror(code));
	}
}

static bool says_json(CURL *curl)
{
	static const char json[] = "application/json";
	const char *type = NULL;

	curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
	return type && !strncasecmp(type, json, sizeof(json) - 1);
}

static int take_answer(struct exchange *x, struct http_answer *ret, struct err *err)
{
	struct http_answer answer = {.len = x->body.len};
	long status = 0;

	if (!x->body.data) {
		x->body.data = calloc(1, 1);
		if (!x->body.data)
			return err_sys(err, -ENOMEM, "cannot ask %s", x->name);
	}
	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
	answer.status = (int)status;
	(void)snprintf(answer.reason, sizeof(answer.reason), "HTTP status %d", answer.status);
	if (says_json(x->curl))
		answer.json = json_loadb(x->body.data, x->body.len, JSON_DECODE_ANY, NULL);
	answer.text = x->body.data;
	x->body.data = NULL;
	*ret = answer;
	return 0;
}

static int perform(struct exchange *x, struct http_answer *ret, struct err *err)
{
	CURLcode code = curl_easy_perform(x->curl);

	return code == CURLE_OK ? take_answer(x, ret, err) : failed(x, code, err);
}

static void exchange_fini(struct exchange *x)
{
	curl_easy_cleanup(x->curl);
	curl_slist_free_all(x->headers);
	free(x->url);
	free(x->request);
	free(x->body.data);
	if (x->to->socket && x->fd >= 0)
		close(x->fd);
}

static void init_curl(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_request(const struct http_target *to, const char *method, const char *path,
		 const json_t *body, struct http_answer *ret, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct exchange x = {.to = to, .fd = -1};
	int rc;

	pthread_once(&once, init_curl);
	x.timeout_ms = to->timeout_ms ? to->timeout_ms : HTTP_TIMEOUT_MS;
	name_target(to, x.name, sizeof(x.name));
	rc = connect_target(&x, err);
	if (rc == 0) {
		rc = make_request(&x, path, body);
		x.curl = rc < 0 ? NULL : curl_easy_init();
		if (rc == -EINVAL)
			rc = err_set(err, rc, "the token holds a line break");
		else if (!x.curl)
			rc = err_sys(err, -ENOMEM, "cannot ask %s", x.name);
	}
	if (rc == 0) {
		set_options(&x, method);
		rc = perform(&x, ret, err);
	}
	exchange_fini(&x);
	return rc;
}

void http_answer_fini(struct http_answer *answer)
{
	json_decref(answer->json);
	free(answer->text);
	*answer = (struct http_answer){0};
}

const char *http_answer_error(const struct http_answer *answer)
{
	const char *text = json_string_value(json_object_get(answer->json, "error"));

	return text ? text : answer->reason;
}

char *http_escape(const char *segment)
{
	char *escaped = malloc(3 * strlen(segment) + 1), *out = escaped;

	if (!escaped)
		return NULL;
	for (; *segment; segment++) {
		if (isascii((unsigned char)*segment) &&
		    (isalnum((unsigned char)*segment) || strchr("-._~", *segment)))
			*out++ = *segment;
		else
			out += sprintf(out, "%%%02X", (unsigned char)*segment);
	}
	*out = '\0';
	return escaped;
}
