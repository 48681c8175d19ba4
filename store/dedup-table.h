/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dedup-table: which of some lists of digests holds a given digest?
 *
 * The lists are the caller's memory and must stay until they are removed.  Who
 * fills the table keeps it at most three quarters full.
 */
#ifndef LAMINA_DEDUP_TABLE_H
#define LAMINA_DEDUP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/digest.h"

#define DEDUP_TABLE_LISTS 4096u
#define DEDUP_TABLE_ENTRY 8u		/* bytes */

struct dedup_table {
	uint64_t *v;
	size_t cap;				/* a power of two */
	const struct digest *list[DEDUP_TABLE_LISTS];
};

/* `cap` entries, a power of two.  -ENOMEM. */
int dedup_table_init(struct dedup_table *t, size_t cap);
/* Twice as large; -ENOMEM changes nothing. */
int dedup_table_grow(struct dedup_table *t);
void dedup_table_fini(struct dedup_table *t);

/* Adds t->list[list][index]; index < SEG_PAGES. */
void dedup_table_add(struct dedup_table *t, uint32_t list, uint32_t index);
/* Removes what was added as (list, index). */
void dedup_table_remove(struct dedup_table *t, uint32_t list, uint32_t index);
/* One place of the digest. */
bool dedup_table_find(const struct dedup_table *t, const struct digest *digest,
		      uint32_t *ret_list, uint32_t *ret_index);

#endif
