/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/api.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/pager/api-complete.h"
#include "src/pager/api-job.h"
#include "src/pager/facts.h"
#include "src/pager/keep.h"
#include "src/pager/metrics.h"
#include "src/pager/version.h"
#include "store/base/fmt.h"

#define LOOK_MS 100		/* that a request waits for the owners of sessions, all in all */
#define END_MS 200		/* between two looks for the last session's end */

int api_new(struct sessions *sessions, const struct session_env *env, struct api **ret,
	    struct err *err)
{
	struct api *api = calloc(1, sizeof(*api));
	struct timespec now;

	if (!api)
		return err_set(err, -ENOMEM, "out of memory");
	(void)clock_gettime(CLOCK_REALTIME, &now);
	api->sessions = sessions;
	api->env = env;
	api->started = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
	atomic_init(&api->refs, 1);
	pthread_mutex_init(&api->lock, NULL);
	*ret = api;
	return 0;
}

void api_free(struct api *api)
{
	if (!api)
		return;
	api_job_close_all(api);
	api_unref(api);
}

/* ---- the end of a pager that is to exit ---- */

/* Nothing to do, twice in a row: the last answers are on their way. */
static void look_for_end(void *arg)
{
	struct api *api = arg;
	unsigned busy = 0;

	for (int i = 0; i < API_NKINDS; i++)
		busy += api->busy[i];
	if (busy || sessions_count(api->sessions) > 0)
		api->calm = 0;
	else if (++api->calm > 1 && api->env->link)
		(void)keep_end(api->env->link);
}

static int look_from_now_on(struct api *api)
{
	int rc = api->looks ? 0 : httpd_every(api->httpd, END_MS, look_for_end, api);

	if (rc == 0)
		api->looks = true;
	return rc;
}

int api_begin(struct api *api, struct httpd *httpd, struct err *err)
{
	int rc;

	api->httpd = httpd;
	rc = sessions_exiting(api->sessions) ? look_from_now_on(api) : 0;
	return rc < 0 ? err_sys(err, rc, "cannot watch for the last session's end") : 0;
}

/* ---- of the pager ---- */

static void get_health(struct httpd_call *call, void *ctx)
{
	struct api *api = ctx;

	httpd_json(call, 200,
		   json_pack("{s:s, s:b, s:b, s:I}", "status", "ok", "draining",
			     sessions_draining(api->sessions), "exiting",
			     sessions_exiting(api->sessions), "sessions",
			     (json_int_t)sessions_count(api->sessions)));
}

static void get_version(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_json(call, 200,
		   json_pack("{s:s, s:s, s:i, s:i}", "program", "lamina-pager", "version",
			     VERSION_TEXT, "state_layout", STATE_LAYOUT, "keep_version",
			     KEEP_VERSION));
}

static void get_metrics(struct httpd_call *call, void *ctx)
{
	struct api *api = ctx;
	struct metrics_pager pager = {
		.version = VERSION_TEXT,
		.started = api->started,
		.draining = sessions_draining(api->sessions),
		.connections = httpd_conns(httpd_of(call)),
		.completing = api->busy[API_COMPLETE],
		.completions = api->completions,
	};
	struct buf text = {0};
	struct metrics metrics;

	if (sessions_measure(api->sessions, &metrics) == 0)
		metrics_format(&metrics, &pager, &text);
	buf_u8(&text, '\0');
	if (buf_error(&text) == 0 && text.len > 1)
		httpd_text(call, 200, METRICS_TYPE, (const char *)text.data);
	else
		httpd_fail(call, 500, "out of memory");
	buf_fini(&text);
}

const char *const api_no_params[] = {NULL};

bool api_has_params(struct httpd_call *call, const char *const *but)
{
	const char *name = httpd_query_other(call, but);

	if (name)
		httpd_fail(call, 400, "'%s' is no parameter of this request", name);
	return name;
}

bool api_has_fields(struct httpd_call *call)
{
	json_t *body = httpd_body(call);

	if (body && json_object_size(body) == 0)
		return false;
	if (body)
		httpd_fail(call, 400, "this request takes no fields");
	return true;
}

