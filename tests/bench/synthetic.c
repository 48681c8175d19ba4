/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * synthetic: fills the index of an empty store as if it held many other pages.
 *
 *   synthetic STORE PAGES
 *
 * The packs it speaks of are not there: good for measuring what a commit costs
 * beside a large index, and for nothing else.
 */
#include <stdio.h>
#include <stdlib.h>

#include "store/digest.h"
#include "store/index.h"
#include "store/seg.h"
#include "store/store.h"

#define PACK_SEGS 6u		/* what a pack of 256 MiB holds, about */
#define CHUNK 8u

static uint64_t rng_state = 88172645463325252ull;

static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}

static void encode_table(struct buf *table)
{
	buf_reset(table);
	buf_varint(table, SEG_PAGES / CHUNK);
	for (unsigned i = 0; i < SEG_PAGES / CHUNK; i++) {
		buf_u8(table, CHUNK);
		buf_varint(table, 8000 + rng() % 4000);
	}
}

static int put_seg(struct store *store, uint32_t pack, uint32_t nth, struct buf *table,
		   struct err *err)
{
	struct index_seg seg = {
		.first = (uint64_t)pack << 32 | nth * SEG_PAGES,
		.span = SEG_PAGES,
		.pack = pack,
		.off = PACK_HEADER_LEN + nth * (32u << 20),
		.dig_off = PACK_HEADER_LEN + nth * (32u << 20) + (31u << 20),
		.dig_len = SEG_PAGES * DIGEST_LEN,
	};
	int ret;

	encode_table(table);
	seg.table = table->data;
	seg.table_len = (uint32_t)table->len;
	ret = index_seg_put(store->index, &seg, err);
	for (unsigned i = 0; !ret && i < SEG_PAGES / (HOOK_MASK + 1); i++)
		ret = index_hook_put(store->index, rng() & ~(uint64_t)HOOK_MASK, seg.first, err);
	return ret;
}

static int fill(struct store *store, uint64_t pages, struct err *err)
{
	uint64_t segs = pages / SEG_PAGES;
	struct buf table = { 0 };
	uint32_t pack = 1;
	int ret = index_begin(store->index, err);

	for (uint64_t i = 0; !ret && i < segs; i++) {
		pack = 1 + (uint32_t)(i / PACK_SEGS);
		ret = put_seg(store, pack, (uint32_t)(i % PACK_SEGS), &table, err);
		if (!ret && i % PACK_SEGS == 0)
			ret = index_pack_put(store->index,
					     &(struct index_pack){
						     .number = pack,
						     .end = PACK_SIZE_MAX,
						     .next_ord = PACK_SEGS * SEG_PAGES,
						     .sealed = true }, err);
	}
	if (!ret)
		ret = index_meta_set_u64(store->index, "next_pack", pack + 1, err);
	buf_fini(&table);
	return ret ? ret : index_commit(store->index, err);
}

int main(int argc, char **argv)
{
	struct store *store;
	struct err err;
	int ret;

	if (argc != 3) {
		fprintf(stderr, "usage: synthetic STORE PAGES\n");
		return 2;
	}
	ret = store_open(argv[1], NULL, &store, &err);
	if (!ret)
		ret = store_lock(store, "synthetic", 0, &err);
	if (!ret)
		ret = fill(store, strtoull(argv[2], NULL, 10), &err);
	if (!ret)
		index_checkpoint(store->index);
	else
		fprintf(stderr, "synthetic: %s\n", err.text);
	store_close(store);
	return ret ? 1 : 0;
}
