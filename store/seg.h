/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seg: segments, the unit in which chunks are found again.
 *
 * A segment covers the page addresses [first, first + span).  Its chunk table
 * says for each chunk how many addresses it spans, which of its pages are
 * still there and how long its record's payload is; the records lie one
 * behind the other from `off` in pack `pack`.  Its digest list (a RECORD_DIGESTS
 * right behind them) holds the digests of the pages that are there, in order.
 *
 * Chunk table on disk (index row, and inside RECORD_DIGESTS): varint number
 * of chunks, then for each: u8 n (1..16: all n pages are there; 0x20 | n: a
 * u16 bitmap of the pages that are there follows), and unless the bitmap is 0
 * a varint payload length.  Chunks without pages have no record.
 *
 * RECORD_DIGESTS payload: u64 off, chunk table, digests (32 bytes each).
 */
#ifndef LAMINA_SEG_H
#define LAMINA_SEG_H

#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/rd.h"
#include "store/digest.h"

struct store;

struct seg_chunk {
	uint32_t first;		/* relative to seg->first */
	uint32_t off;		/* of its record in the pack */
	uint32_t len;		/* of its payload; 0: gone */
	uint32_t rank;		/* pages there in the chunks before it: digest list index */
	uint16_t slots;		/* bitmap of the pages that are there */
	uint8_t span;		/* addresses, 1..16 */
};

/* Immutable; reference-counted. */
struct seg {
	int refs;		/* atomic */
	uint64_t first;
	uint32_t span;
	uint32_t npages;	/* pages that are there = digests in the list */
	uint32_t pack;		/* where it is now */
	uint32_t nchunks;
	uint64_t off;		/* of its first record */
	uint64_t dig_off;	/* of its RECORD_DIGESTS */
	uint32_t dig_len;	/* of that record's payload */
	struct seg_chunk chunk[];
};

/* `table` is an encoded chunk table.  -EBADMSG when malformed or not `span` long. */
int seg_decode(uint64_t first, uint32_t pack, uint64_t off, struct rd *table, struct seg **ret);
void seg_encode_table(const struct seg *seg, struct buf *out);
struct seg *seg_ref(struct seg *seg);
void seg_unref(struct seg *seg);		/* NULL is fine */

/* The chunk that holds address `paddr`, or NULL (outside, or the page is gone). */
const struct seg_chunk *seg_find(const struct seg *seg, uint64_t paddr);
/* Index of `paddr` in the digest list, or -ENOENT. */
int64_t seg_rank(const struct seg *seg, uint64_t paddr);
/* Bytes that its records take in the pack, digest list included. */
uint64_t seg_bytes(const struct seg *seg);

/*
 * The segment that holds `paddr`, referenced, from a bounded cache or the
 * index.  -ENOENT if there is none, -EBADMSG when the row is damaged.
 */
int seg_get(struct store *store, uint64_t paddr, struct seg **ret, struct err *err);
/* After a move (-ENOENT from packs_read): forget what the cache says of it. */
void seg_forget(struct store *store, const struct seg *seg);

/* The whole digest list, read and checked: npages digests, malloc'd. */
int seg_digests(struct store *store, const struct seg *seg, struct digest **ret,
		struct err *err);

struct seg_cache;
int seg_cache_new(size_t max_segs, struct seg_cache **ret);
void seg_cache_free(struct seg_cache *cache);
void seg_cache_clear(struct seg_cache *cache);

#endif
