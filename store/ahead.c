/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each stream has a thread of its own while it lasts: ahead_want() starts it,
 * and when nothing has been wanted for LINGER_MS it ends.
 *
 *	!running	next and end mean nothing to anybody
 *	running		the thread loads units from `next` to `end`, then waits
 *	stop		set once, by ahead_fini(), which waits for !running
 *
 * A stream is served by requests whose work comes unevenly: a MiB of zeros
 * costs nothing and a MiB of data a millisecond.  Loading what lies ahead
 * fills the cores that are idle meanwhile, and only those: `busy` counts the
 * demands and the loads of the process, and a load gives way when there are as
 * many as cores.  What gave way is tried again at the next ahead_want().
 */
#include "store/ahead.h"

#include <time.h>
#include <unistd.h>

#include "store/base/thread.h"

#define LINGER_MS 100
#define NS_PER_S 1000000000L

static int busy;			/* atomic */
static int cores;
static pthread_once_t cores_once = PTHREAD_ONCE_INIT;

static void count_cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	cores = n > 0 && n < 4096 ? (int)n : 1;
}

void ahead_demand_begin(void)
{
	__atomic_add_fetch(&busy, 1, __ATOMIC_RELAXED);
}

void ahead_demand_end(void)
{
	__atomic_sub_fetch(&busy, 1, __ATOMIC_RELAXED);
}

void ahead_init(struct ahead *a, void (*load)(void *ctx, uint64_t unit), void *ctx)
{
	*a = (struct ahead){.load = load, .ctx = ctx};
	pthread_mutex_init(&a->lock, NULL);
	thread_cond_init(&a->changed);
	pthread_once(&cores_once, count_cores);
}

static bool take_core(void)
{
	if (__atomic_add_fetch(&busy, 1, __ATOMIC_RELAXED) <= cores)
		return true;
	ahead_demand_end();
	return false;
}

/* Returns whether there was anything to wait for. */
static bool wait_locked(struct ahead *a)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LINGER_MS * (NS_PER_S / 1000);
	until.tv_sec += until.tv_nsec / NS_PER_S;
	until.tv_nsec %= NS_PER_S;
	return pthread_cond_timedwait(&a->changed, &a->lock, &until) == 0;
}

static void load_next_locked(struct ahead *a)
{
	uint64_t unit = a->next++;

	pthread_mutex_unlock(&a->lock);
	a->load(a->ctx, unit);
	ahead_demand_end();
	pthread_mutex_lock(&a->lock);
}

static void *work(void *arg)
{
	struct ahead *a = arg;

	pthread_mutex_lock(&a->lock);
	while (!a->stop) {
		if (a->next < a->end && take_core())
			load_next_locked(a);
		else if (!wait_locked(a))
			break;
	}
	a->running = false;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

void ahead_want(struct ahead *a, uint64_t from, uint64_t end)
{
	pthread_mutex_lock(&a->lock);
	if (a->next < from || a->next > end)
		a->next = from;
	a->end = end;
	if (a->running)
		pthread_cond_broadcast(&a->changed);
	else
		a->running = thread_detached(work, a) == 0;
	pthread_mutex_unlock(&a->lock);
}

void ahead_fini(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_broadcast(&a->changed);
	while (a->running)
		pthread_cond_wait(&a->changed, &a->lock);
	pthread_mutex_unlock(&a->lock);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
}
