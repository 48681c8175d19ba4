/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/thread.h"

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PROMPT_NS 100000	/* the least that the kernel grants */

/* struct sched_attr of sched_setattr(2): not every C library has it, and <linux/sched/types.h> is
   not to be had beside <sched.h>. */
struct attr {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;		/* ns; of SCHED_OTHER: its slice */
	uint64_t deadline;
	uint64_t period;
};

int thread_detached(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc = pthread_attr_init(&attr);

	if (rc)
		return -rc;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, fn, arg);
	(void)pthread_attr_destroy(&attr);
	return -rc;
}

void thread_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
}

/* Whoever wakes with a shorter slice than the one that runs goes before it (sched_setattr(2)). */
void thread_be_prompt(void)
{
	struct attr attr;

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) < 0 ||
	    attr.policy != SCHED_OTHER)
		return;
	attr.runtime = PROMPT_NS;
	(void)syscall(SYS_sched_setattr, 0, &attr, 0);
}
