/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * repack: copies what is live out of a pack, then unlinks it.
 *
 * Pages keep their addresses, so no map is touched.  A chunk with live pages
 * only is copied as it is; one with dead pages is compressed again without
 * them.  What is still valid beside chunks is carried (carry.h).  One pack
 * after another is published and unlinked, so that the copies need no more
 * room than one pack's live part.  Under the writer's lock, after a sweep.
 */
#ifndef LAMINA_REPACK_H
#define LAMINA_REPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

struct store;
struct mark;
struct repack;

struct repack_pack {
	uint32_t number;
	uint64_t end;		/* bytes in the file */
	uint64_t live;		/* of these, what repack would write again (about) */
	uint64_t carried;	/* of these, what is not chunks or digests */
	uint64_t pages;		/* dead ones in its segments */
	uint32_t segs;		/* 0: a dead pack */
	bool doomed;		/* the caller's: repack_run() will be called for it */
	bool gone;		/* it was */
};

/* Looks at all packs.  Segments and frames that the mark does not reach do not count. */
int repack_new(struct store *store, const struct mark *mark, struct repack **ret,
	       struct err *err);
void repack_free(struct repack *r);		/* NULL is fine */
/* By number; they stay where they are until repack_free(). */
struct repack_pack *repack_packs(struct repack *r, size_t *ret_n);

/*
 * Moves all that is live in the pack to the current one, or to a new one when
 * the last pack is doomed, and unlinks it.  All that are doomed must be said to
 * be before the first run.  -EBADMSG: a live chunk is damaged; -ENOSPC; then
 * all is as it was.
 */
int repack_run(struct repack *r, struct repack_pack *pack, struct err *err);

#endif
