/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One pass over all layers in one snapshot of the index.  What is live is
 * marked as gc would; a chunk of which some pages are dead is taken to shrink
 * in proportion, so `dead` is an estimate.
 */
#include "store/usage.h"

#include <stdlib.h>
#include <unistd.h>

#include "store/base/vec.h"
#include "store/decide.h"
#include "store/index.h"
#include "store/live-dir.h"
#include "store/mark.h"
#include "store/pack.h"
#include "store/record.h"
#include "store/seg.h"
#include "store/store.h"
#include "store/usage-private.h"

#define MAP_OVERHEAD (DIGEST_LEN + 6u)	/* of a frame in RECORD_MAPS: fid, digest, length */

/* ---- frames ---- */

static uint16_t data_pages(const struct runs *map)
{
	uint64_t n = 0;

	for (size_t i = 0; i < map->n; i++)
		if (map->v[i].addr)
			n += map->v[i].len;
	return (uint16_t)n;
}

static int add_frame(void *ctx, const struct index_frame *row)
{
	struct usage_frames *frames = ctx;
	struct usage_frame f = {.fid = row->fid};
	struct runs map = {0};
	struct rd rd;
	int rc;

	rd_init(&rd, row->runs, row->runs_len);
	rc = runs_decode(&map, &rd, FRAME_PAGES, FRAME_PAGES);
	if (rc < 0)
		return rc;
	f.data = data_pages(&map);
	runs_fini(&map);
	frames->map_bytes += row->runs_len + MAP_OVERHEAD;
	return vec_push(frames, f);
}

int usage_frames_load(struct store *store, struct usage_frames *ret, struct err *err)
{
	struct usage_frames frames = {0};
	struct err why = {"out of memory"};
	int rc = index_frame_each(store->index, add_frame, &frames, &why);

	if (rc < 0) {
		usage_frames_fini(&frames);
		return err_set(err, rc, "%s", why.text);
	}
	*ret = frames;
	return 0;
}

void usage_frames_fini(struct usage_frames *frames)
{
	vec_fini(frames);
}

struct usage_frame *usage_frames_find(struct usage_frames *frames, uint64_t fid,
				      struct usage_frame *last)
{
	size_t lo = 0, hi = frames->n;

