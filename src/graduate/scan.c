/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/rpc/http.h"
#include "src/rpc/pagers.h"

#define PIECE 512		/* sessions that are asked for at a time */
#define SESSIONS_MAX 1000000	/* of one pager */
#define ID_MAX_LEN 255
#define AGE_MAX 1e9		/* seconds */

/* ---- one session ---- */

static bool take_state(const char *word, enum rules_state *ret)
{
	static const char *const ended[] = {"graduated", "failed", "gone"};

	for (size_t i = 0; i < sizeof(ended) / sizeof(ended[0]); i++)
		if (strcmp(word, ended[i]) == 0)
			return false;
	if (strcmp(word, "waiting") == 0)
		*ret = RULES_WAITING;
	else if (strcmp(word, "serving") == 0)
		*ret = RULES_SERVING;
	else if (strcmp(word, "completing") == 0)
		*ret = RULES_COMPLETING;
	else
		*ret = RULES_OTHER;
	return true;
}

static void take_age(const json_t *age, struct rules_session *s)
{
	double seconds = json_number_value(age);

	if (!json_is_number(age) || !(seconds >= 0))
		return;
	s->has_age = true;
	s->age_ns = (uint64_t)((seconds < AGE_MAX ? seconds : AGE_MAX) * 1e9);
}

int scan_session(const json_t *json, struct rules_session *ret)
{
	const char *id = json_string_value(json_object_get(json, "id"));
	const char *state = json_string_value(json_object_get(json, "state"));
	const json_t *number = json_object_get(json, "number");
	json_int_t pid = json_integer_value(json_object_get(json, "pid"));
	struct rules_session s = {.id = id};

	if (!id || !*id || strlen(id) > ID_MAX_LEN || !state || json_integer_value(number) <= 0)
		return -EBADMSG;
	s.number = (uint64_t)json_integer_value(number);
	s.detachable = json_is_true(json_object_get(json, "detachable"));
	s.pid = pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
	take_age(json_object_get(json, "age_seconds"), &s);
	if (!take_state(state, &s.state)) {
		ret->number = s.number;
		return 0;
	}
	*ret = s;
	return 1;
}

/* ---- one pager ---- */

static int keep(struct scan *scan, const struct rules_session *s)
{
	struct rules_session copy = *s;
	char *id = strdup(s->id);

	copy.id = id;
	if (id && vec_push(&scan->sessions, copy) == 0)
		return 0;
	free(id);
	return -ENOMEM;
}

static void drop_behind(struct scan *scan, size_t n)
{
	while (scan->sessions.n > n)
		free((char *)scan->sessions.v[--scan->sessions.n].id);
}

/* Numbers go up, so that what a pager says comes to an end. */
static int take_piece(struct scan *scan, struct scan_pager *p, const json_t *list, uint64_t *after)
{
	const json_t *json;
	size_t i;

	json_array_foreach(list, i, json) {
		struct rules_session s = {0};
		int rc = scan_session(json, &s);

		if (rc < 0)
			return rc;
		if (s.number <= *after)
			return -EBADMSG;
		*after = s.number;
		if (rc == 0)
			continue;
		s.pager = &p->is;
		rc = keep(scan, &s);
		if (rc < 0)
			return rc;
		if (++p->sessions > SESSIONS_MAX)
			return -EBADMSG;
	}
	return 0;
}

static int ask_piece(const struct scan_pager *p, int timeout_ms, uint64_t after,
		     struct http_answer *ret, struct err *err)
{
	const struct http_target to = {.socket = p->socket, .timeout_ms = timeout_ms};
	char path[96];
	int rc;

	(void)snprintf(path, sizeof(path), "/sessions?limit=%d&after=%" PRIu64, PIECE, after);
	rc = http_request(&to, "GET", path, NULL, ret, err);
	if (rc < 0)
		return rc;
	if (ret->status == 200 && json_is_array(ret->json))
		return 0;
	if (ret->status == 200)
		rc = err_set(err, -EBADMSG, "the sessions of '%s' are no list", p->socket);
	else
		rc = err_set(err, -EPROTO, "cannot list the sessions of '%s': %s", p->socket,
			     http_answer_error(ret));
	http_answer_fini(ret);
	return rc;
}

