/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * work: completions under way, each on a thread that waits for its pager's answer.
 *
 * What a pager answered is an outcome, never an error of these functions.  All
 * of them are called by one thread.
 */
#ifndef LAMINA_GRADUATE_WORK_H
#define LAMINA_GRADUATE_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

struct work;

enum work_outcome {
	WORK_GRADUATED,
	WORK_ALREADY,		/* it had graduated before */
	WORK_GONE,		/* there is no such session any more, or no guest */
	WORK_WAITING,		/* for its hypervisor */
	WORK_CANCELLED,		/* by a pause of the guest, or by work_cancel() */
	WORK_MEMORY,		/* too little of it */
	WORK_UNREADABLE,	/* the memfile */
	WORK_TIMEOUT,
	WORK_UNREACHABLE,	/* the pager */
	WORK_REFUSED,		/* another answer */
	WORK_NOUTCOMES
};

/* Texts are borrowed until work_start() returns. */
struct work_order {
	const char *pager;	/* the socket */
	const char *version;
	const char *id;
	uint64_t number;
	uint64_t timeout_ms;
	uint64_t rate;
	uint64_t min_available;
	double max_pressure;
};

struct work_result {
	char *pager;
	char *version;
	char *id;
	uint64_t number;
	enum work_outcome outcome;
	uint64_t pages;		/* that were populated, by all attempts so far */
	uint64_t bytes;
	double seconds;
	struct err err;		/* a sentence, where it has not graduated */
};

int work_new(struct work **ret, struct err *err);
/* Cancels what runs, and waits for it. */
void work_free(struct work *w);

int work_start(struct work *w, const struct work_order *order, struct err *err);

/* How many were started and not taken. */
size_t work_running(const struct work *w);

/* Readable when there may be something to take. */
int work_fd(const struct work *w);

/* The next that has ended; false: none has.  Then `ret` is for work_result_fini(). */
bool work_take(struct work *w, struct work_result *ret);
void work_result_fini(struct work_result *result);

/* Ends all: their connections are closed, the sessions serve on.  Nothing starts any more. */
void work_cancel(struct work *w);

/* A word: "graduated", "timeout", ... */
const char *work_word(enum work_outcome outcome);

/* Whether the session is no longer paged: there is nothing to try again. */
bool work_is_over(enum work_outcome outcome);

/*
 * Tells an outdated pager to take no more sessions and to exit with its last one; one
 * too old for that takes no more sessions.  -errno with a sentence.
 */
int work_drain(const char *pager, int timeout_ms, struct err *err);

#endif