	if (last && last + 1 < frames->v + frames->n && last[1].fid == fid)
		return last + 1;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (frames->v[mid].fid == fid)
			return &frames->v[mid];
		if (frames->v[mid].fid < fid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* ---- layers ---- */

struct layer_walk {
	int (*fn)(void *ctx, const struct layer *layer);
	void *ctx;
	struct err *err;
};

static int walk_layer(void *ctx, const struct index_layer *row)
{
	struct layer_walk *w = ctx;
	struct layer *layer;
	struct rd rd;
	int rc;

	rd_init(&rd, row->manifest, row->manifest_len);
	rc = layer_decode(&rd, row->seq, &layer);
	if (rc < 0)
		return err_sys(w->err, rc, "cannot read a layer's manifest");
	rc = w->fn(w->ctx, layer);
	layer_unref(layer);
	return rc;
}

int usage_each_layer(struct store *store, int (*fn)(void *ctx, const struct layer *layer),
		     void *ctx, struct err *err)
{
	struct layer_walk w = {fn, ctx, err};

	return decide_layer_each(store, walk_layer, &w, err);
}

static int each_of_run(const struct run *run, struct usage_frames *frames,
		       int (*fn)(void *ctx, struct usage_frame *frame), void *ctx, struct err *err)
{
	struct usage_frame *frame = NULL;
	int rc = 0;

	for (uint64_t i = 0; i < run->len && rc == 0; i++) {
		frame = usage_frames_find(frames, run->addr + i, frame);
		if (!frame)
			return err_set(err, -EBADMSG, "frame %llu is not in the index",
				       (unsigned long long)(run->addr + i));
		rc = fn(ctx, frame);
	}
	return rc;
}

int usage_each_frame(const struct layer *layer, struct usage_frames *frames,
		     int (*fn)(void *ctx, struct usage_frame *frame), void *ctx, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < layer->nimages && rc == 0; i++) {
		const struct runs *runs = &layer->image[i].frames;

		for (size_t j = 0; j < runs->n && rc == 0; j++)
			if (runs->v[j].addr)
				rc = each_of_run(&runs->v[j], frames, fn, ctx, err);
	}
	return rc;
}

/* ---- the store ---- */

struct total {
	struct store *store;
	struct usage u;
	struct usage_frames frames;
	struct mark *mark;
	uint64_t rows;		/* layers, removed ones too */
	uint64_t live;		/* bytes in packs */
	struct err *err;
};

static int add_data(void *ctx, struct usage_frame *frame)
{
	struct total *t = ctx;

	t->u.data += (uint64_t)frame->data * PAGE_SIZE;
	return 0;
}

static int add_layer(void *ctx, const struct layer *layer)
{
	struct total *t = ctx;
	int rc = mark_layer(t->mark, layer, t->err);

	if (rc < 0)
		return rc;
	t->u.layers++;
	for (unsigned i = 0; i < layer->nimages; i++)
		t->u.logical += layer->image[i].size;
	return usage_each_frame(layer, &t->frames, add_data, t, t->err);
}

static unsigned live_pages(const struct mark_seg *m, const struct seg_chunk *c)
{
	unsigned n = 0;

	for (unsigned slot = 0; m && slot < c->span; slot++) {
		uint32_t i = c->first + slot;

		n += m->bits[i >> 3] >> (i & 7) & 1;
	}
	return n;
}

static void count_seg(struct total *t, const struct seg *seg)
{
	const struct mark_seg *m = mark_seg_find(t->mark, seg->first);
	uint64_t live = 0, pages = 0;

	for (uint32_t i = 0; i < seg->nchunks; i++) {
		const struct seg_chunk *c = &seg->chunk[i];
		unsigned n = live_pages(m, c);

		t->u.chunks += c->len != 0;
		if (n == 0 || c->len == 0)
			continue;
		live += RECORD_HEADER_LEN +
			(uint64_t)c->len * n / (unsigned)__builtin_popcount(c->slots);
		pages += n;
	}
	t->u.segs++;
	t->u.digest_bytes += RECORD_HEADER_LEN + seg->dig_len;
	if (pages)
		live += RECORD_HEADER_LEN + seg->dig_len - (seg->npages - pages) * DIGEST_LEN;
	t->live += live;
}

static int add_seg(void *ctx, const struct index_seg *row)
{
	struct total *t = ctx;
	struct seg *seg;
	struct rd rd;
	int rc;

	rd_init(&rd, row->table, row->table_len);
	rc = seg_decode(row->first, row->pack, row->off, &rd, &seg);
	if (rc < 0)
		return err_sys(t->err, rc, "cannot read segment " PADDR_FMT,
			       PADDR_ARG(row->first));
	seg->dig_len = row->dig_len;
	count_seg(t, seg);
	seg_unref(seg);
	return 0;
}

static int add_pack(void *ctx, const struct index_pack *p)
{
	struct total *t = ctx;
	uint64_t len, alloc;

	t->u.packs++;
	t->u.stored += packs_size(t->store->packs, p->number, &len, &alloc) < 0 ? p->end : len;
	t->live += PACK_HEADER_LEN;
	return 0;
}

static int add_decision(void *ctx, const struct index_decision *d)
{
	struct total *t = ctx;

	t->u.tags += d->kind == DECISION_TAG && d->has_value;
	t->u.live += d->kind == DECISION_LIVE && d->has_value;
	t->u.map_bytes += RECORD_HEADER_LEN + 6 + d->key_len + d->value_len;
	return 0;
}

static int add_row(void *ctx, const struct index_layer *row)
{
	struct total *t = ctx;

	t->rows++;
	t->u.map_bytes += RECORD_HEADER_LEN + row->manifest_len;
	return 0;
}

static int count_rows(struct total *t)
{
	struct index *ix = t->store->index;
	int rc = index_pack_each(ix, add_pack, t, t->err);

	if (rc == 0)
		rc = index_seg_each(ix, add_seg, t, t->err);
	if (rc == 0)
		rc = index_decision_each(ix, 0, add_decision, t, t->err);
	if (rc == 0)
		rc = index_layer_each(ix, add_row, t, t->err);
	if (rc == 0)
		rc = index_hook_count(ix, &t->u.hooks, t->err);
	if (rc == 0 && (rc = index_size(ix, &t->u.index)) < 0)
		(void)err_sys(t->err, rc, "cannot look at the size of the index");
	return rc;
}

static int count_live(struct total *t)
{
	int fd = live_dir_open_all(t->store), rc = fd;

	if (fd == -ENOENT)
		return 0;
	if (fd >= 0) {
		rc = live_dir_bytes(fd, &t->u.live_bytes);
		close(fd);
	}
	return rc < 0 ? err_sys(t->err, rc, "cannot look at the sizes of live images") : 0;
}

static void finish(struct total *t)
{
	uint64_t rest;

	t->u.removed = t->rows - t->u.layers;
	t->u.frames = t->frames.n;
	t->u.distinct = mark_pages(t->mark) * PAGE_SIZE;
	t->u.map_bytes += t->frames.map_bytes;
	t->live += t->u.map_bytes;
	rest = t->u.digest_bytes + t->u.map_bytes + t->u.packs * PACK_HEADER_LEN;
	t->u.chunk_bytes = t->u.stored > rest ? t->u.stored - rest : 0;
	t->u.dead = t->u.stored > t->live ? t->u.stored - t->live : 0;
}

static int count_all(struct total *t)
{
	int rc = usage_frames_load(t->store, &t->frames, t->err);

	if (rc == 0)
		rc = usage_each_layer(t->store, add_layer, t, t->err);
	if (rc == 0)
		rc = count_rows(t);
	if (rc == 0)
		rc = count_live(t);
	if (rc == 0)
		finish(t);
	return rc;
}

int usage_store(struct store *store, struct usage *ret, struct err *err)
{
	struct total t = {.store = store, .err = err};
	int rc = mark_new(store, &t.mark);

	if (rc < 0)
		return err_set(err, rc, "out of memory");
	rc = index_snapshot_begin(store->index, err);
	if (rc == 0) {
		rc = count_all(&t);
		index_snapshot_end(store->index);
	}
	usage_frames_fini(&t.frames);
	mark_free(t.mark);
	if (rc == 0)
		*ret = t.u;
	return rc;
}
