/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An entry is LOADING until its one loader has answered, then READY or FAILED.
 *
 *	in the table	gets find it.  It leaves by eviction, cache_drop() or
 *			a failed load; then the last cache_put() frees it.
 *	in the LRU	in the table, READY, and referenced by nobody.
 *
 * Waiters hold a reference, so an entry outlives its failed load until the
 * last of them has read the error.  `lock` covers everything but ops->load()
 * and ops->free(), which run without it: victims are collected in a list under
 * the lock and freed after it.
 */
#include "store/base/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define MIN_BUCKETS 64

enum state { LOADING, READY, FAILED };

struct cache_entry {
	uint64_t key;
	void *obj;
	size_t cost;
	unsigned refs;
	enum state state;
	int error;			/* of a FAILED one */
	bool in_table;
	bool in_lru;
	pthread_cond_t loaded;
	struct cache_entry *next;	/* in the bucket, or in a list of victims */
	struct cache_entry *older;	/* in the LRU */
	struct cache_entry *newer;
};

struct cache {
	const struct cache_ops *ops;
	void *ctx;
	size_t budget;
	pthread_mutex_t lock;
	/* under lock from here on */
	struct cache_entry **buckets;
	size_t nbuckets;		/* a power of two */
	size_t in_table;
	struct cache_entry *oldest;
	struct cache_entry *newest;
	struct cache_stats stats;
};

int cache_new(const struct cache_ops *ops, void *ctx, size_t budget, struct cache **ret)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->nbuckets = MIN_BUCKETS;
	c->buckets = calloc(c->nbuckets, sizeof(struct cache_entry *));
	if (!c->buckets) {
		free(c);
		return -ENOMEM;
	}
	c->ops = ops;
	c->ctx = ctx;
	c->budget = budget;
	pthread_mutex_init(&c->lock, NULL);
	*ret = c;
	return 0;
}

static struct cache_entry **bucket_of(const struct cache *c, uint64_t key)
{
	uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15);

	return &c->buckets[(h >> 32) & (c->nbuckets - 1)];
}

static void bucket_add(struct cache *c, struct cache_entry *e)
{
	struct cache_entry **head = bucket_of(c, e->key);

	e->next = *head;
	*head = e;
}

/* Doubles the table; staying small when there is no memory is only slower. */
static void grow_locked(struct cache *c)
{
	struct cache_entry **old = c->buckets, *e, *next;
	size_t n = c->nbuckets;

	c->buckets = calloc(n * 2, sizeof(struct cache_entry *));
	if (!c->buckets) {
		c->buckets = old;
		return;
	}
	c->nbuckets = n * 2;
	for (size_t i = 0; i < n; i++)
		for (e = old[i]; e; e = next) {
			next = e->next;
			bucket_add(c, e);
		}
	free(old);
}

static void table_add_locked(struct cache *c, struct cache_entry *e)
{
	if (c->in_table >= c->nbuckets)
		grow_locked(c);
	bucket_add(c, e);
	e->in_table = true;
	c->in_table++;
}

static void table_remove_locked(struct cache *c, struct cache_entry *e)
{
	struct cache_entry **p = bucket_of(c, e->key);

	if (!e->in_table)
		return;
	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	e->next = NULL;
	e->in_table = false;
	c->in_table--;
}

static struct cache_entry *find_locked(const struct cache *c, uint64_t key)
{
	struct cache_entry *e = *bucket_of(c, key);

	while (e && e->key != key)
		e = e->next;
	return e;
}

static void lru_add_locked(struct cache *c, struct cache_entry *e)
{
	e->in_lru = true;
	e->newer = NULL;
	e->older = c->newest;
	if (c->newest)
		c->newest->newer = e;
	else
		c->oldest = e;
	c->newest = e;
}

static void lru_remove_locked(struct cache *c, struct cache_entry *e)
{
	if (!e->in_lru)
		return;
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
	e->in_lru = false;
}

/* Takes an unreferenced entry out of everything and puts it on `victims`. */
static void discard_locked(struct cache *c, struct cache_entry *e, struct cache_entry **victims)
{
	table_remove_locked(c, e);
	lru_remove_locked(c, e);
	if (e->state == READY) {
		c->stats.cost -= e->cost;
		c->stats.entries--;
	}
	e->next = *victims;
	*victims = e;
}

