/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chunk tables: bytes are refused, or are a segment whose sums are right and
 * which is written back as the same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/format.h"
#include "store/seg.h"

#define FIRST (UINT64_C(3) << 32)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_sums(const struct seg *seg)
{
	uint64_t off = seg->off;
	uint32_t span = 0, npages = 0;

	for (uint32_t i = 0; i < seg->nchunks; i++) {
		const struct seg_chunk *c = &seg->chunk[i];

		if (c->first != span || c->rank != npages || c->off != off)
			abort();
		off += c->len ? RECORD_HEADER_LEN + c->len : 0;
		span += c->span;
		npages += (uint32_t)__builtin_popcount(c->slots);
	}
	if (span != seg->span || npages != seg->npages || span > SEG_PAGES)
		abort();
}

static void check_ranks(const struct seg *seg)
{
	int64_t next = 0;

	for (uint64_t i = 0; i < seg->span; i++) {
		int64_t rank = seg_rank(seg, seg->first + i);

		if (rank >= 0 && rank != next++)
			abort();
		if ((rank >= 0) != (seg_find(seg, seg->first + i) != NULL))
			abort();
	}
	if (next != seg->npages)
		abort();
}

static void check_bytes(const struct seg *seg, const uint8_t *data, size_t len)
{
	struct buf out = {0};

	seg_encode_table(seg, &out);
	if (out.len != len || memcmp(out.data, data, len) != 0)
		abort();
	buf_fini(&out);
}

static void use(const uint8_t *data, size_t len)
{
	struct seg *seg;
	struct rd rd;

	rd_init(&rd, data, len);
	if (seg_decode(FIRST, 3, PACK_HEADER_LEN, &rd, &seg) < 0)
		return;
	check_sums(seg);
	check_ranks(seg);
	check_bytes(seg, data, len - rd_left(&rd));
	seg_unref(seg);
}

/* Each byte a whole chunk of up to 16 pages, or a partial one with the next two. */
static void use_recipe(const uint8_t *data, size_t len)
{
	struct buf table = {0};
	size_t n = len < 500 ? len : 500;

	buf_varint(&table, n);
	for (size_t i = 0; i < n; i++) {
		unsigned pages = data[i] % 16 + 1, some = ((1u << pages) - 1) & data[(i + 1) % n];
		bool all = data[i] & 0x80 || some == (1u << pages) - 1;

		buf_u8(&table, (uint8_t)(all ? pages : 0x20 | pages));
		if (!all)
			buf_u16(&table, (uint16_t)some);
		if (all || some)
			buf_varint(&table, 1 + data[(i + 2) % n]);
	}
	use(table.data, table.len);
	buf_fini(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	use(data, len);
	use_recipe(data, len);
	return 0;
}
