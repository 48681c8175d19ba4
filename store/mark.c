/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three sets, which only grow: layers (a hash table of ids), frames (a bitmap
 * by frame id), pages (a bitmap for each segment that has any).
 *
 * A frame's map is decoded once, past the cache, and its bit is set after all
 * of its pages were found.  So a frame that cannot be marked is tried again for
 * the next layer that has it, and fails for that one too.  After a failure the
 * mark may hold more than what is reachable, never less.
 *
 * Segments stand in an array by address.  Runs of a map follow each other
 * within one segment nearly always, so the last one is looked at first.
 */
#include "store/mark.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/fmt.h"
#include "store/base/vec.h"
#include "store/frame.h"
#include "store/seg.h"
#include "store/store.h"

#define NAME_BYTES 6		/* of a layer's id, in sentences */

struct entry {
	struct mark_seg pub;
	uint8_t *there;		/* pages that the segment has */
};

struct ids {
	struct digest *v;	/* open addressing; zero: empty */
	size_t n;
	size_t cap;		/* a power of two, or 0 */
};

struct mark {
	struct store *store;
	struct ids layers;
	uint8_t *frames;	/* bit fid */
	size_t frames_len;	/* bytes */
	struct entry **segs;	/* by address */
	size_t nsegs;
	size_t segs_cap;
	struct entry *last;	/* the one found last, or NULL */
	uint64_t pages;
};

static bool bit_get(const uint8_t *bits, uint64_t i)
{
	return bits[i >> 3] >> (i & 7) & 1;
}

static void bit_set(uint8_t *bits, uint64_t i)
{
	bits[i >> 3] |= (uint8_t)(1u << (i & 7));
}

int mark_new(struct store *store, struct mark **ret)
{
	struct mark *mark = calloc(1, sizeof(*mark));

	if (!mark)
		return -ENOMEM;
	mark->store = store;
	*ret = mark;
	return 0;
}

void mark_free(struct mark *mark)
{
	if (!mark)
		return;
	for (size_t i = 0; i < mark->nsegs; i++)
		free(mark->segs[i]);
	free(mark->segs);
	free(mark->frames);
	free(mark->layers.v);
	free(mark);
}

/* ---- layers ---- */

/* The slot that holds `id`, or the empty one where it would go. */
static struct digest *ids_slot(const struct ids *ids, const struct digest *id)
{
	size_t i = (size_t)digest_key(id) & (ids->cap - 1);

	while (!digest_is_zero(&ids->v[i]) && !digest_equal(&ids->v[i], id))
		i = (i + 1) & (ids->cap - 1);
	return &ids->v[i];
}

static int ids_grow(struct ids *ids)
{
	struct ids bigger = {.cap = ids->cap ? ids->cap * 2 : 64, .n = ids->n};

	bigger.v = calloc(bigger.cap, sizeof(*bigger.v));
	if (!bigger.v)
		return -ENOMEM;
	for (size_t i = 0; i < ids->cap; i++)
		if (!digest_is_zero(&ids->v[i]))
			*ids_slot(&bigger, &ids->v[i]) = ids->v[i];
	free(ids->v);
	*ids = bigger;
	return 0;
}

static int ids_add(struct ids *ids, const struct digest *id)
{
	struct digest *slot;

	if (ids->n * 2 >= ids->cap && ids_grow(ids) < 0)
		return -ENOMEM;
	slot = ids_slot(ids, id);
	if (digest_is_zero(slot))
		ids->n++;
	*slot = *id;
	return 0;
}

bool mark_has_layer(const struct mark *mark, const struct digest *id)
{
	return mark->layers.cap && !digest_is_zero(ids_slot(&mark->layers, id));
}

/* ---- segments ---- */

