/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * emit: what a commit appends, and the rows that will make it known.
 *
 * Chunks go to the pack as they come and make up the current segment.
 * emit_flush() ends it: its digest list, then the maps of the frames so far.
 * Nothing is in the index before emit_publish().  One thread at a time.
 */
#ifndef LAMINA_EMIT_H
#define LAMINA_EMIT_H

#include <stddef.h>
#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/vec.h"
#include "store/digest.h"
#include "store/draft.h"

struct append;
struct dedup;
struct index;

struct emit_seg {
	uint64_t first;
	uint32_t span;
	uint32_t pack;
	uint64_t off;
	uint64_t dig_off;
	uint32_t dig_len;
	uint32_t table_len;
	size_t table_at;	/* in tables */
};

struct emit_frame {
	uint64_t fid;
	struct digest digest;
	uint32_t pack;
	uint32_t map_len;
	size_t map_at;		/* in maps */
};

struct emit_hook {
	uint64_t key;
	uint64_t first;		/* of its segment */
};

struct emit {
	struct append *append;	/* NULL: nothing is written, all is counted */
	struct dedup *dedup;
	uint64_t bytes;		/* of records */
	uint64_t end;		/* of the current pack */
	struct draft seg;	/* the current segment, once it has a chunk */
	/* rows */
	size_t nwritten;	/* frames whose maps are in a pack */
	VEC(struct emit_seg) segs;
	VEC(struct emit_frame) frames;
	VEC(struct emit_hook) hooks;
	struct buf tables;
	struct buf maps;
};

/* Borrows both; `append` may be NULL. */
void emit_init(struct emit *e, struct append *append, struct dedup *dedup);
void emit_fini(struct emit *e);

/* Pages of a chunk, whose addresses go on where the segment is, or begin one. */
struct emit_chunk {
	uint64_t id;
	unsigned npages;
	const void *record;	/* encoded: header and payload */
	size_t len;
};

int emit_chunk(struct emit *e, const struct emit_chunk *c, struct err *err);
/* Once for each page of the chunk, behind it.  -ENOMEM. */
int emit_digest(struct emit *e, const struct digest *digest);
/* A new frame: copies its encoded map. */
int emit_frame(struct emit *e, uint64_t fid, const struct digest *digest, const struct buf *map);
/* Ends the segment and writes the maps. */
int emit_flush(struct emit *e, struct err *err);
/* The same, and goes on in a new pack. */
int emit_roll(struct emit *e, struct err *err);

/* All rows, within the caller's transaction. */
int emit_publish(struct emit *e, struct index *ix, struct err *err);

#endif
