/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who alone reaches a page.  Each stored page has an owner: nobody (0), one
 * layer (its number from 1) or MANY.  A frame has one too, so that each map is
 * walked at most three times however many layers share it: when its first
 * layer claims its pages, when a second one makes them MANY, and to count.
 */
#include <stdlib.h>

#include "store/base/vec.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/record.h"
#include "store/seg.h"
#include "store/store.h"
#include "store/usage-private.h"
#include "store/usage.h"

#define MANY UINT32_MAX

struct owned_seg {
	uint64_t first;
	uint32_t span;
	uint32_t *owner;	/* of each page; NULL until one is reached */
};

struct owners {
	struct store *store;
	struct usage_frames frames;
	VEC(struct owned_seg) segs;	/* by address */
	VEC(struct usage_layer) layers;
	uint32_t me;		/* the layer that is being walked */
	struct err *err;
};

static int add_seg(void *ctx, const struct index_seg *row)
{
	struct owners *o = ctx;
	struct owned_seg s = {.first = row->first, .span = row->span};

	return vec_push(&o->segs, s) < 0 ? err_set(o->err, -ENOMEM, "out of memory") : 0;
}

static struct owned_seg *find_seg(struct owners *o, uint64_t paddr)
{
	size_t lo = 0, hi = o->segs.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (o->segs.v[mid].first <= paddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0 || paddr - o->segs.v[lo - 1].first >= o->segs.v[lo - 1].span)
		return NULL;
	return &o->segs.v[lo - 1];
}

/* The owners of pages from `paddr` on, and for how many they lie in a row. */
static int owners_at(struct owners *o, uint64_t paddr, uint32_t **ret, uint64_t *ret_n)
{
	struct owned_seg *s = find_seg(o, paddr);

	if (!s)
		return err_set(o->err, -EBADMSG, "page " PADDR_FMT " is not in the store",
			       PADDR_ARG(paddr));
	if (!s->owner)
		s->owner = calloc(s->span, sizeof(*s->owner));
	if (!s->owner)
		return err_set(o->err, -ENOMEM, "out of memory");
	*ret = s->owner + (paddr - s->first);
	*ret_n = s->span - (paddr - s->first);
	return 0;
}

static int each_page(struct owners *o, const struct runs *map,
		     void (*fn)(uint32_t *owner, void *ctx), void *ctx)
{
	for (size_t i = 0; i < map->n; i++) {
		uint64_t paddr = map->v[i].addr, left = paddr ? map->v[i].len : 0, n = 0;
		uint32_t *owner = NULL;

		while (left > 0) {
			int rc = owners_at(o, paddr, &owner, &n);

			if (rc < 0)
				return rc;
			n = n < left ? n : left;
			for (uint64_t j = 0; j < n; j++)
				fn(&owner[j], ctx);
			paddr += n;
			left -= n;
		}
	}
	return 0;
}

static int each_page_of(struct owners *o, const struct usage_frame *frame,
			void (*fn)(uint32_t *owner, void *ctx), void *ctx)
{
	struct cache_entry *entry;
	const struct frame *f;
	int rc = frame_get(o->store, frame->fid, &entry, &f, o->err);

	if (rc < 0)
		return rc;
	rc = each_page(o, &f->map, fn, ctx);
	frame_put(o->store, entry);
	return rc;
}

static void claim(uint32_t *owner, void *ctx)
{
	uint32_t me = *(const uint32_t *)ctx;

	*owner = *owner == 0 || *owner == me ? me : MANY;
}

static int claim_frame(void *ctx, struct usage_frame *frame)
{
	struct owners *o = ctx;
	int rc = 0;

	o->layers.v[o->me - 1].data += (uint64_t)frame->data * PAGE_SIZE;
	if (frame->owner == o->me || frame->owner == MANY)
		return 0;
	rc = each_page_of(o, frame, claim, &o->me);
	if (rc == 0)
		frame->owner = frame->owner ? MANY : o->me;
	return rc;
}

