/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/draft.h"

#include <stdlib.h>
#include <string.h>

#include "store/format.h"
#include "store/index.h"

void draft_init(struct draft *d, uint64_t first)
{
	*d = (struct draft){.first = first};
}

void draft_fini(struct draft *d)
{
	buf_fini(&d->payload);
	buf_fini(&d->table);
	buf_fini(&d->digests);
	vec_fini(&d->chunks);
}

/* Addresses without pages: as few chunks as will span them. */
static int add_gone(struct draft *d, uint32_t span)
{
	while (span > 0) {
		struct seg_chunk *last = d->chunks.n ? &d->chunks.v[d->chunks.n - 1] : NULL;
		uint32_t room = last && !last->slots ? CHUNK_PAGES_MAX - last->span : 0;
		uint32_t n = room ? room : CHUNK_PAGES_MAX;

		if (n > span)
			n = span;
		if (room)
			last->span = (uint8_t)(last->span + n);
		else if (vec_push(&d->chunks, ((struct seg_chunk){.span = (uint8_t)n})) < 0)
			return -ENOMEM;
		d->span += n;
		span -= n;
	}
	return 0;
}

int draft_chunk(struct draft *d, uint64_t paddr, const struct seg_chunk *chunk)
{
	int rc = add_gone(d, (uint32_t)(paddr - d->first) - d->span);

	if (rc == 0 && !chunk->slots)
		return add_gone(d, chunk->span);
	if (rc == 0)
		rc = vec_push(&d->chunks, *chunk);
	if (rc == 0) {
		d->span += chunk->span;
		d->npages += (uint32_t)__builtin_popcount(chunk->slots);
	}
	return rc;
}

void draft_digest(struct draft *d, const struct digest *digest)
{
	buf_bytes(&d->digests, digest->b, DIGEST_LEN);
}

static void trim(struct draft *d)
{
	while (d->chunks.n && !d->chunks.v[d->chunks.n - 1].slots)
		d->span -= d->chunks.v[--d->chunks.n].span;
}

/* The table's coder wants a segment; of its chunks only span, slots and len. */
static void encode_table(struct draft *d)
{
	size_t bytes = d->chunks.n * sizeof(d->chunks.v[0]);
	struct seg *seg = malloc(sizeof(*seg) + bytes);

	if (!seg) {
		d->table.error = -ENOMEM;
		return;
	}
	seg->nchunks = (uint32_t)d->chunks.n;
	memcpy(seg->chunk, d->chunks.v, bytes);
	seg_encode_table(seg, &d->table);
	free(seg);
}

int draft_seal(struct draft *d, struct err *err)
{
	trim(d);
	encode_table(d);
	buf_u64(&d->payload, d->off);
	buf_bytes(&d->payload, d->table.data, d->table.len);
	buf_bytes(&d->payload, d->digests.data, d->digests.len);
	if (buf_error(&d->table) < 0 || buf_error(&d->digests) < 0 || buf_error(&d->payload) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	d->record = (struct record){
		.type = RECORD_DIGESTS, .codec = CODEC_NONE, .id = d->first,
		.len = (uint32_t)d->payload.len,
	};
	return 0;
}

int draft_put(const struct draft *d, struct index *ix, struct err *err)
{
	struct index_seg row = {
		.first = d->first, .span = d->span, .pack = d->pack, .off = d->off,
		.dig_off = d->dig_off, .dig_len = d->record.len,
		.table = d->table.data, .table_len = (uint32_t)d->table.len,
	};

	return index_seg_put(ix, &row, err);
}
