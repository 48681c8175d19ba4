/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pager without guests: fake SOCKET VERSION.  Speaks what lamina-graduator and
 * lamina pager ask of a pager, and is told what to say:
 *
 *	POST /fake/session	a session as GET /sessions is to show it, and in "complete"
 *				how a completion goes: "ok" (the default), "hold" (until
 *				/fake/release), or the reason of a failure
 *	POST /fake/mode		{"list": "ok" | "hang" | "fail" | "junk", "drain": "ok" | "old"
 *				| "fail"}
 *	POST /fake/release	those that are held end well
 *	GET /fake/log		what was asked for: an array of {"what", "id", "body"}
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/rpc/httpd.h"

#define HELD_MAX 256
#define BYTES 8192

struct held {
	struct httpd_call *call;	/* NULL: free */
	char id[256];
};

static const char *version;
static json_t *sessions;		/* id -> session */
static json_t *asked;
static char list_mode[16] = "ok", drain_mode[16] = "ok";
static bool draining;
static struct held held[HELD_MAX];

static void note(const char *what, const char *id, json_t *body)
{
	(void)json_array_append_new(asked, json_pack("{s:s, s:s, s:O}", "what", what, "id", id,
						     "body", body));
}

static void set_state(json_t *session, const char *state)
{
	(void)json_object_set_new(session, "state", json_string(state));
}

static bool ended(const json_t *session)
{
	const char *state = json_string_value(json_object_get(session, "state"));

	return !strcmp(state, "graduated") || !strcmp(state, "gone") || !strcmp(state, "failed");
}

/* ---- what a pager answers ---- */

static void get_version(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_json(call, 200,
		   json_pack("{s:s, s:s}", "program", "lamina-pager", "version", version));
}

static void get_health(struct httpd_call *call, void *ctx)
{
	json_int_t n = 0;
	const char *id;
	json_t *session;

	(void)ctx;
	json_object_foreach(sessions, id, session)
		n += !ended(session);
	httpd_json(call, 200, json_pack("{s:s, s:b, s:I}", "status", "ok", "draining", draining,
					"sessions", n));
}

static json_int_t number_of(const json_t *session)
{
	return json_integer_value(json_object_get(session, "number"));
}

static json_t *list_behind(json_int_t after, json_int_t limit)
{
	json_t *list = json_array();

	while ((json_int_t)json_array_size(list) < limit) {
		json_t *session, *next = NULL;
		const char *id;

		json_object_foreach(sessions, id, session)
			if (number_of(session) > after &&
			    (!next || number_of(session) < number_of(next)))
				next = session;
		if (!next)
			break;
		after = number_of(next);
		(void)json_array_append(list, next);
	}
	return list;
}

static void get_sessions(struct httpd_call *call, void *ctx)
{
	const char *after = httpd_query(call, "after"), *limit = httpd_query(call, "limit");

	(void)ctx;
	if (!strcmp(list_mode, "hang"))
		return;
	if (!strcmp(list_mode, "fail"))
		httpd_fail(call, 500, "told to fail");
	else if (!strcmp(list_mode, "junk"))
		httpd_json(call, 200, json_pack("[{s:s}]", "id", "x"));
	else
		httpd_json(call, 200, list_behind(after ? atoll(after) : 0,
						  limit ? atoll(limit) : 1000000));
}

/* NULL: answered. */
static json_t *session_of(struct httpd_call *call)
{
	const char *id = httpd_arg(call, 0);
	json_t *session = json_object_get(sessions, id);

	if (!session)
		httpd_fail(call, 404, "there is no session '%s'", id);
	return session;
}

static void get_session(struct httpd_call *call, void *ctx)
{
	json_t *session = session_of(call);

	(void)ctx;
	if (session)
		httpd_json(call, 200, json_incref(session));
}

/* A request that changes nothing here. */
static void answer_state(struct httpd_call *call, const char *what)
{
	json_t *session = session_of(call);

	if (!session)
		return;
	note(what, httpd_arg(call, 0), json_null());
	httpd_json(call, 200, json_pack("{s:O, s:O}", "id", json_object_get(session, "id"),
					"state", json_object_get(session, "state")));
}

static void post_close(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	answer_state(call, "close");
}

static void delete_complete(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	answer_state(call, "cancel");
}

static void graduate(struct httpd_call *call, const char *id, bool already)
{
	set_state(json_object_get(sessions, id), "graduated");
	httpd_json(call, 200,
		   json_pack("{s:s, s:s, s:b, s:i, s:i}", "id", id, "state", "graduated",
			     "already", already, "pages", already ? 0 : 2, "bytes",
			     already ? 0 : BYTES));
}

static void hung_up(void *arg)
{
	struct held *h = arg;
	json_t *none = json_null();

	note("hangup", h->id, none);
	set_state(json_object_get(sessions, h->id), "serving");
	httpd_fail(h->call, 409, "nobody waits any more");
	h->call = NULL;
}

