/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chunk: decompressed chunks, checked, cached, each loaded once however many
 * ask for it at the same time.
 */
#ifndef LAMINA_CHUNK_H
#define LAMINA_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

struct store;
struct seg;
struct seg_chunk;
struct cache_entry;
struct cache_ops;

/* Immutable.  Pages that are there, in order of slot. */
struct chunk {
	uint16_t slots;
	uint8_t *data;
};

/* Where the 4096 bytes of slot `slot` are, or NULL if that page is gone. */
const uint8_t *chunk_page(const struct chunk *chunk, unsigned slot);

/* One chunk through the store's cache.  chunk_put() it. */
int chunk_get(struct store *store, const struct seg *seg, const struct seg_chunk *sc,
	      struct cache_entry **ret, const struct chunk **ret_chunk, struct err *err);
void chunk_put(struct store *store, struct cache_entry *entry);	/* NULL is fine */

/* One of many. */
struct chunk_want {
	const struct seg *seg;		/* borrowed */
	const struct seg_chunk *sc;	/* of that segment */
	struct cache_entry *entry;	/* out: chunk_put() it */
	const struct chunk *chunk;	/* out */
};

/*
 * At most CHUNK_WANTS_MAX chunks in any order, repeated ones too.  What is not
 * cached is read in the order of its place, neighbours in one read, the reads
 * that follow announced before the first.  All or nothing: after a failure
 * nothing is held and *ret_bad is the index of the want that failed.  -ENOENT:
 * its pack is gone (seg_forget() it and look again).
 */
#define CHUNK_WANTS_MAX 257
int chunk_get_all(struct store *store, struct chunk_want *wants, size_t n, size_t *ret_bad,
		  struct err *err);
/* Tells the kernel that these will be wanted soon (entry and chunk are not set). */
void chunk_willneed(struct store *store, const struct chunk_want *wants, size_t n);

/*
 * Checks one record as read from the pack (header and payload, `len` bytes) by
 * the store's seed (packs_seed()) and against what the segment says of it, and
 * decompresses into `out` (popcount(slots) pages).  -EBADMSG with the reason.
 * Any thread.
 */
int chunk_decode(uint32_t seed, uint64_t id, const struct seg_chunk *sc, const void *record,
		 size_t len, uint8_t *out, struct err *err);

/* Of store->chunks; the cache's ctx is the store. */
extern const struct cache_ops chunk_cache_ops;

#endif
