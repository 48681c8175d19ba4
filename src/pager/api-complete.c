/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request is a job whose thread waits in complete_session().  A session that is
 * not in the table any more may have graduated once: that is looked up there, too.
 */
#include "src/pager/api-complete.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/pager/api-job.h"
#include "src/pager/facts.h"
#include "src/pager/graduated.h"
#include "store/base/log.h"

/* ---- what is asked for ---- */

#define TIMEOUT_MAX_MS 1000000000000	/* 31 years; nanoseconds of it fit in 64 bits */

static int take_integer(const char *name, const json_t *value, uint64_t *ret, struct err *err)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return err_set(err, -EINVAL, "'%s' is to be an integer of at least 0", name);
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

static int take_timeout(const char *name, const json_t *value, uint64_t *ret, struct err *err)
{
	uint64_t ms = 0;
	int rc = take_integer(name, value, &ms, err);

	if (rc == 0 && ms > TIMEOUT_MAX_MS)
		return err_set(err, -EINVAL, "'%s' is more than 31 years", name);
	if (rc == 0)
		*ret = ms;
	return rc;
}

static int take_percent(const char *name, const json_t *value, double *ret, struct err *err)
{
	double percent = json_number_value(value);

	if (!json_is_number(value) || !(percent >= 0 && percent <= 100))
		return err_set(err, -EINVAL, "'%s' is to be a number from 0 to 100", name);
	*ret = percent;
	return 0;
}

static int take_field(const char *name, const json_t *value, struct complete_want *ret,
		      struct err *err)
{
	if (!strcmp(name, "timeout_ms"))
		return take_timeout(name, value, &ret->timeout_ms, err);
	if (!strcmp(name, "rate"))
		return take_integer(name, value, &ret->rate, err);
	if (!strcmp(name, "min_available"))
		return take_integer(name, value, &ret->guard.min_available, err);
	if (!strcmp(name, "max_pressure"))
		return take_percent(name, value, &ret->guard.max_pressure, err);
	return err_set(err, -EINVAL, "'%s' is no field of this request", name);
}

/* False: answered. */
static bool take_want(struct httpd_call *call, struct complete_want *ret)
{
	json_t *body = httpd_body(call), *value;
	struct err err = {""};
	const char *name;

	if (!body)
		return false;
	json_object_foreach(body, name, value) {
		if (take_field(name, value, ret, &err) < 0) {
			httpd_fail(call, 400, "%s", err.text);
			return false;
		}
	}
	return true;
}

/* ---- what it came to ---- */

static const struct outcome {
	int status;
	int rc;
} outcomes[METRICS_RESULTS] = {
	[METRICS_GRADUATED] = {200, 0},
	[METRICS_ALREADY] = {200, 0},
	[METRICS_WAITING] = {409, -EBUSY},
	[METRICS_GONE] = {409, -ESRCH},
	[METRICS_CANCELLED] = {409, -ECANCELED},
	[METRICS_MEMORY] = {503, -ENOMEM},
	[METRICS_UNREADABLE] = {503, -EIO},
	[METRICS_TIMEOUT] = {504, -ETIMEDOUT},
	[METRICS_UNKNOWN] = {404, -ENOENT},
	[METRICS_BUSY] = {503, -EUSERS},
};

static enum metrics_result result_of(const struct api_job *job)
{
	if (job->rc == 0)
		return job->report.already ? METRICS_ALREADY : METRICS_GRADUATED;
	/* A memfile that has gone is no session that is unknown. */
	if (job->rc == -ENOENT && job->session)
		return METRICS_UNREADABLE;
	for (int i = 0; i < METRICS_RESULTS; i++)
		if (outcomes[i].rc == job->rc)
			return (enum metrics_result)i;
	return METRICS_UNREADABLE;
}

static const char *id_of(const struct api_job *job)
{
	return job->session ? job->session->setup.id : job->id;
}

