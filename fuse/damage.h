/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * damage: one log line for each place that could not be read, however often
 * somebody asks for it, and not too many lines a minute.
 */
#ifndef LAMINA_FUSE_DAMAGE_H
#define LAMINA_FUSE_DAMAGE_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define DAMAGE_REMEMBERED 256	/* places */
#define DAMAGE_LINES 20		/* in a period */
#define DAMAGE_PERIOD 60	/* seconds */

struct damage {
	pthread_mutex_t lock;
	/* under lock from here on */
	uint64_t seen[DAMAGE_REMEMBERED];	/* hashes of sentences; a ring */
	unsigned next;
	time_t period;		/* when it began */
	unsigned lines;		/* logged in it */
	uint64_t suppressed;	/* not logged in it */
};

void damage_init(struct damage *damage);
void damage_fini(struct damage *damage);

/* Logs the sentence unless its place was logged already.  Any thread. */
void damage_log(struct damage *damage, const char *sentence);

#endif
