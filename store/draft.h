/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * draft: a segment that is put together from chunks that have their addresses
 * already, for repack and recover.
 *
 *	draft_init(&d, first)
 *	for each chunk: write its record, draft_chunk(), draft_digest() a page
 *	draft_seal(&d, err)			then put d.payload as RECORD_DIGESTS
 *	draft_put(&d, index, err)		pack, off, dig_off filled in by the caller
 */
#ifndef LAMINA_DRAFT_H
#define LAMINA_DRAFT_H

#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/vec.h"
#include "store/digest.h"
#include "store/record.h"
#include "store/seg.h"

struct index;

struct draft {
	uint64_t first;
	uint32_t span;
	uint32_t npages;
	uint32_t pack;		/* the caller's, as off and dig_off */
	uint64_t off;
	uint64_t dig_off;
	struct record record;	/* from draft_seal(): of the digest list, */
	struct buf payload;	/* and its payload */
	struct buf table;
	struct buf digests;
	VEC(struct seg_chunk) chunks;
};

void draft_init(struct draft *d, uint64_t first);
void draft_fini(struct draft *d);

/*
 * The chunk at `paddr`, behind all so far; addresses in between have no page.
 * `slots` 0 (and `len` 0) is a chunk that is gone.  0 or -ENOMEM.
 */
int draft_chunk(struct draft *d, uint64_t paddr, const struct seg_chunk *chunk);
/* Of the pages in the chunks, in order; errors are told by draft_seal(). */
void draft_digest(struct draft *d, const struct digest *digest);

/* Chunks without pages at the end are left out.  d->off must be set.  -ENOMEM. */
int draft_seal(struct draft *d, struct err *err);
int draft_put(const struct draft *d, struct index *ix, struct err *err);

#endif