/* False: answered. */
static bool get_exit(struct httpd_call *call, const json_t *body, bool *ret)
{
	const json_t *value = json_object_get(body, "exit");

	if (json_object_size(body) > (value != NULL)) {
		httpd_fail(call, 400, "this request has no fields but 'exit'");
		return false;
	}
	if (value && !json_is_boolean(value)) {
		httpd_fail(call, 400, "'exit' is to be true or false");
		return false;
	}
	*ret = json_is_true(value);
	return true;
}

static void post_drain(struct httpd_call *call, void *ctx)
{
	struct api *api = ctx;
	json_t *body;
	bool exits = false;
	size_t left;

	if (api_has_params(call, api_no_params))
		return;
	body = httpd_body(call);
	if (!body || !get_exit(call, body, &exits))
		return;
	left = sessions_drain(api->sessions, exits);
	if (exits && look_from_now_on(api) < 0) {
		httpd_fail(call, 500, "out of memory");
		return;
	}
	httpd_json(call, 200,
		   json_pack("{s:b, s:b, s:I}", "draining", 1, "exiting",
			     sessions_exiting(api->sessions), "left", (json_int_t)left));
}

/* ---- looking at sessions ---- */

/* A parameter that is "1", "0" or absent; false: answered. */
static bool get_switch(struct httpd_call *call, const char *name, bool *ret)
{
	const char *text = httpd_query(call, name);

	*ret = text && strcmp(text, "1") == 0;
	if (!text || *ret || strcmp(text, "0") == 0)
		return true;
	httpd_fail(call, 400, "'%s' is to be 0 or 1", name);
	return false;
}

static bool get_number(struct httpd_call *call, const char *name, uint64_t *ret)
{
	const char *text = httpd_query(call, name);

	if (!text || fmt_parse_u64(text, ret) == 0)
		return true;
	httpd_fail(call, 400, "'%s' is to be a number", name);
	return false;
}

/* What of all sessions is asked for. */
struct filter {
	const char *state;	/* or NULL: any */
	uint64_t after;
	uint64_t limit;
	struct facts_want want;
};

static bool is_state(const char *name)
{
	for (int i = 0; i < STATE_NPHASES; i++)
		if (strcmp(state_phase_name((enum state_phase)i), name) == 0)
			return true;
	return false;
}

static bool get_filter(struct httpd_call *call, struct filter *f)
{
	static const char *const names[] = {
		"state", "phase", "after", "limit", "histogram", NULL,
	};

	if (api_has_params(call, names))
		return false;
	*f = (struct filter){.limit = UINT64_MAX};
	f->state = httpd_query(call, "state");
	if (!f->state)
		f->state = httpd_query(call, "phase");
	if (f->state && !is_state(f->state)) {
		httpd_fail(call, 400, "there is no state '%s'", f->state);
		return false;
	}
	facts_until(&f->want, LOOK_MS);
	return get_number(call, "after", &f->after) && get_number(call, "limit", &f->limit) &&
	       get_switch(call, "histogram", &f->want.histogram);
}

/* Gives back the references, too. */
static json_t *list(struct session **v, size_t n, const struct filter *f)
{
	json_t *array = json_array();
	int rc = array ? 0 : -1;

	for (size_t i = 0; i < n; i++) {
		if (rc == 0 && v[i]->bag > f->after && json_array_size(array) < f->limit &&
		    (!f->state || strcmp(facts_state(v[i]), f->state) == 0))
			rc = json_array_append_new(array, facts_json(v[i], &f->want));
		session_unref(v[i]);
	}
	if (rc == 0)
		return array;
	json_decref(array);
	return NULL;
}

static void get_sessions(struct httpd_call *call, void *ctx)
{
	struct api *api = ctx;
	struct session **v;
	struct filter filter;
	size_t n = 0;

	if (!get_filter(call, &filter))
		return;
	v = sessions_all(api->sessions, &n);
	httpd_json(call, 200, v ? list(v, n, &filter) : NULL);
	free(v);
}

static void no_session(struct httpd_call *call)
{
	httpd_fail(call, 404, "there is no session '%s'", httpd_arg(call, 0));
}

static void get_session(struct httpd_call *call, void *ctx)
{
	static const char *const names[] = {"histogram", NULL};
	struct api *api = ctx;
	struct facts_want want = {.regions = true};
	struct session *s;

	if (api_has_params(call, names) || !get_switch(call, "histogram", &want.histogram))
		return;
	s = sessions_by_id(api->sessions, httpd_arg(call, 0));
	if (!s) {
		no_session(call);
		return;
	}
	facts_until(&want, LOOK_MS);
	httpd_json(call, 200, facts_json(s, &want));
	session_unref(s);
}