static void evict_locked(struct cache *c, struct cache_entry **victims)
{
	while (c->stats.cost > c->budget && c->oldest) {
		c->stats.evictions++;
		discard_locked(c, c->oldest, victims);
	}
}

static void release_locked(struct cache *c, struct cache_entry *e, struct cache_entry **victims)
{
	if (--e->refs > 0)
		return;
	if (e->in_table)
		lru_add_locked(c, e);
	else
		discard_locked(c, e, victims);
	evict_locked(c, victims);
}

static void free_victims(struct cache *c, struct cache_entry *e)
{
	struct cache_entry *next;

	for (; e; e = next) {
		next = e->next;
		if (e->state == READY)
			c->ops->free(c->ctx, e->obj);
		pthread_cond_destroy(&e->loaded);
		free(e);
	}
}

void cache_free(struct cache *c)
{
	struct cache_entry *victims = NULL;

	if (!c)
		return;
	while (c->oldest)
		discard_locked(c, c->oldest, &victims);
	free_victims(c, victims);
	pthread_mutex_destroy(&c->lock);
	free(c->buckets);
	free(c);
}

/* Called with a reference; the entry may be in any state. */
static int wait_locked(struct cache *c, struct cache_entry *e)
{
	if (e->state == READY) {
		c->stats.hits++;
		return 0;
	}
	c->stats.waits++;
	while (e->state == LOADING)
		pthread_cond_wait(&e->loaded, &c->lock);
	return e->state == READY ? 0 : e->error;
}

static struct cache_entry *add_loading_locked(struct cache *c, uint64_t key)
{
	struct cache_entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->key = key;
	e->refs = 1;
	e->state = LOADING;
	pthread_cond_init(&e->loaded, NULL);
	table_add_locked(c, e);
	c->stats.misses++;
	return e;
}

/* Enters and leaves with the lock held; drops it around the load. */
static int load_locked(struct cache *c, struct cache_entry *e, void *arg)
{
	void *obj = NULL;
	size_t cost = 0;
	int rc;

	pthread_mutex_unlock(&c->lock);
	rc = c->ops->load(c->ctx, e->key, arg, &obj, &cost);
	pthread_mutex_lock(&c->lock);
	if (rc < 0) {
		e->state = FAILED;
		e->error = rc;
		table_remove_locked(c, e);
	} else {
		e->state = READY;
		e->obj = obj;
		e->cost = cost;
		c->stats.cost += cost;
		c->stats.entries++;
	}
	pthread_cond_broadcast(&e->loaded);
	return rc < 0 ? rc : 0;
}

int cache_get(struct cache *c, uint64_t key, void *arg, struct cache_entry **ret)
{
	struct cache_entry *victims = NULL, *e;
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	e = find_locked(c, key);
	if (e) {
		lru_remove_locked(c, e);
		e->refs++;
		rc = wait_locked(c, e);
	} else {
		e = add_loading_locked(c, key);
		rc = e ? load_locked(c, e, arg) : -ENOMEM;
	}
	if (e && rc < 0)
		release_locked(c, e, &victims);
	else if (e)
		evict_locked(c, &victims);
	pthread_mutex_unlock(&c->lock);
	free_victims(c, victims);
	if (rc == 0)
		*ret = e;
	return rc;
}

void cache_put(struct cache *c, struct cache_entry *e)
{
	struct cache_entry *victims = NULL;

	if (!e)
		return;
	pthread_mutex_lock(&c->lock);
	release_locked(c, e, &victims);
	pthread_mutex_unlock(&c->lock);
	free_victims(c, victims);
}

void *cache_obj(const struct cache_entry *e)
{
	return e->obj;
}

void cache_drop(struct cache *c, uint64_t key)
{
	struct cache_entry *victims = NULL, *e;

	pthread_mutex_lock(&c->lock);
	e = find_locked(c, key);
	if (e && e->refs == 0)
		discard_locked(c, e, &victims);
	else if (e)
		table_remove_locked(c, e);
	pthread_mutex_unlock(&c->lock);
	free_victims(c, victims);
}

size_t cache_budget(const struct cache *c)
{
	return c->budget;
}

void cache_stats(struct cache *c, struct cache_stats *ret)
{
	pthread_mutex_lock(&c->lock);
	*ret = c->stats;
	pthread_mutex_unlock(&c->lock);
}
