/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What api.c and api-job.c share. */
#ifndef LAMINA_PAGER_API_JOB_H
#define LAMINA_PAGER_API_JOB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/pager/api.h"

#define API_JOBS_MAX 16		/* of a kind at once; each may hang with its file */

enum api_kind { API_CREATE, API_CLOSE, API_NKINDS };

/* A request that may block. */
struct api_job {
	struct api_job *next;
	struct api *api;
	struct httpd *httpd;
	struct httpd_call *call;
	enum api_kind kind;
	struct setup setup;		/* of a creation */
	struct session *session;	/* that was made, or is being closed */
	bool force;
	int rc;
	struct err err;
	void (*work)(struct api_job *job);	/* on a thread of its own */
	void (*answer)(struct api_job *job);	/* then, on the httpd's */
};

struct api {
	struct sessions *sessions;
	const char *runtime_dir;
	double started;			/* seconds since 1970 */
	_Atomic unsigned refs;		/* api_new()'s, and each job's */
	unsigned busy[API_NKINDS];	/* jobs under way; the httpd's thread's */
	pthread_mutex_t lock;
	/* Under lock. */
	bool closed;
	struct api_job *done;		/* worked at, not yet answered */
};

/* NULL: -ENOMEM. */
struct api_job *api_job_new(struct api *api, struct httpd_call *call, enum api_kind kind);
/* Begins.  Takes the job, and answers its call if it cannot. */
void api_job_start(struct api_job *job);
void api_job_free(struct api_job *job);
void api_unref(struct api *api);

#endif
