/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * job: work that blocks, each on a thread of its own, for a call that is answered with what it
 * gives.
 *
 * There is a limit to how many run: 503.  Some kinds run one at a time: 409.  What runs is told
 * to stop (`cancelled`) when its caller hangs up, or it has taken too long.  All functions are
 * for the thread of the server's loop.
 */
#ifndef LAMINA_AGENT_JOB_H
#define LAMINA_AGENT_JOB_H

#include <stdatomic.h>

#include "src/rpc/httpd.h"

#define JOB_MAX 8	/* that run; urgent ones may be twice as many */

struct job_kind {
	const char *name;	/* for sentences, as in "collapse" */
	bool alone;		/* one of it at a time */
	bool urgent;
	int max_ms;		/* then it is cancelled */
	/* On the job's thread; `body` is an object.  *ret is the job's. */
	int (*run)(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
		   struct err *err);
	/* It went well, but nobody hears of that; or NULL.  On the loop's thread. */
	void (*unheard)(void *ctx, const json_t *ret);
};

struct jobs;

/* Before httpd_run(); `ctx` is what kinds get. */
int job_new(struct httpd *h, void *ctx, struct jobs **ret, struct err *err);

/* Answers the call, now or later. */
void job_start(struct jobs *jobs, struct httpd_call *call, const struct job_kind *kind);

/* How many run.  After the loop has ended: from any thread. */
unsigned job_count(const struct jobs *jobs);

/* When nothing runs, and before the server is freed. */
void job_free(struct jobs *jobs);

/* The HTTP status that an error is answered with. */
int job_status(int rc);

#endif
