/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dedup: which of these pages are known already?
 *
 * The index is sparse: one digest in 32 is a hook that names a segment.  A hit
 * loads that segment's whole digest list into a bounded cache, and its
 * neighbours are found there.  The commit's own new pages are added as they
 * get their addresses.  One dedup belongs to one commit, under the writer's
 * lock; dedup_parent_* may be called from any thread, the rest from one at a
 * time.
 */
#ifndef LAMINA_DEDUP_H
#define LAMINA_DEDUP_H

#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/digest.h"
#include "store/runs.h"

struct store;
struct dedup;

/* `budget`: bytes of digest lists held. */
int dedup_new(struct store *store, size_t budget, struct dedup **ret);
void dedup_free(struct dedup *dd);	/* NULL is fine */

/*
 * For each of `n` digests its page address, or 0 if unknown.  Looks hooks up
 * for the whole batch first.  Best effort: an unreadable list is as if unknown.
 */
int dedup_find(struct dedup *dd, const struct digest *digests, size_t n, uint64_t *ret_paddr,
	       struct err *err);
/* A page of this commit got its address. */
int dedup_add(struct dedup *dd, const struct digest *digest, uint64_t paddr);

/*
 * The digests of a frame of the parent: ret[512], zero digests for zero
 * pages.  Any thread.
 */
int dedup_parent_digests(struct dedup *dd, const struct runs *map, struct digest ret[],
			 struct err *err);

#endif
