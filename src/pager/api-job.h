/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What api.c, api-complete.c and api-job.c share. */
#ifndef LAMINA_PAGER_API_JOB_H
#define LAMINA_PAGER_API_JOB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/pager/api.h"
#include "src/pager/complete.h"
#include "src/pager/metrics.h"

enum api_kind { API_CREATE, API_CLOSE, API_COMPLETE, API_CANCEL, API_NKINDS };

/* A request that may block. */
struct api_job {
	struct api_job *next, *prev;
	struct api *api;
	struct httpd *httpd;
	struct httpd_call *call;
	enum api_kind kind;
	struct setup setup;		/* of a creation */
	struct session *session;	/* that was made, or is being closed or completed */
	char *id;			/* that was asked for; there may be no session */
	struct complete_call complete;
	struct complete_report report;
	bool force;
	int rc;
	struct err err;
	void (*work)(struct api_job *job);	/* on a thread of its own */
	void (*answer)(struct api_job *job);	/* then, on the httpd's; also, with
						   -EUSERS, if it cannot begin */
};

struct api {
	struct sessions *sessions;
	const struct session_env *env;
	struct httpd *httpd;
	double started;			/* seconds since 1970 */
	_Atomic unsigned refs;		/* api_new()'s, and each job's */
	/* The httpd's thread's. */
	unsigned busy[API_NKINDS];	/* jobs under way */
	unsigned calm;			/* looks in a row at which nothing was left to do */
	bool looks;
	uint64_t completions[METRICS_RESULTS];
	pthread_mutex_t lock;
	/* Under lock. */
	bool closed;
	struct api_job *running;
	struct api_job *done;		/* worked at, not yet answered */
};

/* NULL: -ENOMEM. */
struct api_job *api_job_new(struct api *api, struct httpd_call *call, enum api_kind kind);
/* Begins.  Takes the job, and answers its call if it cannot. */
void api_job_start(struct api_job *job);
void api_job_free(struct api_job *job);
void api_unref(struct api *api);
/* Until api_free() or the answer: complete_cancel() when its caller hangs up. */
void api_job_hear_hangup(struct api_job *job);
/* No more answers; completions are cancelled.  Jobs end by themselves. */
void api_job_close_all(struct api *api);

/* api.c; true: it has some, and is answered. */
bool api_has_fields(struct httpd_call *call);
/* Parameters but these (ends with NULL). */
bool api_has_params(struct httpd_call *call, const char *const *but);
/* None at all is fine. */
extern const char *const api_no_params[];

#endif
