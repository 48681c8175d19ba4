/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * runs: an array of addresses, run-coded.
 *
 * A frame's map is an array of 512 page addresses, an image an array of frame
 * ids; both are mostly zeros and consecutive addresses.  This is the one
 * coder of both, in memory and on disk.
 *
 * In memory: runs in order of position that cover [0, count) without gaps or
 * overlaps.  addr 0 means zeros; otherwise position pos + i has addr + i.
 * Neighbours that could be one run are one run.
 *
 * On disk: varints.  First the number of runs, then for each run
 *	(len - 1) << 2 | kind
 * kind 0 ZERO, 1 NEXT: addr = (highest end of any run so far), 2 SAME: addr =
 * position + distance, 3 FAR: followed by zigzag(addr - (position + distance)),
 * where distance is addr - position of the last SAME or FAR run (0 at first).
 * NEXT's start value may be given ("base": what the first NEXT means before
 * any run), 0 otherwise.  All arithmetic is modulo 2^64.
 */
#ifndef LAMINA_RUNS_H
#define LAMINA_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/rd.h"

struct run {
	uint64_t pos;
	uint64_t len;
	uint64_t addr;		/* 0: zeros */
};

struct runs {
	struct run *v;
	size_t n;
	size_t cap;
	uint64_t count;		/* positions covered so far */
};

void runs_fini(struct runs *r);
void runs_reset(struct runs *r);
/* Appends `len` positions, merging with the last run where it continues.  0 or -ENOMEM. */
int runs_add(struct runs *r, uint64_t addr, uint64_t len);
/* The run that holds position `pos`, or NULL past the end.  O(log n). */
const struct run *runs_find(const struct runs *r, uint64_t pos);
/* The address at `pos` (0: zeros or past the end). */
uint64_t runs_at(const struct runs *r, uint64_t pos);
bool runs_equal(const struct runs *a, const struct runs *b);

void runs_encode(const struct runs *r, struct buf *out);
/*
 * Fills an empty `r`.  -EBADMSG unless the runs are well formed, cover exactly
 * `count` positions, number at most `max_runs`, and no address wraps past
 * 2^64; -ENOMEM.
 */
int runs_decode(struct runs *r, struct rd *rd, uint64_t count, size_t max_runs);

#endif
