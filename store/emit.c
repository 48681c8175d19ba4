/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/emit.h"

#include <assert.h>
#include <stdlib.h>

#include "store/append.h"
#include "store/dedup.h"
#include "store/format.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/seg.h"

#define MAPS_RECORD_FRAMES 256u

void emit_init(struct emit *e, struct append *append, struct dedup *dedup)
{
	*e = (struct emit){.append = append, .dedup = dedup};
	e->end = append ? append->w.end : 0;
}

void emit_fini(struct emit *e)
{
	draft_fini(&e->seg);
	buf_fini(&e->tables);
	buf_fini(&e->maps);
	vec_fini(&e->segs);
	vec_fini(&e->frames);
	vec_fini(&e->hooks);
}

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

static void count(struct emit *e, size_t len)
{
	e->bytes += len;
	e->end = e->append ? e->append->w.end : e->end + len;
}

static uint32_t current_pack(const struct emit *e)
{
	return e->append ? e->append->w.number : 0;
}

static int put(struct emit *e, const struct record *r, const struct buf *payload,
	       uint64_t *ret_off, struct err *err)
{
	int rc = 0;

	*ret_off = e->end;
	if (e->append)
		rc = append_put(e->append, r, payload->data, ret_off, err);
	if (rc == 0)
		count(e, RECORD_HEADER_LEN + r->len);
	return rc;
}

/* The addresses were given out before: those of the pack must be the same. */
static void take_addresses(struct emit *e, const struct emit_chunk *c)
{
	uint64_t id = e->append ? append_paddr(e->append, c->npages) : c->id;

	assert(id == c->id);
	(void)id;
}

static int add_chunk(struct emit *e, const struct emit_chunk *c, uint64_t off)
{
	struct seg_chunk chunk = {.span = (uint8_t)c->npages,
				  .slots = (uint16_t)((1u << c->npages) - 1),
				  .len = (uint32_t)(c->len - RECORD_HEADER_LEN)};

	if (e->seg.chunks.n == 0) {
		draft_init(&e->seg, c->id);
		e->seg.pack = current_pack(e);
		e->seg.off = off;
	}
	assert(c->id == e->seg.first + e->seg.span);
	return draft_chunk(&e->seg, c->id, &chunk);
}

int emit_chunk(struct emit *e, const struct emit_chunk *c, struct err *err)
{
	uint64_t off = e->end;
	int rc = 0;

	if (e->append)
		rc = append_put_raw(e->append, c->record, c->len, &off, err);
	if (rc < 0)
		return rc;
	take_addresses(e, c);
	count(e, c->len);
	return add_chunk(e, c, off) < 0 ? no_memory(err) : 0;
}

int emit_digest(struct emit *e, const struct digest *digest)
{
	struct emit_hook hook = {.key = digest_key(digest), .first = e->seg.first};

	draft_digest(&e->seg, digest);
	return digest_is_hook(digest) ? vec_push(&e->hooks, hook) : 0;
}

int emit_frame(struct emit *e, uint64_t fid, const struct digest *digest, const struct buf *map)
{
	struct emit_frame f = {.fid = fid, .digest = *digest, .map_at = e->maps.len,
			       .map_len = (uint32_t)map->len};

	if (e->append) {
		uint64_t taken = append_fid(e->append);

		assert(taken == fid);
		(void)taken;
	}
	buf_bytes(&e->maps, map->data, map->len);
	if (buf_error(&e->maps) < 0 || vec_push(&e->frames, f) < 0)
		return -ENOMEM;
	return 0;
}

/* The row has the same chunk table as the record. */
static int add_seg(struct emit *e)
{
	const struct draft *d = &e->seg;
	struct emit_seg row = {.first = d->first, .span = d->span, .pack = d->pack, .off = d->off,
			       .dig_off = d->dig_off, .dig_len = d->record.len,
			       .table_at = e->tables.len, .table_len = (uint32_t)d->table.len};

	buf_bytes(&e->tables, d->table.data, d->table.len);
	return buf_error(&e->tables) < 0 ? -ENOMEM : vec_push(&e->segs, row);
}

