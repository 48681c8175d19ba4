/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sessions: all of a worker's, by bag and by id.  Any thread.  Whoever gets a
 * session from here has a reference and gives it back with session_unref().
 *
 * An id is in use while its session waits or serves.  A session that has ended
 * stays, so that one can ask what became of it, until another of its id is made or
 * SESSIONS_ENDED_MAX others have ended since.
 */
#ifndef LAMINA_PAGER_SESSIONS_H
#define LAMINA_PAGER_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/pager/metrics.h"
#include "src/pager/session.h"

#define SESSIONS_MAX 16384	/* that have not ended */
#define SESSIONS_ENDED_MAX 1024

struct sessions;

struct sessions *sessions_new(const struct session_env *env);
void sessions_free(struct sessions *t);

/*
 * Makes one and starts it.  Takes what is in `setup` on success.
 *   -EEXIST	the id is in use
 *   -ESHUTDOWN	no new sessions any more (sessions_drain())
 *   -EUSERS	too many
 *   others	as session_new(): the memfile, the socket, a hold, the trace
 */
int sessions_create(struct sessions *t, struct setup *setup, struct session **ret,
		    struct err *err);
/* Takes up one that was kept (keep.h).  Takes the descriptors of `msg`, always. */
int sessions_adopt(struct sessions *t, struct keep_msg *msg, struct err *err);
/* The tally (tally.h) of former workers, before any session.  Takes `fd` on success. */
int sessions_adopt_tally(struct sessions *t, int fd, struct err *err);
/*
 * Starts all that were adopted, and forgets the one that was just being forgotten.
 * A tally that was not adopted is kept from now on.
 */
void sessions_start(struct sessions *t);

struct session *sessions_by_bag(struct sessions *t, uint32_t bag);
struct session *sessions_by_id(struct sessions *t, const char *id);
/* All, oldest first: an array of references (free() it), *ret_n of them; NULL: -ENOMEM. */
struct session **sessions_all(struct sessions *t, size_t *ret_n);

/*
 * Ends one that waits, or has ended (then it is forgotten).  One that serves a guest
 * that lives: -EBUSY, or with `force` the stop policy is applied to the guest (its
 * session ends when the guest has): 1.  Without a session of that id, that one has
 * graduated is forgotten.  -ENOENT: that is not known either.
 */
int sessions_close(struct sessions *t, const char *id, bool force, struct err *err);

/*
 * Adds up what all of them are and have counted, those that were forgotten
 * included.  -ENOMEM.
 */
int sessions_measure(struct sessions *t, struct metrics *ret);

/* How many have not ended. */
size_t sessions_count(struct sessions *t);
/*
 * From now on nothing new; with `exit` the pager is to end with the last of them
 * (whoever drains sees to that).  Neither is ever taken back.  Returns how many have not ended.
 */
size_t sessions_drain(struct sessions *t, bool exit);
bool sessions_draining(const struct sessions *t);
bool sessions_exiting(const struct sessions *t);

/* Each session's care (care.h); when it is to be called again in ms, 0: not for now. */
unsigned sessions_tick(struct sessions *t);

#endif