/* How many segments begin at or before `paddr`. */
static size_t segs_before(const struct mark *mark, uint64_t paddr)
{
	size_t lo = 0, hi = mark->nsegs;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (mark->segs[mid]->pub.first <= paddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool covers(const struct entry *e, uint64_t paddr)
{
	return paddr >= e->pub.first && paddr - e->pub.first < e->pub.span;
}

static struct entry *seg_of(const struct mark *mark, uint64_t paddr)
{
	size_t n = segs_before(mark, paddr);

	return n > 0 && covers(mark->segs[n - 1], paddr) ? mark->segs[n - 1] : NULL;
}

static struct entry *entry_new(const struct seg *seg)
{
	size_t len = (seg->span + 7) / 8;
	struct entry *e = calloc(1, sizeof(*e) + 2 * len);

	if (!e)
		return NULL;
	e->pub.first = seg->first;
	e->pub.span = seg->span;
	e->pub.bits = (uint8_t *)(e + 1);
	e->there = e->pub.bits + len;
	for (uint32_t i = 0; i < seg->nchunks; i++)
		for (unsigned slot = 0; slot < seg->chunk[i].span; slot++)
			if (seg->chunk[i].slots >> slot & 1)
				bit_set(e->there, seg->chunk[i].first + slot);
	return e;
}

static int add_entry(struct mark *mark, struct entry *e)
{
	size_t at = segs_before(mark, e->pub.first);

	if (vec_grow_((void **)&mark->segs, mark->nsegs, &mark->segs_cap, sizeof(e)) < 0)
		return -ENOMEM;
	memmove(mark->segs + at + 1, mark->segs + at, (mark->nsegs - at) * sizeof(e));
	mark->segs[at] = e;
	mark->nsegs++;
	return 0;
}

/* Takes the segment in from the index. */
static int load_seg(struct mark *mark, uint64_t paddr, struct entry **ret, struct err *err)
{
	struct entry *e;
	struct seg *seg;
	int rc = seg_get(mark->store, paddr, &seg, err);

	if (rc < 0)
		return rc;
	e = entry_new(seg);
	seg_unref(seg);
	if (!e || add_entry(mark, e) < 0) {
		free(e);
		return err_set(err, -ENOMEM, "out of memory");
	}
	*ret = e;
	return 0;
}

static int find_seg(struct mark *mark, uint64_t paddr, struct entry **ret, struct err *err)
{
	struct entry *e = mark->last;
	int rc = 0;

	if (!e || !covers(e, paddr))
		e = seg_of(mark, paddr);
	if (!e)
		rc = load_seg(mark, paddr, &e, err);
	if (rc == 0)
		*ret = mark->last = e;
	return rc;
}

/* ---- pages ---- */

static int page_is_gone(uint64_t paddr, struct err *err)
{
	return err_set(err, -EBADMSG, "page " PADDR_FMT " is not in the store", PADDR_ARG(paddr));
}

static int mark_pages_of(struct mark *mark, struct entry *e, uint64_t paddr, uint64_t n,
			 struct err *err)
{
	for (uint64_t i = paddr - e->pub.first, end = i + n; i < end; i++) {
		if (!bit_get(e->there, i))
			return page_is_gone(e->pub.first + i, err);
		if (bit_get(e->pub.bits, i))
			continue;
		bit_set(e->pub.bits, i);
		e->pub.live++;
		mark->pages++;
	}
	return 0;
}

/* A run of addresses, which may reach over several segments. */
static int mark_run(struct mark *mark, uint64_t paddr, uint64_t len, struct err *err)
{
	while (len > 0) {
		struct entry *e = NULL;
		uint64_t n;
		int rc = find_seg(mark, paddr, &e, err);

		if (rc == -ENOENT)
			return page_is_gone(paddr, err);
		if (rc < 0)
			return rc;
		n = e->pub.first + e->pub.span - paddr;
		if (n > len)
			n = len;
		rc = mark_pages_of(mark, e, paddr, n, err);
		if (rc < 0)
			return rc;
		paddr += n;
		len -= n;
	}
	return 0;
}

/* ---- frames ---- */

static int add_frame(struct mark *mark, uint64_t fid)
{
	size_t want = (size_t)(fid >> 3) + 1, len = mark->frames_len;
	uint8_t *bits;

	if (want > len) {
		while (len < want)
			len = len ? len * 2 : 1024;
		bits = realloc(mark->frames, len);
		if (!bits)
			return -ENOMEM;
		memset(bits + mark->frames_len, 0, len - mark->frames_len);
		mark->frames = bits;
		mark->frames_len = len;
	}
	bit_set(mark->frames, fid);
	return 0;
}

bool mark_has_frame(const struct mark *mark, uint64_t fid)
{
	return fid >> 3 < mark->frames_len && bit_get(mark->frames, fid);
}

static int mark_map(struct mark *mark, const struct runs *map, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < map->n && rc == 0; i++)
		if (map->v[i].addr)
			rc = mark_run(mark, map->v[i].addr, map->v[i].len, err);
	return rc;
}

int mark_frame(struct mark *mark, uint64_t fid, struct err *err)
{
	struct frame frame;
	int rc;

	if (fid == 0 || mark_has_frame(mark, fid))
		return 0;
	rc = frame_load(mark->store, fid, &frame, err);
	if (rc < 0)
		return rc == -ENOENT ? -EBADMSG : rc;
	rc = mark_map(mark, &frame.map, err);
	frame_fini(&frame);
	if (rc < 0)
		return err_wrap(err, rc, "frame %llu", (unsigned long long)fid);
	/* It exists, so its id is no larger than what was ever given out. */
	return add_frame(mark, fid) < 0 ? err_set(err, -ENOMEM, "out of memory") : 0;
}

static int mark_image(struct mark *mark, const struct image *image, struct err *err)
{
	for (size_t i = 0; i < image->frames.n; i++) {
		const struct run *run = &image->frames.v[i];

		for (uint64_t j = 0; run->addr && j < run->len; j++) {
			int rc = mark_frame(mark, run->addr + j, err);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

int mark_layer(struct mark *mark, const struct layer *layer, struct err *err)
{
	char name[2 * NAME_BYTES + 1];
	int rc = 0;

	if (mark_has_layer(mark, &layer->id))
		return 0;
	for (unsigned i = 0; i < layer->nimages && rc == 0; i++)
		rc = mark_image(mark, &layer->image[i], err);
	if (rc < 0)
		return err_wrap(err, rc, "layer %s", fmt_hex(name, layer->id.b, NAME_BYTES));
	return ids_add(&mark->layers, &layer->id) < 0 ? err_set(err, -ENOMEM, "out of memory") : 0;
}

/* ---- questions ---- */

bool mark_has_page(const struct mark *mark, uint64_t paddr)
{
	const struct entry *e = seg_of(mark, paddr);

	return e && bit_get(e->pub.bits, paddr - e->pub.first);
}

const struct mark_seg *mark_seg_find(const struct mark *mark, uint64_t first)
{
	const struct entry *e = seg_of(mark, first);

	return e && e->pub.first == first && e->pub.live ? &e->pub : NULL;
}

uint64_t mark_pages(const struct mark *mark)
{
	return mark->pages;
}