static int end_segment(struct emit *e, struct err *err)
{
	struct draft *d = &e->seg;
	int rc;

	if (d->chunks.n == 0)
		return 0;
	rc = draft_seal(d, err);
	if (rc == 0)
		rc = put(e, &d->record, &d->payload, &d->dig_off, err);
	if (rc < 0)
		return rc;
	if (add_seg(e) < 0 || (e->append && dedup_written(e->dedup, d->first, d->dig_off) < 0))
		return no_memory(err);
	draft_fini(d);
	return 0;
}

static void encode_maps(const struct emit *e, size_t from, size_t to, struct buf *out)
{
	buf_varint(out, to - from);
	for (size_t i = from; i < to; i++) {
		const struct emit_frame *f = &e->frames.v[i];

		frame_encode(f->fid, &f->digest, e->maps.data + f->map_at, f->map_len, out);
	}
}

static int write_maps(struct emit *e, size_t to, struct err *err)
{
	struct record r = {.type = RECORD_MAPS, .id = e->frames.v[e->nwritten].fid};
	struct buf payload = {0};
	uint64_t off;
	int rc;

	encode_maps(e, e->nwritten, to, &payload);
	r.len = (uint32_t)payload.len;
	rc = buf_error(&payload) < 0 ? no_memory(err) : put(e, &r, &payload, &off, err);
	buf_fini(&payload);
	for (; rc == 0 && e->nwritten < to; e->nwritten++)
		e->frames.v[e->nwritten].pack = current_pack(e);
	return rc;
}

int emit_flush(struct emit *e, struct err *err)
{
	int rc = end_segment(e, err);

	while (rc == 0 && e->nwritten < e->frames.n) {
		size_t left = e->frames.n - e->nwritten;

		rc = write_maps(e, e->nwritten + (left < MAPS_RECORD_FRAMES ? left :
						  MAPS_RECORD_FRAMES), err);
	}
	return rc;
}

int emit_roll(struct emit *e, struct err *err)
{
	int rc = emit_flush(e, err);

	if (rc == 0 && e->append)
		rc = append_roll_if(e->append, PACK_SIZE_MAX, err);
	if (rc == 0)
		count(e, 0);
	return rc;
}

static int publish_frames(const struct emit *e, struct index *ix, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < e->frames.n && rc == 0; i++) {
		const struct emit_frame *f = &e->frames.v[i];
		struct index_frame row = {.fid = f->fid, .digest = f->digest, .pack = f->pack,
					  .runs = e->maps.data + f->map_at,
					  .runs_len = f->map_len};

		rc = index_frame_put(ix, &row, err);
	}
	return rc;
}

static int by_key(const void *a, const void *b)
{
	const struct emit_hook *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->first > y->first) - (x->first < y->first);
}

/* In order of keys, so that each page of the index is changed once. */
static int publish_hooks(struct emit *e, struct index *ix, struct err *err)
{
	int rc = 0;

	if (e->hooks.n)
		qsort(e->hooks.v, e->hooks.n, sizeof(*e->hooks.v), by_key);
	for (size_t i = 0; i < e->hooks.n && rc == 0; i++)
		rc = index_hook_put(ix, e->hooks.v[i].key, e->hooks.v[i].first, err);
	return rc;
}

static int publish_segs(const struct emit *e, struct index *ix, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < e->segs.n && rc == 0; i++) {
		const struct emit_seg *s = &e->segs.v[i];
		struct index_seg row = {.first = s->first, .span = s->span, .pack = s->pack,
					.off = s->off, .dig_off = s->dig_off,
					.dig_len = s->dig_len,
					.table = e->tables.data + s->table_at,
					.table_len = s->table_len};

		rc = index_seg_put(ix, &row, err);
	}
	return rc;
}

int emit_publish(struct emit *e, struct index *ix, struct err *err)
{
	int rc = publish_frames(e, ix, err);

	if (rc == 0)
		rc = publish_segs(e, ix, err);
	return rc < 0 ? rc : publish_hooks(e, ix, err);
}