static int ask_sessions(struct scan *scan, struct scan_pager *p, int timeout_ms, struct err *err)
{
	struct http_answer answer;
	uint64_t after = 0;
	size_t n = PIECE;
	int rc = 0;

	while (rc == 0 && n >= PIECE) {
		rc = ask_piece(p, timeout_ms, after, &answer, err);
		if (rc < 0)
			return rc;
		n = json_array_size(answer.json);
		rc = take_piece(scan, p, answer.json, &after);
		http_answer_fini(&answer);
	}
	if (rc == -EBADMSG)
		return err_set(err, rc, "the list of sessions of '%s' is not understood",
			       p->socket);
	return rc < 0 ? err_set(err, rc, "out of memory") : 0;
}

/*
 * Of a pager that stops to answer in the middle, nothing counts.  One that hangs up may have
 * ended, which another try tells.
 */
static int ask(struct scan *scan, struct scan_pager *p, int timeout_ms)
{
	size_t before = scan->sessions.n;
	int rc = -ECONNRESET;

	for (int i = 0; i < PAGERS_TRIES && rc == -ECONNRESET; i++) {
		drop_behind(scan, before);
		p->sessions = 0;
		rc = ask_sessions(scan, p, timeout_ms, &p->err);
	}
	p->code = rc;
	if (rc == 0)
		return 0;
	drop_behind(scan, before);
	p->sessions = 0;
	free(p->version);
	p->version = NULL;
	p->is = (struct rules_pager){.socket = p->socket};
	return rc == -ENOMEM ? rc : 0;
}

/* ---- all of them ---- */

static int take_pager(const struct pagers *found, const struct pagers_entry *e,
		      struct scan_pager *p)
{
	const struct pagers_entry *newest = pagers_newest(found);

	p->socket = strdup(e->socket);
	p->version = e->version ? strdup(e->version) : NULL;
	if (!p->socket || (e->version && !p->version))
		return -ENOMEM;
	p->draining = e->draining;
	p->err = e->err;
	p->code = e->code;
	p->is = (struct rules_pager){p->socket, p->version, e->version && e->outdated};
	p->replaced = p->is.outdated && newest &&
		      pagers_version_cmp(newest->version, p->version) > 0;
	return 0;
}

static int take_all(struct scan *scan, const struct pagers *found, int timeout_ms)
{
	int rc = 0;

	scan->pagers = calloc(found->n ? found->n : 1, sizeof(*scan->pagers));
	if (!scan->pagers)
		return -ENOMEM;
	for (size_t i = 0; i < found->n && rc == 0; i++) {
		scan->npagers++;
		rc = take_pager(found, &found->v[i], &scan->pagers[i]);
	}
	for (size_t i = 0; i < scan->npagers && rc == 0; i++)
		if (scan->pagers[i].version)
			rc = ask(scan, &scan->pagers[i], timeout_ms);
	return rc;
}

int scan_take(const char *root, int timeout_ms, struct scan *ret, struct err *err)
{
	struct scan scan = {0};
	struct pagers found;
	int rc = pagers_find(root, timeout_ms, &found, err);

	if (rc < 0)
		return rc;
	rc = take_all(&scan, &found, timeout_ms);
	pagers_fini(&found);
	if (rc < 0) {
		scan_fini(&scan);
		return err_set(err, rc, "out of memory");
	}
	*ret = scan;
	return 0;
}

bool scan_has_ended(const struct scan_pager *pager)
{
	return pagers_has_ended(pager->code);
}

void scan_fini(struct scan *scan)
{
	drop_behind(scan, 0);
	for (size_t i = 0; i < scan->npagers; i++) {
		free(scan->pagers[i].socket);
		free(scan->pagers[i].version);
	}
	vec_fini(&scan->sessions);
	free(scan->pagers);
	*scan = (struct scan){0};
}