/* NULL: null. */
static const char *state_of(const struct api_job *job)
{
	if (job->session)
		return facts_state(job->session);
	return job->rc >= 0 ? state_phase_name(STATE_GRADUATED) : NULL;
}

static json_t *good_json(const struct api_job *job)
{
	const struct complete_report *r = &job->report;

	return json_pack("{s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:f, s:f}", "id", id_of(job),
			 "state", state_of(job), "already", r->already, "durable", r->durable,
			 "pages", (json_int_t)r->pages, "bytes", (json_int_t)r->bytes, "zero_pages",
			 (json_int_t)r->zero, "hole_pages", (json_int_t)r->holes, "seconds",
			 (double)r->ns / 1e9, "unregister_seconds", (double)r->unregister_ns / 1e9);
}

static json_t *bad_json(const struct api_job *job, enum metrics_result result)
{
	return json_pack("{s:o, s:s, s:o, s:s?, s:I, s:I}", "error", facts_sentence(job->err.text),
			 "reason", metrics_result_name(result), "id", facts_sentence(id_of(job)),
			 "state", state_of(job), "pages", (json_int_t)job->report.pages, "bytes",
			 (json_int_t)job->report.bytes);
}

static void answer_complete(struct api_job *job)
{
	enum metrics_result result = result_of(job);

	job->api->completions[result]++;
	httpd_json(job->call, outcomes[result].status,
		   job->rc == 0 ? good_json(job) : bad_json(job, result));
}

/* ---- doing it ---- */

/* What is no record of ours says nothing. */
static int look_up(struct api_job *job)
{
	int rc = graduated_get(job->api->env->runtime_dir, job->id, &job->report, &job->err);

	if (rc == 0)
		return 0;
	if (rc != -ENOENT)
		log_warn("%s", job->err.text);
	return err_set(&job->err, -ENOENT, "there is no session '%.*s'", SETUP_ID_MAX, job->id);
}

static void complete(struct api_job *job)
{
	if (!job->session)
		job->rc = look_up(job);
	else
		job->rc = complete_session(job->session, &job->complete, &job->report, &job->err);
}

/* NULL: answered. */
static struct api_job *new_job(struct api *api, struct httpd_call *call, enum api_kind kind)
{
	struct api_job *job = api_job_new(api, call, kind);

	if (job) {
		job->id = strdup(httpd_arg(call, 0));
		job->session = sessions_by_id(api->sessions, httpd_arg(call, 0));
	}
	if (job && job->id)
		return job;
	if (job)
		api_job_free(job);
	httpd_fail(call, 500, "out of memory");
	return NULL;
}

void api_complete_post(struct httpd_call *call, void *ctx)
{
	struct complete_want want = {0};
	struct api_job *job;

	if (api_has_params(call, api_no_params) || !take_want(call, &want))
		return;
	job = new_job(ctx, call, API_COMPLETE);
	if (!job)
		return;
	job->complete.want = want;
	job->work = complete;
	job->answer = answer_complete;
	api_job_hear_hangup(job);
	api_job_start(job);
}

/* ---- calling it off ---- */

/* 1: it was under way. */
static void cancel(struct api_job *job)
{
	if (!job->session)
		job->rc = look_up(job);
	else
		job->rc = complete_stop(job->session, "graduation was called off") == 0;
}

static void answer_cancel(struct api_job *job)
{
	if (job->rc < 0)
		httpd_fail(job->call, job->rc == -ENOENT ? 404 : 503, "%s", job->err.text);
	else
		httpd_json(job->call, 200,
			   json_pack("{s:s, s:s, s:b}", "id", id_of(job), "state", state_of(job),
				     "cancelled", job->rc));
}

void api_complete_delete(struct httpd_call *call, void *ctx)
{
	struct api_job *job;

	if (api_has_params(call, api_no_params) || api_has_fields(call))
		return;
	job = new_job(ctx, call, API_CANCEL);
	if (!job)
		return;
	job->work = cancel;
	job->answer = answer_cancel;
	api_job_start(job);
}
