/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/ahead.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <pthread.h>
#include <time.h>

#define UNITS_MAX 64
#define DEADLINE_S 30

/* Remembers what was loaded; `held` keeps a load from ending. */
struct reader {
	struct ahead ahead;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t unit[UNITS_MAX];
	int loads, done;
	bool held;
};

static void load(void *ctx, uint64_t unit)
{
	struct reader *r = ctx;

	pthread_mutex_lock(&r->lock);
	r->unit[r->loads++ % UNITS_MAX] = unit;
	pthread_cond_broadcast(&r->changed);
	while (r->held)
		pthread_cond_wait(&r->changed, &r->lock);
	r->done++;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

static void reader_init(struct reader *r)
{
	*r = (struct reader){.lock = PTHREAD_MUTEX_INITIALIZER,
			     .changed = PTHREAD_COND_INITIALIZER};
	ahead_init(&r->ahead, load, r);
}

static bool wait_for(struct reader *r, const int *what, int n)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_S;
	pthread_mutex_lock(&r->lock);
	while (*what < n && rc == 0)
		rc = pthread_cond_timedwait(&r->changed, &r->lock, &until);
	pthread_mutex_unlock(&r->lock);
	return rc == 0;
}

static void hold(struct reader *r, bool held)
{
	pthread_mutex_lock(&r->lock);
	r->held = held;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

static void nap_ms(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static bool are(const struct reader *r, uint64_t first, int from, int n)
{
	for (int i = 0; i < n; i++)
		if (r->unit[from + i] != first + (uint64_t)i)
			return false;
	return true;
}

static void in_order_and_once(void)
{
	struct reader r;

	reader_init(&r);
	ahead_want(&r.ahead, 3, 7);
	ok(wait_for(&r, &r.done, 4), "four units are loaded");
	ok(are(&r, 3, 0, 4), "in order, from the first");
	ahead_want(&r.ahead, 5, 9);
	ok(wait_for(&r, &r.done, 6), "a stretch that overlaps: two more");
	ok(are(&r, 7, 4, 2), "and only those that were not loaded");
	ahead_want(&r.ahead, 20, 22);
	ok(wait_for(&r, &r.done, 8) && are(&r, 20, 6, 2),
	   "the reader overtook: what it passed is left out");
	ahead_want(&r.ahead, 1, 3);
	ok(wait_for(&r, &r.done, 10) && are(&r, 1, 8, 2), "the reader went back: from there");
	ahead_fini(&r.ahead);
	is_int(r.done, 10, "no unit twice");
}

/* The thread has ended by then, unless the machine is slow; both are to work. */
static void after_a_pause(void)
{
	struct reader r;

	reader_init(&r);
	ahead_want(&r.ahead, 0, 1);
	ok(wait_for(&r, &r.done, 1), "one unit");
	nap_ms(300);
	ahead_want(&r.ahead, 1, 2);
	ok(wait_for(&r, &r.done, 2) && r.unit[1] == 1, "and the next after a pause");
	ahead_fini(&r.ahead);
}

static int cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (int)n : 1;
}

static void gives_way(void)
{
	struct reader r;

	reader_init(&r);
	for (int i = 0; i < cores(); i++)
		ahead_demand_begin();
	ahead_want(&r.ahead, 0, 2);
	nap_ms(50);
	pthread_mutex_lock(&r.lock);
	is_int(r.loads, 0, "nothing is loaded while every core has a demand");
	pthread_mutex_unlock(&r.lock);
	ahead_demand_end();
	ahead_want(&r.ahead, 0, 2);
	ok(wait_for(&r, &r.done, 2), "but when one is free");
	for (int i = 1; i < cores(); i++)
		ahead_demand_end();
	ahead_fini(&r.ahead);
}

static void *let_go(void *arg)
{
	nap_ms(50);
	hold(arg, false);
	return NULL;
}

static void fini_waits(void)
{
	pthread_t thread;
	struct reader r;

	reader_init(&r);
	hold(&r, true);
	ahead_want(&r.ahead, 0, 50);
	ok(wait_for(&r, &r.loads, 1), "a load is under way");
	pthread_create(&thread, NULL, let_go, &r);
	ahead_fini(&r.ahead);
	is_int(r.done, r.loads, "the end waits for it");
	pthread_join(thread, NULL);
}

static void never_used(void)
{
	struct reader r;

	reader_init(&r);
	ahead_fini(&r.ahead);
	is_int(r.loads, 0, "nobody wanted anything");
}

int main(void)
{
	in_order_and_once();
	after_a_pause();
	gives_way();
	fini_waits();
	never_used();
	return tap_done();
}
