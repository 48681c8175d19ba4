/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dedup-list: the digests of one segment, in memory.  Immutable once read,
 * except that dedup appends to the one it is filling.
 */
#ifndef LAMINA_DEDUP_LIST_H
#define LAMINA_DEDUP_LIST_H

#include <stdint.h>

#include "store/base/err.h"
#include "store/digest.h"

struct seg;
struct store;

struct dedup_list {
	uint64_t first;
	struct seg *seg;	/* NULL: of this commit, all pages are there */
	uint32_t n;
	struct digest *digest;
};

/* An empty one with room for SEG_PAGES digests; -ENOMEM. */
int dedup_list_new(uint64_t first, struct dedup_list **ret);
void dedup_list_free(struct dedup_list *l);	/* NULL is fine */

/* That of a published segment. */
int dedup_list_read(struct store *store, struct seg *seg, struct dedup_list **ret,
		    struct err *err);
/* That of a segment of this commit: of it there is only the record, at `off`. */
int dedup_list_read_own(struct store *store, uint64_t first, uint64_t off,
			struct dedup_list **ret, struct err *err);

/* The address of the page whose digest is number `index`. */
uint64_t dedup_list_address(const struct dedup_list *l, uint32_t index);
/* The digests of the pages [paddr, paddr + n) of its segment; -EBADMSG. */
int dedup_list_copy(const struct dedup_list *l, uint64_t paddr, uint64_t n, struct digest ret[],
		    struct err *err);

#endif