static int claim_layer(void *ctx, const struct layer *layer)
{
	struct owners *o = ctx;
	struct usage_layer u = {.id = layer->id};

	for (unsigned i = 0; i < layer->nimages; i++)
		u.logical += layer->image[i].size;
	if (vec_push(&o->layers, u) < 0)
		return err_set(o->err, -ENOMEM, "out of memory");
	o->me = (uint32_t)o->layers.n;
	return usage_each_frame(layer, &o->frames, claim_frame, o, o->err);
}

struct count {
	uint32_t me;
	uint16_t n;
};

static void count_mine(uint32_t *owner, void *ctx)
{
	struct count *c = ctx;

	c->n += *owner == c->me;
}

/* All layers have claimed what they reach: what is still one's own is exclusive. */
static int count_singles(struct owners *o)
{
	for (size_t i = 0; i < o->frames.n; i++) {
		struct usage_frame *f = &o->frames.v[i];
		struct count c = {.me = f->owner};
		int rc;

		if (f->owner == 0 || f->owner == MANY)
			continue;
		rc = each_page_of(o, f, count_mine, &c);
		if (rc < 0)
			return rc;
		f->single = c.n;
	}
	return 0;
}

static int add_single(void *ctx, struct usage_frame *frame)
{
	struct owners *o = ctx;

	o->layers.v[o->me - 1].exclusive += (uint64_t)frame->single * PAGE_SIZE;
	return 0;
}

static int add_singles(void *ctx, const struct layer *layer)
{
	struct owners *o = ctx;

	o->me++;
	return usage_each_frame(layer, &o->frames, add_single, o, o->err);
}

/* A chunk's bytes are shared out among its pages. */
static void add_chunk(struct owners *o, const struct seg_chunk *c, const uint32_t *owner)
{
	unsigned pages = (unsigned)__builtin_popcount(c->slots);
	uint64_t bytes = pages ? (RECORD_HEADER_LEN + c->len) / pages + DIGEST_LEN : 0;

	for (unsigned slot = 0; slot < c->span; slot++) {
		uint32_t who = owner[c->first + slot];

		if ((c->slots >> slot & 1) && who && who != MANY)
			o->layers.v[who - 1].exclusive_stored += bytes;
	}
}

static int add_stored(struct owners *o)
{
	for (size_t i = 0; i < o->segs.n; i++) {
		struct owned_seg *s = &o->segs.v[i];
		struct seg *seg;
		int rc;

		if (!s->owner)
			continue;
		rc = seg_get(o->store, s->first, &seg, o->err);
		if (rc < 0)
			return rc;
		for (uint32_t j = 0; j < seg->nchunks && seg->span <= s->span; j++)
			add_chunk(o, &seg->chunk[j], s->owner);
		seg_unref(seg);
	}
	return 0;
}

static int count_all(struct owners *o)
{
	int rc = usage_frames_load(o->store, &o->frames, o->err);

	if (rc == 0)
		rc = index_seg_each(o->store->index, add_seg, o, o->err);
	if (rc == 0)
		rc = usage_each_layer(o->store, claim_layer, o, o->err);
	if (rc == 0)
		rc = count_singles(o);
	o->me = 0;
	if (rc == 0)
		rc = usage_each_layer(o->store, add_singles, o, o->err);
	if (rc == 0)
		rc = add_stored(o);
	for (size_t i = 0; i < o->layers.n; i++)
		o->layers.v[i].shared = o->layers.v[i].data - o->layers.v[i].exclusive;
	return rc;
}

int usage_layers(struct store *store, struct usage_layer **ret, size_t *ret_n, struct err *err)
{
	struct owners o = {.store = store, .err = err};
	int rc = index_snapshot_begin(store->index, err);

	if (rc < 0)
		return rc;
	rc = count_all(&o);
	index_snapshot_end(store->index);
	for (size_t i = 0; i < o.segs.n; i++)
		free(o.segs.v[i].owner);
	vec_fini(&o.segs);
	usage_frames_fini(&o.frames);
	if (rc < 0) {
		vec_fini(&o.layers);
		return rc;
	}
	*ret = o.layers.v;
	*ret_n = o.layers.n;
	return 0;
}
