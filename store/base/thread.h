/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* thread: what pthread needs several calls for. */
#ifndef LAMINA_BASE_THREAD_H
#define LAMINA_BASE_THREAD_H

#include <pthread.h>

/* Runs fn(arg) on a thread that nobody joins.  -EAGAIN and others: none was made. */
int thread_detached(void *(*fn)(void *), void *arg);

/* One whose pthread_cond_timedwait() goes by CLOCK_MONOTONIC. */
void thread_cond_init(pthread_cond_t *cond);

#endif
