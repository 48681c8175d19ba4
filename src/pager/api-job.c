/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A job is worked at by a thread that was made for it and that knows nothing of
 * its call.  It then stands in api->done, and the httpd's thread, told by
 * httpd_post(), answers whatever it finds there.  Once the api is closed nobody is
 * told any more: the httpd may be gone, and with it the calls.
 *
 * At most API_JOBS_MAX of a kind are under way, so that sessions can still be
 * closed while all the creations hang.
 */
#include "src/pager/api-job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
	api_unref(job->api);
	free(job);
}

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
	if (api->closed) {
		pthread_mutex_unlock(&api->lock);
		api_job_free(job);
		return true;
	}
	job->next = api->done;
	api->done = job;
	if (httpd_post(job->httpd, deliver, api) < 0) {
		api->done = job->next;
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

static int make_thread(struct api_job *job)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc = pthread_attr_init(&attr);

	if (rc)
		return -rc;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, run, job);
	pthread_attr_destroy(&attr);
	return -rc;
}

void api_job_start(struct api_job *job)
{
	struct api *api = job->api;
	struct httpd_call *call = job->call;
	enum api_kind kind = job->kind;

	if (api->busy[kind] >= API_JOBS_MAX) {
		httpd_fail(call, 503, "%d sessions are being %s at this moment: try again",
			   API_JOBS_MAX, kind == API_CREATE ? "made" : "closed");
		api_job_free(job);
		return;
	}
	api->busy[kind]++;
	if (make_thread(job) == 0)
		return;
	api->busy[kind]--;
	httpd_fail(call, 503, "no thread can be made for this request: try again");
	api_job_free(job);
}
