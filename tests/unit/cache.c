/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/cache.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <pthread.h>

#define NTHREADS 8

/* Loads are counted; `slow` holds them until it is set free. */
struct world {
	struct cache *cache;
	pthread_mutex_t lock;
	pthread_cond_t go;
	bool slow;
	int loads, frees;
	int error;
};

static int world_load(void *ctx, uint64_t key, void *arg, void **ret_obj, size_t *ret_cost)
{
	struct world *w = ctx;
	uint64_t *obj = malloc(sizeof(*obj));
	int rc;

	(void)arg;
	if (!obj)
		return -ENOMEM;
	pthread_mutex_lock(&w->lock);
	w->loads++;
	while (w->slow)
		pthread_cond_wait(&w->go, &w->lock);
	rc = w->error;
	pthread_mutex_unlock(&w->lock);
	if (rc < 0) {
		free(obj);
		return rc;
	}
	*obj = key;
	*ret_obj = obj;
	*ret_cost = 10;
	return 0;
}

static void world_free(void *ctx, void *obj)
{
	struct world *w = ctx;

	pthread_mutex_lock(&w->lock);
	w->frees++;
	pthread_mutex_unlock(&w->lock);
	free(obj);
}

static const struct cache_ops ops = {world_load, world_free};

static void world_init(struct world *w, size_t budget)
{
	*w = (struct world){.lock = PTHREAD_MUTEX_INITIALIZER, .go = PTHREAD_COND_INITIALIZER};
	if (cache_new(&ops, w, budget, &w->cache) < 0)
		bail("no cache");
}

static void world_fini(struct world *w)
{
	cache_free(w->cache);
	is_int(w->frees, w->error ? 0 : w->loads, "all that was loaded was freed");
}

/* Gets and puts `key`; how many loads that took, or the error. */
static int touch(struct world *w, uint64_t key)
{
	struct cache_entry *e = NULL;
	int before = w->loads, rc = cache_get(w->cache, key, NULL, &e);

	if (rc < 0)
		return rc;
	if (*(uint64_t *)cache_obj(e) != key)
		bail("the cache gave another key's object");
	cache_put(w->cache, e);
	return w->loads - before;
}

static void test_hits_and_eviction(void)
{
	struct cache_stats st;
	struct world w;

	world_init(&w, 30);
	is_int(touch(&w, 0), 1, "key 0 is loaded");
	is_int(touch(&w, 0), 0, "and found");
	touch(&w, 1);
	touch(&w, 2);
	touch(&w, 0);
	touch(&w, 3);
	is_int(touch(&w, 0), 0, "what was used lately stays");
	is_int(touch(&w, 1), 1, "what was used longest ago went");
	cache_stats(w.cache, &st);
	is_int(st.cost, 30, "the budget holds");
	is_int(st.entries, 3, "three entries");
	is_int(st.evictions, 2, "two evictions");
	is_int(st.misses, 5, "five misses");
	is_int(st.hits, 3, "three hits");
	world_fini(&w);
}

static void test_references(void)
{
	struct cache_entry *e[5];
	struct cache_stats st;
	struct world w;

	world_init(&w, 20);
	for (uint64_t i = 0; i < 5; i++)
		if (cache_get(w.cache, i, NULL, &e[i]) < 0)
			bail("cannot get");
	cache_stats(w.cache, &st);
	is_int(st.cost, 50, "what is referenced exceeds the budget");
	for (int i = 0; i < 5; i++)
		cache_put(w.cache, e[i]);
	cache_stats(w.cache, &st);
	is_int(st.cost, 20, "until it is put");
	cache_put(w.cache, NULL);
	world_fini(&w);
}

static void test_drop(void)
{
	struct cache_entry *e = NULL;
	struct cache_stats st;
	struct world w;

	world_init(&w, 100);
	touch(&w, 7);
	cache_drop(w.cache, 7);
	cache_drop(w.cache, 8);
	is_int(touch(&w, 7), 1, "a dropped key is loaded again");
	if (cache_get(w.cache, 7, NULL, &e) < 0)
		bail("cannot get");
	cache_drop(w.cache, 7);
	is_int(*(uint64_t *)cache_obj(e), 7, "a holder keeps what it has");
	is_int(touch(&w, 7), 1, "others load");
	cache_put(w.cache, e);
	cache_stats(w.cache, &st);
	is_int(st.entries, 1, "one entry is left");
	world_fini(&w);
}

