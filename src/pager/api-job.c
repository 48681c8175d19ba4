/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A job is worked at by a thread that was made for it and that knows nothing of
 * its call.  It then stands in api->done, and the httpd's thread, told by
 * httpd_post(), answers whatever it finds there.  Once the api is closed nobody is
 * told any more: the httpd may be gone, and with it the calls.
 *
 * Of each kind only so many are under way, so that sessions can still be closed while
 * all the creations hang.
 *
 * Who waits for a completion is told to go when its caller hangs up, on the httpd's
 * thread, where the job lives until it is answered or the api is closed.
 */
#include "src/pager/api-job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/thread.h"

static const struct {
	unsigned most;		/* at once; each may hang with its file */
	const char *doing;
} kinds[API_NKINDS] = {
	[API_CREATE] = {16, "made"},
	[API_CLOSE] = {16, "closed"},
	[API_COMPLETE] = {64, "graduated"},
	[API_CANCEL] = {16, "told to go on"},
};

void api_unref(struct api *api)
{
	if (atomic_fetch_sub(&api->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&api->lock);
	free(api);
}

struct api_job *api_job_new(struct api *api, struct httpd_call *call, enum api_kind kind)
{
	struct api_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	atomic_fetch_add(&api->refs, 1);
	job->api = api;
	job->httpd = httpd_of(call);
	job->call = call;
	job->kind = kind;
	job->setup.peer_uid = -1;
	return job;
}

void api_job_free(struct api_job *job)
{
	setup_fini(&job->setup);
	session_unref(job->session);
	free(job->id);
	api_unref(job->api);
	free(job);
}

/* ---- which are running, under lock ---- */

static void add_running(struct api_job *job)
{
	job->prev = NULL;
	job->next = job->api->running;
	if (job->next)
		job->next->prev = job;
	job->api->running = job;
}

static void remove_running(struct api_job *job)
{
	if (job->prev)
		job->prev->next = job->next;
	else
		job->api->running = job->next;
	if (job->next)
		job->next->prev = job->prev;
}

static void on_hangup(void *arg)
{
	struct api_job *job = arg;

	complete_cancel(&job->complete);
}

void api_job_hear_hangup(struct api_job *job)
{
	httpd_on_hangup(job->call, on_hangup, job);
}

void api_job_close_all(struct api *api)
{
	struct api_job *job, *next;

	pthread_mutex_lock(&api->lock);
	api->closed = true;
	for (job = api->running; job; job = job->next) {
		httpd_on_hangup(job->call, NULL, NULL);
		complete_cancel(&job->complete);
	}
	job = api->done;
	api->done = NULL;
	pthread_mutex_unlock(&api->lock);
	for (; job; job = next) {
		next = job->next;
		httpd_on_hangup(job->call, NULL, NULL);
		api_job_free(job);
	}
}

/* ---- working, and answering ---- */

/* On the httpd's thread. */
static void deliver(void *arg)
{
	struct api *api = arg;
	struct api_job *job, *next;

	pthread_mutex_lock(&api->lock);
	job = api->done;
	api->done = NULL;
	pthread_mutex_unlock(&api->lock);
	for (; job; job = next) {
		next = job->next;
		api->busy[job->kind]--;
		job->answer(job);
		api_job_free(job);
	}
}

/* False: it has to be tried again. */
static bool hand_in(struct api_job *job)
{
	struct api *api = job->api;
	bool good = true;

	pthread_mutex_lock(&api->lock);
	remove_running(job);
	if (api->closed) {
		pthread_mutex_unlock(&api->lock);
		api_job_free(job);
		return true;
	}
	job->next = api->done;
	api->done = job;
	if (httpd_post(job->httpd, deliver, api) < 0) {
		api->done = job->next;
		add_running(job);
		good = false;
	}
	pthread_mutex_unlock(&api->lock);
	return good;
}

static void *run(void *arg)
{
	static const struct timespec pause = {.tv_nsec = 100000000};
	struct api_job *job = arg;

	job->work(job);
	while (!hand_in(job))
		(void)nanosleep(&pause, NULL);
	return NULL;
}

static int begin(struct api_job *job)
{
	struct api *api = job->api;
	int rc;

	pthread_mutex_lock(&api->lock);
	add_running(job);
	rc = thread_detached(run, job);
	if (rc < 0)
		remove_running(job);
	pthread_mutex_unlock(&api->lock);
	return rc;
}

void api_job_start(struct api_job *job)
{
	struct api *api = job->api;
	enum api_kind kind = job->kind;

	if (api->busy[kind] >= kinds[kind].most) {
		job->rc = err_set(&job->err, -EUSERS,
				  "%u sessions are being %s at this moment: try again",
				  kinds[kind].most, kinds[kind].doing);
	} else if (begin(job) < 0) {
		job->rc = err_set(&job->err, -EUSERS,
				  "no thread can be made for this request: try again");
	} else {
		api->busy[kind]++;
		return;
	}
	job->answer(job);
	api_job_free(job);
}
