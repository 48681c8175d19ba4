/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* thread: what pthread needs several calls for. */
#ifndef LAMINA_BASE_THREAD_H
#define LAMINA_BASE_THREAD_H

#include <pthread.h>

/* Runs fn(arg) on a thread that nobody joins.  -EAGAIN and others: none was made. */
int thread_detached(void *(*fn)(void *), void *arg);

/* One whose pthread_cond_timedwait() goes by CLOCK_MONOTONIC. */
void thread_cond_init(pthread_cond_t *cond);

/*
 * The calling thread, and those that it or a child of it starts from now on, are to run soon and
 * need little: one that wakes need not wait until a busy thread's turn of some milliseconds is
 * over, and has itself turns of a tenth of one.  Does nothing before Linux 6.12, and nothing to
 * a thread that somebody gave another policy (chrt(1)).
 */
void thread_be_prompt(void);

#endif