/* ---- making one ---- */

static void create(struct api_job *job)
{
	job->rc = sessions_create(job->api->sessions, &job->setup, &job->session, &job->err);
}

/* All that the request names and that is not there is the request's fault. */
static int status_of_create(int rc)
{
	switch (rc) {
	case -EEXIST:
		return 409;
	case -ESHUTDOWN:
	case -EUSERS:
		return 503;
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		return 500;
	default:
		return 422;
	}
}

static void answer_create(struct api_job *job)
{
	const struct session *s = job->session;
	char where[SETUP_ID_MAX + 16];

	if (job->rc < 0) {
		httpd_fail(job->call, status_of_create(job->rc), "%s", job->err.text);
		return;
	}
	(void)snprintf(where, sizeof(where), "/sessions/%s", s->setup.id);
	(void)httpd_set_header(job->call, "Location", where);
	httpd_json(job->call, 201,
		   json_pack("{s:s, s:s, s:s}", "id", s->setup.id, "socket", s->setup.socket,
			     "state", facts_state(s)));
}

static void post_sessions(struct httpd_call *call, void *ctx)
{
	struct api *api = ctx;
	struct api_job *job;
	struct err err = {""};
	json_t *body;
	int rc;

	if (api_has_params(call, api_no_params))
		return;
	body = httpd_body(call);
	if (!body)
		return;
	job = api_job_new(api, call, API_CREATE);
	rc = job ? setup_from_json(body, api->env->runtime_dir, &job->setup, &err) :
		   err_set(&err, -ENOMEM, "out of memory");
	if (rc < 0) {
		httpd_fail(call, rc == -EINVAL ? 400 : 500, "%s", err.text);
		if (job)
			api_job_free(job);
		return;
	}
	job->work = create;
	job->answer = answer_create;
	api_job_start(job);
}

/* ---- closing one ---- */

static void close_session(struct api_job *job)
{
	job->rc = sessions_close(job->api->sessions, job->id, job->force, &job->err);
}

/* -ESRCH: its process has ended already, and its memory is about to go. */
static int status_of_close(int rc)
{
	switch (rc) {
	case 0:
		return 200;
	case 1:
	case -ESRCH:
		return 202;
	case -ENOENT:
		return 404;
	case -EBUSY:
		return 409;
	case -EUSERS:
		return 503;
	default:
		return 500;
	}
}

static void answer_close(struct api_job *job)
{
	int status = status_of_close(job->rc);

	if (status >= 300)
		httpd_fail(job->call, status, "%s", job->err.text);
	else
		httpd_json(job->call, status,
			   json_pack("{s:s, s:s}", "id", job->id, "state",
				     job->session ? facts_state(job->session)
						  : state_phase_name(STATE_GRADUATED)));
}

static void post_close(struct httpd_call *call, void *ctx)
{
	static const char *const names[] = {"force", NULL};
	struct api *api = ctx;
	struct api_job *job;
	bool force;

	if (api_has_params(call, names) || !get_switch(call, "force", &force) ||
	    api_has_fields(call))
		return;
	job = api_job_new(api, call, API_CLOSE);
	if (job)
		job->id = strdup(httpd_arg(call, 0));
	if (!job || !job->id) {
		httpd_fail(call, 500, "out of memory");
		if (job)
			api_job_free(job);
		return;
	}
	job->session = sessions_by_id(api->sessions, job->id);
	job->force = force;
	job->work = close_session;
	job->answer = answer_close;
	api_job_start(job);
}

const struct httpd_route api_routes[] = {
	{"GET", "/health", get_health},
	{"GET", "/version", get_version},
	{"GET", "/metrics", get_metrics},
	{"GET", "/sessions", get_sessions},
	{"POST", "/sessions", post_sessions},
	{"GET", "/sessions/{}", get_session},
	{"POST", "/sessions/{}/close", post_close},
	{"POST", "/sessions/{}/complete", api_complete_post},
	{"DELETE", "/sessions/{}/complete", api_complete_delete},
	{"POST", "/drain", post_drain},
	{0},
};
