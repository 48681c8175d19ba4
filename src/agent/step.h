/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * step: one thing that may sit in the kernel for long (a sync, a compaction), done by a child that
 * is killed when its time is over, and then not waited for.
 *
 * While such a child has not ended, its step is `busy`: it is not started again.  Any
 * thread may call; the same step by two threads at once is busy for the second.
 */
#ifndef LAMINA_AGENT_STEP_H
#define LAMINA_AGENT_STEP_H

#include <stdatomic.h>
#include <stdint.h>

#include "store/base/err.h"

struct step {
	const char *name;	/* two steps of the same name are the same */
	/*
	 * In the child, which has no descriptor open: no malloc, no stdio, no locks.  0, or
	 * -errno and in `err` what could not be done, without the errno's own text.
	 */
	int (*fn)(const struct step *step, struct err *err);
	const char *path, *text;	/* fn's own */
};

enum step_result { STEP_DONE, STEP_FAILED, STEP_KILLED, STEP_BUSY };

struct step_outcome {
	enum step_result result;
	uint64_t elapsed_us;
	struct err err;		/* STEP_FAILED: why */
};

/*
 * Returns after `cap_ms` at the latest (and what a fork takes).  When *cancelled becomes
 * true, within 0.1 s: the child is then killed, too, and that is -ECANCELED.  Otherwise 0, and
 * *ret says how it went.
 */
int step_run(const struct step *step, unsigned cap_ms, const atomic_bool *cancelled,
	     struct step_outcome *ret);

/* "done", "failed", "killed", "busy" */
const char *step_name(enum step_result result);

/* Buries children that were killed and have ended since.  step_run() does that, too. */
void step_reap(void);

/* An fn: writes `text` to the file `path`, which is there. */
int step_write(const struct step *step, struct err *err);
/* An fn: sync(2). */
int step_sync(const struct step *step, struct err *err);

#endif
