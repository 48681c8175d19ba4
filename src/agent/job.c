/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A job belongs to the loop's thread but for the time from start() to its post: then its thread
 * has `rc`, `ret` and `err`; `cancelled` is both's.  The call lives until it is answered,
 * whether or not the caller does, and the body with it.
 */
#include "src/agent/job.h"

#include <stdlib.h>
#include <sys/queue.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "src/agent/logs.h"
#include "store/base/clock.h"
#include "store/base/thread.h"

#define RETRY_NS 100000000	/* without memory for a post */

struct job {
	LIST_ENTRY(job) link;
	struct jobs *all;
	const struct job_kind *kind;
	struct httpd_call *call;
	const json_t *body;
	int timer_fd;
	uint64_t began_us;
	bool expired;
	atomic_bool cancelled;
	json_t *ret;
	int rc;
	struct err err;
};

struct jobs {
	struct httpd *h;
	void *ctx;
	LIST_HEAD(, job) list;
	atomic_uint n;
};

int job_status(int rc)
{
	switch (rc) {
	case -EINVAL:
		return 400;
	case -ENOENT:
	case -ESRCH:
		return 404;
	case -EBUSY:
		return 409;
	case -ECANCELED:
		return 503;
	default:
		return 500;
	}
}

/* ---- the end ---- */

static void job_delete(struct job *job)
{
	if (job->timer_fd >= 0) {
		httpd_unwatch(job->all->h, job->timer_fd);
		close(job->timer_fd);
	}
	LIST_REMOVE(job, link);
	atomic_fetch_sub(&job->all->n, 1);
	json_decref(job->ret);
	free(job);
}

static void report(const struct job *job)
{
	unsigned long ms = (unsigned long)((clock_us() - job->began_us) / 1000);

	if (job->rc == 0)
		logs_add(LOGS_INFO, "%s: done in %lu ms%s", job->kind->name, ms,
			 httpd_gone(job->call) ? "; the caller had hung up" : "");
	else if (httpd_gone(job->call))
		logs_add(LOGS_INFO, "%s: ended after %lu ms: the caller hung up",
			 job->kind->name, ms);
	else
		logs_add(LOGS_WARNING, "%s: failed after %lu ms: %s", job->kind->name, ms,
			 job->err.text);
}

static void finish(void *arg)
{
	struct job *job = arg;

	report(job);
	if (job->rc == 0 && httpd_gone(job->call) && job->kind->unheard)
		job->kind->unheard(job->all->ctx, job->ret);
	if (job->rc == 0)
		httpd_json(job->call, 200, json_incref(job->ret));
	else if (job->expired)
		httpd_fail(job->call, 503, "%s took longer than %d s", job->kind->name,
			   job->kind->max_ms / 1000);
	else
		httpd_fail(job->call, job_status(job->rc), "%s", job->err.text);
	job_delete(job);
}

static void *run(void *arg)
{
	struct job *job = arg;
	struct httpd *h = job->all->h;

	job->rc = job->kind->run(job->all->ctx, job->body, &job->cancelled, &job->ret, &job->err);
	while (httpd_post(h, finish, job) < 0)
		nanosleep(&(struct timespec){0, RETRY_NS}, NULL);
	return NULL;
}

/* ---- cancelling ---- */

static void on_hangup(void *arg)
{
	atomic_store(&((struct job *)arg)->cancelled, true);
}

static void on_expiry(int fd, void *arg)
{
	struct job *job = arg;
	uint64_t times;

	(void)!read(fd, &times, sizeof(times));
	job->expired = true;
	atomic_store(&job->cancelled, true);
}

static int set_timer(struct job *job)
{
	int ms = job->kind->max_ms, rc;
	struct itimerspec when = {.it_value = {ms / 1000, ms % 1000 * 1000000L}};

	job->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (job->timer_fd < 0)
		return -errno;
	rc = timerfd_settime(job->timer_fd, 0, &when, NULL) < 0 ? -errno :
		httpd_watch(job->all->h, job->timer_fd, on_expiry, job);
	if (rc < 0) {
		close(job->timer_fd);
		job->timer_fd = -1;
	}
	return rc;
}

/* ---- the beginning ---- */

static bool runs(const struct jobs *jobs, const struct job_kind *kind)
{
	const struct job *job;

	LIST_FOREACH(job, &jobs->list, link)
		if (job->kind == kind)
			return true;
	return false;
}

/* Answers those that may not run. */
static bool may_run(const struct jobs *jobs, struct httpd_call *call, const struct job_kind *kind)
{
	unsigned max = kind->urgent ? 2 * JOB_MAX : JOB_MAX;

	if (kind->alone && runs(jobs, kind)) {
		httpd_fail(call, 409, "%s runs already", kind->name);
		return false;
	}
	if (jobs->n >= max) {
		httpd_fail(call, 503, "%u requests are at work: no more at a time", jobs->n);
		return false;
	}
	return true;
}

static void start(struct job *job)
{
	struct httpd_call *call = job->call;
	int rc = set_timer(job);

	httpd_on_hangup(call, on_hangup, job);
	if (rc == 0)
		rc = thread_detached(run, job);
	if (rc == 0)
		return;
	httpd_on_hangup(call, NULL, NULL);
	httpd_fail(call, 503, "cannot start %s", job->kind->name);
	job_delete(job);
}

void job_start(struct jobs *jobs, struct httpd_call *call, const struct job_kind *kind)
{
	const json_t *body;
	struct job *job;

	if (!may_run(jobs, call, kind))
		return;
	body = httpd_body(call);
	if (!body)
		return;
	job = calloc(1, sizeof(*job));
	if (!job) {
		httpd_fail(call, 500, "out of memory");
		return;
	}
	job->all = jobs;
	job->kind = kind;
	job->call = call;
	job->body = body;
	job->timer_fd = -1;
	job->began_us = clock_us();
	LIST_INSERT_HEAD(&jobs->list, job, link);
	atomic_fetch_add(&jobs->n, 1);
	start(job);
}

int job_new(struct httpd *h, void *ctx, struct jobs **ret, struct err *err)
{
	struct jobs *jobs = calloc(1, sizeof(*jobs));

	if (!jobs)
		return err_set(err, -ENOMEM, "out of memory");
	jobs->h = h;
	jobs->ctx = ctx;
	*ret = jobs;
	return 0;
}

unsigned job_count(const struct jobs *jobs)
{
	return atomic_load(&jobs->n);
}

void job_free(struct jobs *jobs)
{
	free(jobs);
}
