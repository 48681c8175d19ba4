/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pause-private: shared by pause.c, pause-step.c and pause-ask.c; nobody else's. */
#ifndef LAMINA_HOST_PAUSE_PRIVATE_H
#define LAMINA_HOST_PAUSE_PRIVATE_H

#include <limits.h>

#include "src/host/agent.h"
#include "src/host/pause-sync.h"
#include "src/host/pause.h"
#include "store/base/aside.h"

struct pause_pipeline {
	const struct pause_plan *plan;
	const struct pause_settings *set;
	struct pause_report *report;
	struct hyper_target to;
	struct hyper *hyper;
	struct hyper_facts facts;
	struct agent *agent;
	int agent_code;			/* of opening it, if that failed */
	struct err agent_err;
	struct aside files;
	struct pause_sync_seen seen;
	char memfile[PATH_MAX], state[PATH_MAX];
	bool based;			/* a diff can be relied on */
	struct err why;			/* not */
	bool may_be_frozen;
	bool may_be_paused;
	bool was_told;			/* of proactive compaction */
	uint64_t paused_us;
};

/* How long something may take. */
struct pause_limit {
	int ms;			/* 0: for ever */
	const char *what;	/* "the freeze": for the sentence of one that takes longer */
	const char *key;	/* what says how long, or NULL */
};

/* A step, and how it is made. */
struct pause_work {
	enum pause_id id;
	int (*run)(struct pause_pipeline *p, struct pause_step *step, struct err *err);
	struct pause_limit limit;
};

/* pause-step.c */

void pause_step_init(const struct pause_plan *plan);
bool pause_step_told(void);			/* to stop */
void pause_step_heed(bool heed);		/* being told to stop; true at first */
bool pause_step_given_up(void);			/* told to stop although it does not heed it */
void pause_step_limit(struct pause_limit limit);	/* of what runs, from now on */
uint64_t pause_step_end(void);			/* when that is over; clock_ms()'s */
bool pause_step_spent(void);			/* that is over */
/* Whoever waits asks this: it is over, or we were told to stop. */
bool pause_step_over(void);
/*
 * An error that comes of the limit has its sentence: what took too long, and what allows more; and
 * is -ETIMEDOUT.  Others are left.
 */
int pause_step_late(int rc, struct err *err);
/* What an error of a step comes to. */
enum pause_outcome pause_step_outcome(int rc);
/* Makes one and notes what came of it.  -ECANCELED only where we were told to stop. */
int pause_step_run(struct pause_pipeline *p, const struct pause_work *what, struct err *err);
void pause_step_skip(struct pause_pipeline *p, enum pause_id id, const char *why);

/* pause-ask.c */

struct pause_limit pause_ask_limit(const struct pause_pipeline *p);	/* of what is not work */

/* Opens it, once: who did not answer is not waited for by each step. */
int pause_ask_agent(struct pause_pipeline *p, struct err *err);
/* -ENOTSUP: it has not that feature. */
int pause_ask_feature(struct pause_pipeline *p, const char *feature, struct err *err);
/* The answer is the step's detail. */
int pause_ask_for(struct pause_pipeline *p, struct pause_step *step, const struct agent_ask *what,
		  struct err *err);
void pause_ask_warn(struct pause_pipeline *p, const char *sentence);
/* freeze, collapse, reclaim, drain, as far as they are asked for.  -ECANCELED alone. */
int pause_ask_all(struct pause_pipeline *p, struct err *err);

#endif
