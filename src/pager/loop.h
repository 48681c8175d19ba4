/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop: the serving threads.  All of them wait on one epoll; an event is given
 * to one of them and its descriptor stays silent until it is armed again, so
 * that a turn has one thread and a flooded session goes behind the others.
 * When nothing is ready they take jobs: urgent ones, then the others, first in,
 * first out, and of these a bounded number at once, so that there is always a
 * thread left for the next event.
 *
 * A thread may sleep in a callback (it reads a memfile): there are more of
 * them than cores.  It says so with loop_away(): when many are away, others take their
 * places, up to LOOP_THREADS_MAX in all.  A job that is away for long is none of the
 * bounded number any more, up to LOOP_STRAYS_MAX of them.  So whoever has no need to
 * sleep is served, and his jobs done, even where a daemon behind memfiles hangs; and
 * one that is only slow does not have threads without end.
 */
#ifndef LAMINA_PAGER_LOOP_H
#define LAMINA_PAGER_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"

struct loop;

#define LOOP_BUF_LEN (UINT64_C(2) << 20)
#define LOOP_THREADS_MAX 1024
#define LOOP_STRAYS_MAX 128

/* What each thread has for itself. */
struct hand {
	struct loop *loop;
	uint8_t *buf;		/* LOOP_BUF_LEN, aligned to it; resident where it was used */
	uint64_t buf_of;	/* whose bytes they are: a number never used twice; 0: none */
	uint64_t buf_off;
	uint64_t buf_len;
};

struct loop_job {
	struct loop_job *next;
	bool queued;
	bool urgent;		/* somebody waits for it: not one of the bounded number */
};

struct loop_ops {
	/* The descriptor that was watched with `tag` has `events` (epoll(7)). */
	void (*ready)(void *ctx, struct hand *hand, uint64_t tag, uint32_t events);
	/* A job's turn; it may push itself again. */
	void (*work)(void *ctx, struct hand *hand, struct loop_job *job);
	/* The time of loop_tick_in() has passed. */
	void (*tick)(void *ctx, struct hand *hand);
};

/* `threads` 0: as many as suits the cores.  They start at once. */
int loop_new(unsigned threads, const struct loop_ops *ops, void *ctx, struct loop **ret,
	     struct err *err);
/* Ends the threads; jobs that wait are dropped. */
void loop_free(struct loop *loop);

/* For the next event only. */
int loop_watch(struct loop *loop, int fd, uint64_t tag, uint32_t events);
int loop_rearm(struct loop *loop, int fd, uint64_t tag, uint32_t events);
void loop_unwatch(struct loop *loop, int fd);

/* Queues a job, unless it is queued.  Returns whether it was queued now. */
bool loop_push(struct loop *loop, struct loop_job *job);

/* ops->tick in at most `ms`; an earlier one stays. */
void loop_tick_in(struct loop *loop, unsigned ms);

/* In a callback: this thread may sleep for as long as it likes, until loop_back(). */
void loop_away(struct loop *loop);
void loop_back(struct loop *loop);
/* Whether so many are away that this one should not leave: for a job that is earlier. */
bool loop_thin(struct loop *loop);

/* Whether every other thread sleeps. */
bool loop_alone(const struct loop *loop);

/* Whether no thread is free for the next event: a turn that can end then does. */
bool loop_busy(const struct loop *loop);

uint64_t loop_now_ns(void);	/* CLOCK_MONOTONIC */

#endif
