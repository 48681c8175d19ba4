/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache: objects by 64-bit key, bounded by a cost budget, loaded once.
 *
 * cache_get() returns a referenced entry.  When the key is absent exactly one
 * thread calls ops->load() (without any lock held) and the others that ask
 * for the same key meanwhile wait for its answer, success or failure; a failure
 * is not remembered.  Entries that nobody references are evicted, least
 * recently used first, while the sum of costs exceeds the budget; referenced
 * ones never are, so the budget may be exceeded by what is in use.
 * All functions are safe from any thread.
 */
#ifndef LAMINA_BASE_CACHE_H
#define LAMINA_BASE_CACHE_H

#include <stddef.h>
#include <stdint.h>

struct cache;
struct cache_entry;

struct cache_ops {
	/* 0 and *ret_obj, *ret_cost (bytes), or -errno.  `arg` is cache_get()'s. */
	int (*load)(void *ctx, uint64_t key, void *arg, void **ret_obj, size_t *ret_cost);
	void (*free)(void *ctx, void *obj);
};

struct cache_stats {
	uint64_t hits, misses, waits, evictions;
	size_t cost;		/* bytes held now */
	size_t entries;
};

int cache_new(const struct cache_ops *ops, void *ctx, size_t budget, struct cache **ret);
void cache_free(struct cache *cache);	/* all entries must have been put */

/* Key 0 is an ordinary key. */
int cache_get(struct cache *cache, uint64_t key, void *arg, struct cache_entry **ret);
void cache_put(struct cache *cache, struct cache_entry *entry);	/* NULL is fine */
void *cache_obj(const struct cache_entry *entry);

/* Forgets `key`: later gets load again; holders keep what they have. */
void cache_drop(struct cache *cache, uint64_t key);
void cache_stats(struct cache *cache, struct cache_stats *ret);
size_t cache_budget(const struct cache *cache);	/* bytes, as given to cache_new() */

#endif
