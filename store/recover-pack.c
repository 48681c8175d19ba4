/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packs in ascending order, one transaction each.  A later copy of a frame, a
 * manifest or a decision replaces an earlier one.  Chunks are noted until the
 * digest list behind them ticks them off; those that no list wants, or whose
 * list wants one more that is damaged, are orphans.
 */
#include <stdlib.h>
#include <string.h>

#include "store/decide.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/pack.h"
#include "store/recover-private.h"
#include "store/scan.h"
#include "store/seg.h"
#include "store/store.h"

struct collect {
	struct recover *r;
	struct recover_pack *pack;
	VEC(struct recover_chunk) chunks;	/* by offset */
};

static int no_memory(struct recover *r)
{
	return err_set(r->err, -ENOMEM, "out of memory");
}

static void see_seq(struct recover *r, uint64_t seq)
{
	if (seq >= r->next_seq && seq < UINT64_MAX)
		r->next_seq = seq + 1;
}

/* A record that is whole, but not what it should be. */
static int odd_record(struct collect *c, const struct scan_item *item, const char *what)
{
	c->r->res.damaged++;
	c->pack->damaged = true;
	recover_note(c->r, "pack %08x: %s at byte %llu is not well formed: skipped",
		     c->pack->number, what, (unsigned long long)item->off);
	return 0;
}

/* ---- chunks and segments ---- */

static int collect_chunk(struct collect *c, const struct scan_item *item)
{
	struct recover_chunk chunk = {
		.id = item->record.id, .pack = c->pack->number, .off = (uint32_t)item->off,
		.len = item->record.len, .slots = item->record.slots,
	};

	if (chunk.id >> 32 == 0 || item->off > UINT32_MAX ||
	    (uint32_t)chunk.id > UINT32_MAX - CHUNK_PAGES_MAX)
		return odd_record(c, item, "a chunk");
	recover_see_page(c->r, chunk.id + 31 - (unsigned)__builtin_clz(chunk.slots));
	return vec_push(&c->chunks, chunk) < 0 ? no_memory(c->r) : 0;
}

