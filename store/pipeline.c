/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Slots are a ring.  Items are numbered as they are named; item i is in slot
 * i % nslots.
 *
 *	written <= placed <= named <= written + nslots
 *
 *	NAMED -read-> READ -place-> PLACED -pack-> PACKED -write-> (slot free)
 *	                     \________________________/
 *
 * While a stage runs its item is BUSY and the lock is not held.  place and
 * write run for the item that their counter names, and the counter moves when
 * they are done: an item that is BUSY there keeps others out.  A worker sleeps
 * only when no item can move, so some other worker is inside a stage and will
 * wake it.
 */
#include "store/pipeline.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum state { FREE, BUSY, NAMED, READ, PLACED, PACKED };

struct pipeline {
	const struct pipeline_ops *ops;
	void *ctx;
	unsigned nslots;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	/* under lock from here on */
	enum state *state;		/* of each slot */
	uint64_t named;
	uint64_t placed;
	uint64_t written;
	bool naming;
	bool ended;			/* there are no more items */
	int error;
	struct err *err;
};

struct worker {
	struct pipeline *p;
	unsigned number;
	pthread_t thread;
};

struct work {
	enum { NOTHING, NAME, DO_READ, PLACE, PACK, WRITE } stage;
	unsigned slot;
};

static unsigned slot_of(const struct pipeline *p, uint64_t item)
{
	return (unsigned)(item % p->nslots);
}

/* The oldest item in `state`, or `named`. */
static uint64_t oldest_locked(const struct pipeline *p, enum state state)
{
	uint64_t i = p->written;

	while (i < p->named && p->state[slot_of(p, i)] != state)
		i++;
	return i;
}

static bool stands_locked(const struct pipeline *p, uint64_t item, enum state state)
{
	return item < p->named && p->state[slot_of(p, item)] == state;
}

static struct work choose_locked(const struct pipeline *p)
{
	uint64_t i;

	if (stands_locked(p, p->written, PACKED))
		return (struct work){WRITE, slot_of(p, p->written)};
	i = oldest_locked(p, PLACED);
	if (i < p->named)
		return (struct work){PACK, slot_of(p, i)};
	if (stands_locked(p, p->placed, READ))
		return (struct work){PLACE, slot_of(p, p->placed)};
	/* Quickly done, and then no other worker finds nothing to read. */
	if (!p->ended && !p->naming && p->named < p->written + p->nslots)
		return (struct work){NAME, slot_of(p, p->named)};
	i = oldest_locked(p, NAMED);
	if (i < p->named)
		return (struct work){DO_READ, slot_of(p, i)};
	return (struct work){NOTHING, 0};
}

static void start_locked(struct pipeline *p, struct work w)
{
	if (w.stage == NAME)
		p->naming = true;
	else
		p->state[w.slot] = BUSY;
}

static int run(struct pipeline *p, struct work w, unsigned worker, struct err *err)
{
	switch (w.stage) {
	case NAME:
		return p->ops->name(p->ctx, w.slot, err);
	case DO_READ:
		return p->ops->read(p->ctx, w.slot, worker, err);
	case PLACE:
		return p->ops->place(p->ctx, w.slot, err);
	case PACK:
		return p->ops->pack(p->ctx, w.slot, worker, err);
	default:
		return p->ops->write(p->ctx, w.slot, err);
	}
}

static void named_locked(struct pipeline *p, unsigned slot, bool more)
{
	p->naming = false;
	p->ended = !more;
	if (more) {
		p->state[slot] = NAMED;
		p->named++;
	}
}

static void finish_locked(struct pipeline *p, struct work w, int rc)
{
	switch (w.stage) {
	case NAME:
		named_locked(p, w.slot, rc > 0);
		break;
	case DO_READ:
		p->state[w.slot] = READ;
		break;
	case PLACE:
		p->state[w.slot] = rc > 0 ? PLACED : PACKED;
		p->placed++;
		break;
	case PACK:
		p->state[w.slot] = PACKED;
		break;
	default:
		p->state[w.slot] = FREE;
		p->written++;
	}
}

static void fail_locked(struct pipeline *p, int rc, const struct err *err)
{
	if (p->error)
		return;
	p->error = rc;
	if (p->err)
		*p->err = *err;
}

static bool done_locked(const struct pipeline *p)
{
	return p->error || (p->ended && p->written == p->named);
}

static void *work(void *arg)
{
	struct worker *me = arg;
	struct pipeline *p = me->p;
	struct err err = {{0}};

	pthread_mutex_lock(&p->lock);
	while (!done_locked(p)) {
		struct work w = choose_locked(p);
		int rc;

		if (w.stage == NOTHING) {
			pthread_cond_wait(&p->moved, &p->lock);
			continue;
		}
		start_locked(p, w);
		pthread_mutex_unlock(&p->lock);
		rc = run(p, w, me->number, &err);
		pthread_mutex_lock(&p->lock);
		if (rc < 0)
			fail_locked(p, rc, &err);
		else
			finish_locked(p, w, rc);
		pthread_cond_broadcast(&p->moved);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void run_workers(struct pipeline *p, unsigned nthreads)
{
	struct worker workers[PIPELINE_THREADS_MAX];
	unsigned n = 1;

	workers[0] = (struct worker){.p = p};
	while (n < nthreads && n < PIPELINE_THREADS_MAX) {
		workers[n] = (struct worker){.p = p, .number = n};
		if (pthread_create(&workers[n].thread, NULL, work, &workers[n]) != 0)
			break;
		n++;
	}
	(void)work(&workers[0]);
	while (--n > 0)
		pthread_join(workers[n].thread, NULL);
}

int pipeline_run(const struct pipeline_ops *ops, void *ctx, unsigned nslots, unsigned nthreads,
		 struct err *err)
{
	struct pipeline p = {.ops = ops, .ctx = ctx, .nslots = nslots, .err = err};

	p.state = calloc(nslots, sizeof(*p.state));
	if (!p.state)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&p.lock, NULL);
	pthread_cond_init(&p.moved, NULL);
	run_workers(&p, nthreads);
	pthread_cond_destroy(&p.moved);
	pthread_mutex_destroy(&p.lock);
	free(p.state);
	return p.error;
}
