/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open addressing with linear probing; removal moves later entries back, so
 * there are no tombstones.  An entry is half of the digest's key and the place:
 *
 *	63..32 tag	31..14 list + 1		13..0 index	(0: free)
 *
 * The tag's low bits are the entry's home, so moving it needs no digest.
 */
#include "store/dedup-table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store/format.h"

#define INDEX_BITS 14
#define INDEX_MASK ((1u << INDEX_BITS) - 1)

static_assert(SEG_PAGES <= 1u << INDEX_BITS, "an index must fit");
static_assert(DEDUP_TABLE_LISTS < 1u << (32 - INDEX_BITS), "a list must fit");

int dedup_table_init(struct dedup_table *t, size_t cap)
{
	*t = (struct dedup_table){.v = calloc(cap, sizeof(*t->v)), .cap = cap};
	return t->v ? 0 : -ENOMEM;
}

void dedup_table_fini(struct dedup_table *t)
{
	free(t->v);
	t->v = NULL;
}

static uint64_t tag_of(const struct digest *d)
{
	return digest_key(d) >> 32;
}

static uint64_t entry_of(const struct dedup_table *t, uint32_t list, uint32_t index)
{
	return tag_of(&t->list[list][index]) << 32 | (list + 1) << INDEX_BITS | index;
}

static size_t home_of(const struct dedup_table *t, uint64_t entry)
{
	return (size_t)(entry >> 32) & (t->cap - 1);
}

static size_t after(const struct dedup_table *t, size_t i)
{
	return (i + 1) & (t->cap - 1);
}

static void put(struct dedup_table *t, uint64_t entry)
{
	size_t i = home_of(t, entry);

	while (t->v[i])
		i = after(t, i);
	t->v[i] = entry;
}

int dedup_table_grow(struct dedup_table *t)
{
	uint64_t *old = t->v, *v = calloc(2 * t->cap, sizeof(*v));
	size_t cap = t->cap;

	if (!v)
		return -ENOMEM;
	t->v = v;
	t->cap = 2 * cap;
	for (size_t i = 0; i < cap; i++)
		if (old[i])
			put(t, old[i]);
	free(old);
	return 0;
}

void dedup_table_add(struct dedup_table *t, uint32_t list, uint32_t index)
{
	put(t, entry_of(t, list, index));
}

/* Frees place `i`; what could not be found across the gap moves into it. */
static void close_gap(struct dedup_table *t, size_t i)
{
	size_t mask = t->cap - 1;

	for (size_t j = after(t, i); t->v[j]; j = after(t, j)) {
		if (((j - home_of(t, t->v[j])) & mask) < ((j - i) & mask))
			continue;
		t->v[i] = t->v[j];
		i = j;
	}
	t->v[i] = 0;
}

void dedup_table_remove(struct dedup_table *t, uint32_t list, uint32_t index)
{
	uint64_t entry = entry_of(t, list, index);
	size_t i = home_of(t, entry);

	while (t->v[i] && t->v[i] != entry)
		i = after(t, i);
	if (t->v[i])
		close_gap(t, i);
}

bool dedup_table_find(const struct dedup_table *t, const struct digest *digest,
		      uint32_t *ret_list, uint32_t *ret_index)
{
	uint64_t tag = tag_of(digest);

	for (size_t i = (size_t)tag & (t->cap - 1); t->v[i]; i = after(t, i)) {
		uint32_t place = (uint32_t)t->v[i], list = (place >> INDEX_BITS) - 1;
		uint32_t index = place & INDEX_MASK;

		if (t->v[i] >> 32 != tag || !digest_equal(&t->list[list][index], digest))
			continue;
		*ret_list = list;
		*ret_index = index;
		return true;
	}
	return false;
}