static struct recover_chunk *chunk_at(struct collect *c, uint64_t off)
{
	size_t lo = 0, hi = c->chunks.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (c->chunks.v[mid].off < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->chunks.n && c->chunks.v[lo].off == off ? &c->chunks.v[lo] : NULL;
}

/* Whether every chunk of the segment is here, unharmed. */
static bool is_whole(struct collect *c, const struct seg *seg)
{
	for (uint32_t i = 0; i < seg->nchunks; i++) {
		const struct seg_chunk *sc = &seg->chunk[i];
		const struct recover_chunk *chunk;

		if (!sc->slots)
			continue;
		chunk = chunk_at(c, sc->off);
		if (!chunk || chunk->id != seg->first + sc->first || chunk->slots != sc->slots ||
		    chunk->len != sc->len)
			return false;
	}
	return true;
}

static void take_chunks(struct collect *c, const struct seg *seg)
{
	for (uint32_t i = 0; i < seg->nchunks; i++)
		if (seg->chunk[i].slots)
			chunk_at(c, seg->chunk[i].off)->taken = true;
}

static int put_seg(struct collect *c, const struct seg *seg, const struct scan_item *item)
{
	struct recover_seg known = {.first = seg->first, .span = seg->span, .npages = seg->npages};
	struct buf table = {0};
	struct index_seg row = {
		.first = seg->first, .span = seg->span, .pack = seg->pack, .off = seg->off,
		.dig_off = item->off, .dig_len = item->record.len,
	};
	int rc;

	seg_encode_table(seg, &table);
	row.table = table.data;
	row.table_len = (uint32_t)table.len;
	rc = buf_error(&table) < 0 ? no_memory(c->r) : recover_seg_add(c->r, &known);
	if (rc == 1)
		rc = index_seg_put(c->r->store->index, &row, c->r->err);
	buf_fini(&table);
	return rc;
}

static int collect_digests(struct collect *c, const struct scan_item *item)
{
	struct seg *seg;
	struct rd rd;
	uint64_t off;
	int rc;

	rd_init(&rd, item->payload, item->record.len);
	off = rd_u64(&rd);
	rc = seg_decode(item->record.id, c->pack->number, off, &rd, &seg);
	if (rc == -ENOMEM)
		return no_memory(c->r);
	if (rc < 0)
		return odd_record(c, item, "a digest list");
	if (rd_left(&rd) != (size_t)seg->npages * DIGEST_LEN) {
		rc = odd_record(c, item, "a digest list");
	} else {
		recover_see_page(c->r, seg->first + seg->span - 1);
		if (is_whole(c, seg)) {
			take_chunks(c, seg);
			rc = put_seg(c, seg, item);
		}
	}
	seg_unref(seg);
	return rc;
}

static int keep_orphans(struct collect *c)
{
	for (size_t i = 0; i < c->chunks.n; i++)
		if (!c->chunks.v[i].taken && vec_push(&c->r->orphans, c->chunks.v[i]) < 0)
			return no_memory(c->r);
	return 0;
}

/* ---- frames ---- */

static void see_map(struct recover *r, const struct runs *map)
{
	for (size_t i = 0; i < map->n; i++)
		if (map->v[i].addr)
			recover_see_page(r, map->v[i].addr + map->v[i].len - 1);
}

static int put_frame(struct collect *c, const struct frame *frame)
{
	struct buf runs = {0};
	struct index_frame row = {
		.fid = frame->fid, .digest = frame->digest, .pack = c->pack->number,
	};
	int rc;

	see_map(c->r, &frame->map);
	if (frame->fid >= c->r->next_fid)
		c->r->next_fid = frame->fid + 1;
	runs_encode(&frame->map, &runs);
	row.runs = runs.data;
	row.runs_len = (uint32_t)runs.len;
	rc = buf_error(&runs) < 0 ? no_memory(c->r) :
		index_frame_put(c->r->store->index, &row, c->r->err);
	buf_fini(&runs);
	return rc;
}

static int collect_maps(struct collect *c, const struct scan_item *item)
{
	struct frame frame;
	struct rd rd;
	uint64_t n;
	int rc = 0;

	rd_init(&rd, item->payload, item->record.len);
	for (n = rd_varint(&rd); rc == 0 && n > 0 && rd_ok(&rd); n--) {
		rc = frame_decode(&rd, &frame);
		if (rc == -ENOMEM)
			return no_memory(c->r);
		if (rc < 0)
			break;
		if (frame.fid <= RECOVER_FID_MAX)
			rc = put_frame(c, &frame);
		else
			rd.bad = true;
		frame_fini(&frame);
		if (rc < 0)
			return rc;
	}
	return rc < 0 || !rd_done(&rd) ? odd_record(c, item, "a record of frame maps") : 0;
}

/* ---- layers and decisions ---- */

static int get_layer_seq(void *ctx, const struct index_layer *l)
{
	*(uint64_t *)ctx = l->seq;
	return 0;
}

static int put_layer(struct collect *c, const struct layer *layer, const struct scan_item *item)
{
	struct index_layer row = {
		.id = layer->id, .seq = layer->seq, .pack = c->pack->number,
		.manifest = item->payload, .manifest_len = item->record.len,
	};
	struct index *ix = c->r->store->index;
	uint64_t seq = 0;
	int rc = index_layer_get(ix, &layer->id, get_layer_seq, &seq, c->r->err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	return seq > layer->seq ? 0 : index_layer_put(ix, &row, c->r->err);
}

static int collect_layer(struct collect *c, const struct scan_item *item)
{
	struct layer *layer;
	struct rd rd;
	int rc;

	see_seq(c->r, item->record.id);
	rd_init(&rd, item->payload, item->record.len);
	rc = layer_decode(&rd, item->record.id, &layer);
	if (rc == -ENOMEM)
		return no_memory(c->r);
	if (rc < 0)
		return odd_record(c, item, "a layer's manifest");
	c->r->algo = layer->algo;
	rc = put_layer(c, layer, item);
	layer_unref(layer);
	return rc;
}

static int get_decision_seq(void *ctx, const struct index_decision *d)
{
	*(uint64_t *)ctx = d->seq;
	return 0;
}

/*
 * Where it was first written is not known; what it speaks against is no later
 * than its last copy, so that is what a tombstone waits for.
 */
static int collect_decision(struct collect *c, const struct scan_item *item)
{
	struct index *ix = c->r->store->index;
	struct index_decision d;
	struct rd rd;
	uint64_t seq = 0;
	int rc;

	see_seq(c->r, item->record.id);
	rd_init(&rd, item->payload, item->record.len);
	if (decide_decode(&rd, item->record.id, &d) < 0)
		return odd_record(c, item, "a decision");
	rc = index_decision_get(ix, &d, get_decision_seq, &seq, c->r->err);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	d.pack = d.opack = c->pack->number;
	return seq > d.seq ? 0 : index_decision_put(ix, &d, c->r->err);
}

/* ---- a pack ---- */

static int collect_record(struct collect *c, const struct scan_item *item)
{
	c->r->res.records++;
	c->pack->end = item->off + item->len;
	switch (item->record.type) {
	case RECORD_CHUNK:
		return collect_chunk(c, item);
	case RECORD_DIGESTS:
		return collect_digests(c, item);
	case RECORD_MAPS:
		return collect_maps(c, item);
	case RECORD_LAYER:
		return collect_layer(c, item);
	default:
		return collect_decision(c, item);
	}
}

static int collect_item(struct collect *c, const struct scan_item *item)
{
	struct recover *r = c->r;

	r->bytes += item->len;
	if (!item->damage)
		return collect_record(c, item);
	r->res.damaged++;
	c->pack->damaged = true;
	recover_note(r, "pack %08x: %llu bytes at byte %llu skipped: %s", c->pack->number,
		     (unsigned long long)item->len, (unsigned long long)item->off, item->damage);
	return 0;
}

static int collect_all(struct collect *c, struct scan *scan)
{
	struct recover *r = c->r;
	struct scan_item item;
	int rc;

	while ((rc = scan_next(scan, &item, r->err)) == 1) {
		rc = collect_item(c, &item);
		if (rc == 0)
			rc = progress_tell(&r->opts->progress, "reading packs", PROGRESS_BYTES,
					   r->bytes, r->total);
		if (rc < 0)
			return rc;
	}
	return rc < 0 ? rc : keep_orphans(c);
}

static int open_scan(struct recover *r, uint32_t number, struct scan **ret)
{
	uint64_t len, alloc;
	int rc = packs_size(r->store->packs, number, &len, &alloc);

	if (rc < 0)
		return err_sys(r->err, rc, "cannot look at pack %08x", number);
	return scan_open(r->store->packs, number, PACK_HEADER_LEN, len, ret, r->err);
}

static int collect_pack(struct recover *r, struct recover_pack *pack)
{
	struct collect c = {.r = r, .pack = pack};
	struct index *ix = r->store->index;
	struct scan *scan;
	int rc = open_scan(r, pack->number, &scan);

	if (rc < 0)
		return rc;
	rc = index_begin(ix, r->err);
	if (rc == 0)
		rc = collect_all(&c, scan);
	if (rc == 0)
		rc = index_commit(ix, r->err);
	index_abort(ix);
	index_checkpoint(ix);
	vec_fini(&c.chunks);
	scan_close(scan);
	return rc;
}

int recover_packs_collect(struct recover *r)
{
	int rc = 0;

	for (size_t i = 0; i < r->packs.n && rc == 0; i++)
		rc = collect_pack(r, &r->packs.v[i]);
	r->res.packs = r->packs.n;
	return rc;
}
