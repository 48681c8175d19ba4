/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * frame: the map of 512 pages, immutable, shared between layers.
 *
 * RECORD_MAPS payload: varint count, then for each frame: varint fid, 32
 * bytes digest, varint length, the runs (runs.h) of 512 page addresses.
 * Index row: the same runs, checksummed together with fid and digest.
 */
#ifndef LAMINA_FRAME_H
#define LAMINA_FRAME_H

#include <stdint.h>

#include "store/base/err.h"
#include "store/base/rd.h"
#include "store/digest.h"
#include "store/runs.h"

struct store;
struct cache_entry;
struct cache_ops;

struct frame {
	uint64_t fid;
	struct digest digest;
	struct runs map;	/* 512 positions */
};

/* A frame by id through the store's bounded cache; frame_put() it. */
int frame_get(struct store *store, uint64_t fid, struct cache_entry **ret,
	      const struct frame **ret_frame, struct err *err);
void frame_put(struct store *store, struct cache_entry *entry);	/* NULL is fine */

/* Uncached; the caller runs frame_fini(). */
int frame_load(struct store *store, uint64_t fid, struct frame *ret, struct err *err);
void frame_fini(struct frame *frame);

/* One frame of a RECORD_MAPS payload (after its count); map filled. */
int frame_decode(struct rd *rd, struct frame *ret);
void frame_encode(uint64_t fid, const struct digest *digest, const void *runs, size_t len,
		  struct buf *out);

/* Of store->frames; the cache's ctx is the store. */
extern const struct cache_ops frame_cache_ops;

#endif
