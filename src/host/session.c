/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/session.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/rpc/http.h"

#define ASK_MS 10000

struct ask {
	const char *pager;
	const char *method;
	const char *path;
	const json_t *body;
	bool (*stopped)(void);
};

static int code_of(int status)
{
	if (status < 300)
		return 0;
	if (status == 404)
		return -ENOENT;
	return status == 409 ? -EBUSY : -EREMOTEIO;
}

static int ask(const struct ask *a, json_t **ret, struct err *err)
{
	const struct http_target to = {.socket = a->pager, .fd = -1, .timeout_ms = ASK_MS,
				       .stopped = a->stopped};
	struct http_answer answer;
	int rc = http_request(&to, a->method, a->path, a->body, &answer, err);

	if (rc < 0)
		return rc == -EBADMSG ? -EPROTO : rc;	/* nothing of ours is damaged */
	rc = code_of(answer.status);
	if (rc < 0)
		err_set(err, rc, "the pager at '%s' refuses: %s", a->pager,
			http_answer_error(&answer));
	else if (!json_is_object(answer.json))
		rc = err_set(err, -EPROTO, "what answers at '%s' is no pager", a->pager);
	else
		*ret = json_incref(answer.json);
	http_answer_fini(&answer);
	return rc;
}

static int set(json_t *body, const char *member, const char *text)
{
	return text ? json_object_set_new(body, member, json_string(text)) : 0;
}

static json_t *body_of(const struct session_new *what)
{
	json_t *body = json_pack("{s:s, s:s, s:b}", "id", what->id, "memfile", what->memfile,
				 "detachable", true);
	int rc = body ? 0 : -1;

	if (rc == 0)
		rc = set(body, "trace", what->trace);
	if (rc == 0)
		rc = set(body, "record", what->record);
	if (rc == 0)
		rc = set(body, "socket", what->listen);
	if (rc == 0 && what->peer_uid)
		rc = json_object_set_new(body, "peer_uid", json_integer(*what->peer_uid));
	if (rc == 0 && what->hold)
		rc = json_object_set_new(body, "hold", json_pack("[s]", what->hold));
	if (rc == 0)
		return body;
	json_decref(body);
	return NULL;
}

static char *path_of(const char *id, const char *rest)
{
	char *escaped = http_escape(id), *path = NULL;

	if (escaped && asprintf(&path, "/sessions/%s%s", escaped, rest) < 0)
		path = NULL;
	free(escaped);
	return path;
}

/* That one may be left of a lamina that was killed: what it is says what is to be done. */
static void explain_busy(const struct session_new *what, struct err *err)
{
	char *path = path_of(what->id, "");
	struct ask a = {what->pager, "GET", path, NULL, what->stopped};
	json_t *answer = NULL;
	const char *state;
	json_int_t pid;

	if (path && ask(&a, &answer, NULL) == 0) {
		state = json_string_value(json_object_get(answer, "state"));
		pid = json_integer_value(json_object_get(answer, "pid"));
		if (state && !strcmp(state, "waiting"))
			err_set(err, -EBUSY, "session '%s' waits for a hypervisor already: 'lamina "
				"pager close %s --socket %s' ends it", what->id, what->id,
				what->pager);
		else if (pid > 0)
			err_set(err, -EBUSY, "session '%s' has a guest that runs, process %d, at "
				"the pager '%s': end that, or give another name", what->id,
				(int)pid, what->pager);
	}
	json_decref(answer);
	free(path);
}

static void explain(const struct session_new *what, int rc, struct err *err)
{
	struct err why = {""};

	if (rc == -EBUSY)
		explain_busy(what, err);
	if (rc != -ENOENT && rc != -ECONNREFUSED)
		return;
	if (err)
		why = *err;
	err_set(err, rc, "%s: is lamina-pager running?", why.text);
}

int session_make(const struct session_new *what, char **ret, struct err *err)
{
	struct ask a = {what->pager, "POST", "/sessions", body_of(what), what->stopped};
	json_t *answer = NULL;
	const char *socket;
	int rc = a.body ? ask(&a, &answer, err) : err_set(err, -ENOMEM, "out of memory");

	json_decref((json_t *)a.body);
	if (rc < 0) {
		explain(what, rc, err);
		return rc;
	}
	socket = json_string_value(json_object_get(answer, "socket"));
	*ret = socket ? strdup(socket) : NULL;
	json_decref(answer);
	return *ret ? 0 : err_set(err, -EPROTO, "the pager at '%s' does not say where it listens",
				  what->pager);
}

static uint64_t number(const json_t *object, const char *member)
{
	json_int_t value = json_integer_value(json_object_get(object, member));

	return value > 0 ? (uint64_t)value : 0;
}

int session_look(const char *pager, const char *id, struct session_seen *ret, struct err *err)
{
	char *path = path_of(id, "");
	struct ask a = {pager, "GET", path, NULL, NULL};
	json_t *answer = NULL, *counters;
	int rc = path ? ask(&a, &answer, err) : err_set(err, -ENOMEM, "out of memory");

	free(path);
	if (rc < 0)
		return rc;
	counters = json_object_get(answer, "counters");
	*ret = (struct session_seen){number(counters, "faults"), number(counters, "present"),
				     number(counters, "read_bytes")};
	json_decref(answer);
	return 0;
}

int session_close(const char *pager, const char *id, struct err *err)
{
	char *path = path_of(id, "/close?force=1");
	struct ask a = {pager, "POST", path, NULL, NULL};
	json_t *answer = NULL;
	int rc = path ? ask(&a, &answer, err) : err_set(err, -ENOMEM, "out of memory");

	free(path);
	json_decref(answer);
	return rc;
}
