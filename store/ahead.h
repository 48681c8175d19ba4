/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ahead: does for a reader in sequence, on a core that nobody else has work
 * for, what its next requests will ask for.  Any thread.
 */
#ifndef LAMINA_AHEAD_H
#define LAMINA_AHEAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct ahead {
	void (*load)(void *ctx, uint64_t unit);
	void *ctx;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock from here on */
	bool running;			/* there is a thread */
	bool stop;
	uint64_t next, end;		/* units still to be loaded */
};

/* load() is called without a lock, for one unit at a time; it cannot fail. */
void ahead_init(struct ahead *ahead, void (*load)(void *ctx, uint64_t unit), void *ctx);
/* Waits for a load() that is under way. */
void ahead_fini(struct ahead *ahead);
/*
 * Units [from, end) will be asked for soon.  Those that were wanted before and
 * lie before `from` are forgotten; those that were loaded are not loaded again.
 * Without a thread or memory nothing happens.
 */
void ahead_want(struct ahead *ahead, uint64_t from, uint64_t end);

/* Around what somebody waits for: as long as all cores are at that, no unit is begun. */
void ahead_demand_begin(void);
void ahead_demand_end(void);

#endif
