/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dedup: which of these pages are known already?
 *
 * The index is sparse: one digest in 32 is a hook that names a segment.  A hit
 * loads that segment's whole digest list into a bounded cache, and its
 * neighbours are found there.  The commit's own new pages are added as they
 * get their addresses.  One dedup belongs to one commit, under the writer's
 * lock; dedup_written() and dedup_parent_digests() may be called from any
 * thread, the rest from one at a time.
 *
 * What is found depends on the store and on the calls of find, add and seal in
 * their order; not on time, nor on the calls from other threads.
 */
#ifndef LAMINA_DEDUP_H
#define LAMINA_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/digest.h"
#include "store/runs.h"

struct store;
struct dedup;

#define DEDUP_BUDGET (40u << 20)

/* `budget`: bytes of digest lists and their table held.  -ENOMEM. */
int dedup_new(struct store *store, size_t budget, struct dedup **ret);
void dedup_free(struct dedup *dd);	/* NULL is fine */

/*
 * For each of `n` digests its page address, or 0 if unknown.  Looks hooks up
 * for the whole batch first.  Best effort: an unreadable list is as if unknown,
 * and so are the pages of a pack that is missing, cut short or not this store's.
 */
void dedup_find(struct dedup *dd, const struct digest digests[], size_t n,
		uint64_t ret_paddr[]);
/*
 * Says where the pages of a frame of the parent are (512, 0: zeros): what is
 * new in that frame may be an old page of it that has moved, so the segments
 * that hold much of it are loaded as if a hook had been hit.
 */
void dedup_near(struct dedup *dd, const uint64_t paddr[]);
/*
 * Whether all pages of a frame that the index knows can be there: each has its
 * segment, in a pack that is as long as it must be.  Their records are not read.
 */
bool dedup_has(struct dedup *dd, const struct runs *map);
/* Like dedup_find() for one digest among what is loaded: no hook is asked. */
uint64_t dedup_peek(struct dedup *dd, const struct digest *digest);

/*
 * A page of this commit got its address: the one behind the last, or any if
 * it is the first of a segment.  -ENOMEM.
 */
int dedup_add(struct dedup *dd, const struct digest *digest, uint64_t paddr);
/* The segment being added to is complete: the next page begins another. */
void dedup_seal(struct dedup *dd);
/*
 * The digest list of the segment at `first` has been appended to its pack, at
 * `off`: it can be read from there once it has fallen out of the cache.
 */
int dedup_written(struct dedup *dd, uint64_t first, uint64_t off);

/*
 * The digests of a frame of the parent: ret[512], zero digests for zero
 * pages.  -EBADMSG or what the disk said, with the sentence.  Any thread.
 */
int dedup_parent_digests(struct dedup *dd, const struct runs *map, struct digest ret[],
			 struct err *err);

#endif