static void hold(struct httpd_call *call, const char *id)
{
	for (int i = 0; i < HELD_MAX; i++) {
		if (held[i].call)
			continue;
		held[i].call = call;
		(void)snprintf(held[i].id, sizeof(held[i].id), "%s", id);
		set_state(json_object_get(sessions, id), "completing");
		httpd_on_hangup(call, hung_up, &held[i]);
		return;
	}
	httpd_fail(call, 503, "too many are held");
}

static void fail(struct httpd_call *call, const char *id, const char *reason)
{
	int status = !strcmp(reason, "timeout") ? 504 : !strcmp(reason, "unknown") ? 404
		     : !strcmp(reason, "memory") || !strcmp(reason, "unreadable") ? 503 : 409;

	httpd_json(call, status, json_pack("{s:s, s:s, s:s, s:s, s:i}", "error", "told to fail",
					   "reason", reason, "id", id, "state", "serving",
					   "bytes", BYTES / 2));
}

static void post_complete(struct httpd_call *call, void *ctx)
{
	char id[256];
	json_t *body = httpd_body(call), *session;
	const char *how;

	(void)ctx;
	if (!body)
		return;
	(void)snprintf(id, sizeof(id), "%s", httpd_arg(call, 0));
	note("complete", id, body);
	session = json_object_get(sessions, id);
	how = json_string_value(json_object_get(session, "complete"));
	if (!session)
		fail(call, id, "unknown");
	else if (ended(session))
		graduate(call, id, true);
	else if (!how || !strcmp(how, "ok"))
		graduate(call, id, false);
	else if (!strcmp(how, "lie"))
		httpd_json(call, 200, json_pack("{s:s, s:s}", "id", id, "state", "serving"));
	else if (!strcmp(how, "hold"))
		hold(call, id);
	else
		fail(call, id, how);
}

static void post_drain(struct httpd_call *call, void *ctx)
{
	json_t *body = httpd_body(call);

	(void)ctx;
	if (!body)
		return;
	note("drain", "", body);
	if (!strcmp(drain_mode, "fail")) {
		httpd_fail(call, 500, "told to fail");
	} else if (!strcmp(drain_mode, "old") && json_object_size(body) > 0) {
		httpd_fail(call, 400, "this request takes no fields");
	} else {
		draining = true;
		httpd_json(call, 200, json_pack("{s:b}", "draining", 1));
	}
}

/* ---- what it is told ---- */

static void fake_session(struct httpd_call *call, void *ctx)
{
	json_t *body = httpd_body(call);

	(void)ctx;
	if (!body)
		return;
	(void)json_object_set(sessions, json_string_value(json_object_get(body, "id")), body);
	httpd_empty(call, 204);
}

static void take_mode(const json_t *body, const char *name, char mode[16])
{
	const char *word = json_string_value(json_object_get(body, name));

	if (word)
		(void)snprintf(mode, 16, "%s", word);
}

static void fake_mode(struct httpd_call *call, void *ctx)
{
	json_t *body = httpd_body(call);

	(void)ctx;
	if (!body)
		return;
	take_mode(body, "list", list_mode);
	take_mode(body, "drain", drain_mode);
	httpd_empty(call, 204);
}

static void fake_release(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	for (int i = 0; i < HELD_MAX; i++) {
		if (!held[i].call)
			continue;
		graduate(held[i].call, held[i].id, false);
		held[i].call = NULL;
	}
	httpd_empty(call, 204);
}

static void fake_log(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_json(call, 200, json_incref(asked));
}

static const struct httpd_route routes[] = {
	{"GET", "/version", get_version},
	{"GET", "/health", get_health},
	{"GET", "/sessions", get_sessions},
	{"GET", "/sessions/{}", get_session},
	{"POST", "/sessions/{}/close", post_close},
	{"POST", "/sessions/{}/complete", post_complete},
	{"DELETE", "/sessions/{}/complete", delete_complete},
	{"POST", "/drain", post_drain},
	{"POST", "/fake/session", fake_session},
	{"POST", "/fake/mode", fake_mode},
	{"POST", "/fake/release", fake_release},
	{"GET", "/fake/log", fake_log},
	{0},
};

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path))
		return -1;
	strcpy(addr.sun_path, path);
	(void)unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0)
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	struct httpd *h;
	struct err err;
	int fd = argc == 3 ? listen_at(argv[1]) : -1;

	if (fd < 0) {
		perror("fake");
		return 2;
	}
	version = argv[2];
	sessions = json_object();
	asked = json_array();
	if (httpd_new(fd, routes, NULL, &h, &err) < 0 || httpd_run(h, &err) < 0) {
		fprintf(stderr, "fake: %s\n", err.text);
		return 1;
	}
	return 0;
}
