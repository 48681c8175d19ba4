/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What bulk.c and bulk-place.c share. */
#ifndef LAMINA_PAGER_BULK_PRIVATE_H
#define LAMINA_PAGER_BULK_PRIVATE_H

#include <pthread.h>

#include "src/pager/bulk.h"
#include "src/pager/session.h"

/* STEP_LEFT: the owner could not read it without waiting; a thread is to. */
enum step { STEP_FREE, STEP_LEFT, STEP_READING, STEP_READY };

struct bulk {
	struct session *s;
	struct source *source;
	struct bulk_limits limits;
	uint64_t buf_len;
	unsigned cores;			/* this process may use */
	_Atomic unsigned refs;

	pthread_mutex_t lock;
	pthread_cond_t ending;		/* of those that wait for a time */
	pthread_cond_t work;		/* of those that found nothing to read */
	/* All below under lock. */
	bool stop;
	unsigned idle;			/* threads that wait for `work` */
	bool cold;			/* what was tried last is not cached */
	unsigned copying;		/* threads that need a core: bulk_may_copy() */
	bool owner_reads;		/* a block, which he may leave to the threads */
	bool asking;			/* one thread asks the guard */
	bool looking;			/* one thread asks the file for the next run */
	uint32_t region;		/* the place: in this region */
	uint64_t pos;			/* so many bytes in */
	uint64_t run_end;		/* of the same region; at most pos: not known */
	bool run_hole;
	uint64_t warm_end;		/* of the same region: up to where the kernel was told */
	uint64_t gone;			/* bytes of the regions before */
	uint64_t next_number;
	uint64_t due_ns;		/* by the rate, of what is read next */
	uint64_t guard_ns;		/* when the guard was asked last */
	uint64_t held_ns;		/* since when it holds; 0: it does not */
	struct err held_why;
	int code;
	struct err err;
	struct bulk_block block[BULK_BLOCKS];
};

/* The region in which the place lies; NULL: it has gone through all. */
static inline const struct region *bulk_region(const struct bulk *b)
{
	const struct state_head *head = b->s->state->head;

	return b->region < head->nregions ? &head->regions[b->region] : NULL;
}

/* Whether there is a limit to its pace: then the owner takes none of the reading himself. */
bool bulk_has_pace(const struct bulk *b);

/* Under lock from here on. */

/* Whether a thread may copy what is cached, where so many do. */
bool bulk_may_copy(const struct bulk *b, unsigned copying);

static inline bool bulk_is_ending(const struct bulk *b)
{
	return b->stop || b->code;
}

/* Until `ns`, or the end. */
void bulk_wait_until(struct bulk *b, uint64_t ns);
/* So long, unless it is to stop. */
void bulk_wait_ms(struct bulk *b, uint64_t ms);
/*
 * Until somebody wakes this thread: one that finds more than it takes wakes the next, so that no
 * thread is woken in vain, and none is forgotten.
 */
void bulk_wait_work(struct bulk *b);
void bulk_wake_one(struct bulk *b);
void bulk_wake_idle(struct bulk *b);	/* all of them */
/* The first failure counts. */
void bulk_fail(struct bulk *b, int code, const struct err *err);

/*
 * What is to be read next (bulk_place_claim() waits for it, and may leave the lock), and is
 * the caller's then: STEP_READING.  NULL: nothing any more, or, for the owner, nothing at once.
 */
struct bulk_block *bulk_place_claim(struct bulk *b);
struct bulk_block *bulk_place_claim_now(struct bulk *b);

/* So much of a block that was claimed is not to be populated, and does not count for the rate. */
void bulk_place_give_back(struct bulk *b, uint64_t len);

/* Without lock: fn(b, arg), up to TRIES times, with the file opened again in between. */
typedef int bulk_try_fn(struct bulk *b, void *arg);
int bulk_try(struct bulk *b, bulk_try_fn *fn, void *arg);
int bulk_unreadable(struct err *err, const struct bulk *b, uint64_t off, int code);

#endif