static void test_errors(void)
{
	struct cache_stats st;
	struct world w;

	world_init(&w, 100);
	w.error = -EIO;
	is_int(touch(&w, 1), -EIO, "a failed load is an error");
	is_int(touch(&w, 1), -EIO, "and is tried again");
	is_int(w.loads, 2, "by a second load");
	cache_stats(w.cache, &st);
	is_int(st.entries, 0, "nothing is kept");
	world_fini(&w);
	for (unsigned long n = 1; n <= 2; n++) {
		struct cache *c = NULL;

		fault_arm(FAULT_MALLOC, n, ENOMEM);
		is_int(cache_new(&ops, NULL, 1, &c), -ENOMEM, "no memory for a cache");
		fault_disarm();
	}
	world_init(&w, 100);
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(touch(&w, 1), -ENOMEM, "no memory for an entry");
	fault_disarm();
	world_fini(&w);
	cache_free(NULL);
}

static void *get_one(void *arg)
{
	struct world *w = arg;
	struct cache_entry *e = NULL;
	int rc = cache_get(w->cache, 42, NULL, &e);

	if (rc == 0 && *(uint64_t *)cache_obj(e) != 42)
		rc = -EBADMSG;
	cache_put(w->cache, e);
	return (void *)(intptr_t)rc;
}

/* All threads ask for one key while its load hangs; then the load ends. */
static void run_single_flight(struct world *w, int want)
{
	pthread_t threads[NTHREADS];
	struct cache_stats st;
	int good = 0;

	w->slow = true;
	for (int i = 0; i < NTHREADS; i++)
		if (pthread_create(&threads[i], NULL, get_one, w) != 0)
			bail("no threads");
	do {
		usleep(1000);
		cache_stats(w->cache, &st);
	} while (st.waits < NTHREADS - 1);
	pthread_mutex_lock(&w->lock);
	w->slow = false;
	pthread_cond_broadcast(&w->go);
	pthread_mutex_unlock(&w->lock);
	for (int i = 0; i < NTHREADS; i++) {
		void *rc;

		pthread_join(threads[i], &rc);
		good += (intptr_t)rc == want;
	}
	is_int(good, NTHREADS, "every thread got the same answer (%d)", want);
	is_int(w->loads, 1, "of one load");
}

static void test_single_flight(void)
{
	struct world w;

	world_init(&w, 100);
	run_single_flight(&w, 0);
	world_fini(&w);
	world_init(&w, 100);
	w.error = -EIO;
	run_single_flight(&w, -EIO);
	world_fini(&w);
}

static void *hammer(void *arg)
{
	struct world *w = arg;
	uint64_t x = (uintptr_t)&x;
	bool good = true;

	for (int i = 0; i < 20000; i++) {
		struct cache_entry *e = NULL;
		uint64_t key;

		x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
		key = (x >> 33) % 300;
		if (i % 64 == 0)
			cache_drop(w->cache, key);
		if (cache_get(w->cache, key, NULL, &e) < 0 || *(uint64_t *)cache_obj(e) != key)
			good = false;
		cache_put(w->cache, e);
	}
	return (void *)(uintptr_t)good;
}

static void test_hammer(void)
{
	pthread_t threads[NTHREADS];
	struct cache_stats st;
	struct world w;
	int good = 0;

	world_init(&w, 1000);
	for (int i = 0; i < NTHREADS; i++)
		if (pthread_create(&threads[i], NULL, hammer, &w) != 0)
			bail("no threads");
	for (int i = 0; i < NTHREADS; i++) {
		void *rc;

		pthread_join(threads[i], &rc);
		good += rc != NULL;
	}
	is_int(good, NTHREADS, "many threads, many keys, drops: each gets its key's object");
	cache_stats(w.cache, &st);
	ok(st.cost <= 1000, "the budget holds");
	is_int(st.hits + st.misses + st.waits, NTHREADS * 20000, "every get is counted once");
	world_fini(&w);
}

int main(void)
{
	test_hits_and_eviction();
	test_references();
	test_drop();
	test_errors();
	test_single_flight();
	test_hammer();
	return tap_done();
}
