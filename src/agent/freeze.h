/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * freeze: cgroups that the agent holds still, and lets go.  From any thread.
 */
#ifndef LAMINA_AGENT_FREEZE_H
#define LAMINA_AGENT_FREEZE_H

#include <jansson.h>
#include <stdatomic.h>

#include "store/base/err.h"

#define FREEZE_MAX 16			/* cgroups at a time */
#define FREEZE_WAIT_MS 30000		/* for one to be frozen */
#define FREEZE_HOLD_MS (10 * 60000)	/* then it thaws by itself */

struct freeze;

/* How long in ms; 0: as above. */
int freeze_new(int wait_ms, int hold_ms, struct freeze **ret, struct err *err);

/*
 * Takes up what an agent before this one froze and, as it was killed, did not thaw: it is held
 * for as long as it would have been.  What another one has frozen that lives is left.  Appends
 * the names to the array `ret`.
 */
void freeze_adopt(struct freeze *f, json_t *ret);

/* Lets go of what is frozen.  NULL is fine. */
void freeze_free(struct freeze *f);

/*
 * Freezes `name` and waits until it is.  One that is frozen stays so, and is held anew.  After
 * a failure it runs.  -EINVAL: a bad name, or the agent is in it; -ENOENT; -EBUSY: another call
 * is about to freeze it, or FREEZE_MAX are; -ETIMEDOUT; -ECANCELED: *cancelled (or NULL) became
 * true; -ENOTSUP: it has no freezer.
 */
int freeze_begin(struct freeze *f, const char *name, const atomic_bool *cancelled,
		 struct err *err);

/*
 * Thaws `name`, or all where it is NULL, and appends what was thawed to the array `ret`.  A
 * cgroup that is frozen is thawed whoever froze it; one that runs, or has gone, is not listed.
 * Goes on after a failure, and returns the first one.
 */
int freeze_end(struct freeze *f, const char *name, json_t *ret, struct err *err);

/* An array of those frozen now; NULL: no memory. */
json_t *freeze_list(struct freeze *f);

/*
 * Readable when one has been held for too long; freeze_expire() then thaws it, and puts the names
 * of those into `ret`.
 */
int freeze_fd(const struct freeze *f);
void freeze_expire(struct freeze *f, json_t *ret);

#endif
