/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A frame that has the parent's frame id is the parent's.  For others the
 * pages that differ come from compare_images(); which of those are new is
 * asked of a mark over all layers with a lower sequence number, to which each
 * frame of ours is added once it was looked at, so that a page counts as new
 * where it stands first.
 */
#include "src/cli/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/fmt.h"
#include "store/base/rd.h"
#include "store/base/vec.h"
#include "store/compare.h"
#include "store/decide.h"
#include "store/frame.h"
#include "store/mark.h"
#include "store/seg.h"

struct packs_seen {
	struct map_pack *v;
	size_t n;
	size_t cap;
};

struct loader {
	struct store *store;
	struct map *map;
	struct layer *parent;	/* or NULL */
	struct mark *earlier;	/* what layers before it hold, and its changed frames so far */
	struct mark *own;	/* its frames so far */
	struct seg *seg;	/* that the last address was in */
	struct packs_seen packs;
	struct map_image *mi;	/* being loaded */
	struct map_frame *frame;
	struct err *err;
};

/* --- what stood before --- */

static int mark_earlier(void *ctx, const struct index_layer *row)
{
	struct loader *ld = ctx;
	struct layer *layer;
	struct rd rd;
	int rc;

	if (row->seq >= ld->map->layer->seq)
		return 0;
	rd_init(&rd, row->manifest, row->manifest_len);
	rc = layer_decode(&rd, row->seq, &layer);
	if (rc < 0)
		return err_set(ld->err, rc, "the manifest of an earlier layer is damaged");
	rc = mark_layer(ld->earlier, layer, ld->err);
	layer_unref(layer);
	return rc;
}

static int load_parent(struct loader *ld)
{
	const struct layer *l = ld->map->layer;
	int rc = l->has_parent ? layer_open(ld->store, &l->parent, &ld->parent, ld->err) : 0;

	ld->map->compared = ld->parent != NULL;
	return rc == -ENOENT ? 0 : rc;
}

/* --- where pages are --- */

static int find_seg(struct loader *ld, uint64_t paddr)
{
	if (ld->seg && paddr >= ld->seg->first && paddr - ld->seg->first < ld->seg->span)
		return 0;
	seg_unref(ld->seg);
	ld->seg = NULL;
	return seg_get(ld->store, paddr, &ld->seg, ld->err);
}

static int count_pack(struct loader *ld, uint32_t number, uint64_t bytes)
{
	struct packs_seen *packs = &ld->packs;
	struct map_pack one = {number, 1, bytes};

	for (size_t i = packs->n; i > 0; i--) {
		if (packs->v[i - 1].number != number)
			continue;
		packs->v[i - 1].pages++;
		packs->v[i - 1].bytes += bytes;
		return 0;
	}
	return vec_push(packs, one) < 0 ? err_set(ld->err, -ENOMEM, "out of memory") : 0;
}

/* What a page takes: its part of its chunk's record. */
static int page_bytes(struct loader *ld, uint64_t paddr, uint64_t *ret)
{
	const struct seg_chunk *sc;
	int rc = find_seg(ld, paddr);

	if (rc < 0)
		return rc;
	sc = seg_find(ld->seg, paddr);
	if (!sc)
		return err_set(ld->err, -EBADMSG, "page %llx is in no chunk",
			       (unsigned long long)paddr);
	*ret = (RECORD_HEADER_LEN + sc->len) / (unsigned)__builtin_popcount(sc->slots);
	return 0;
}

static int count_page(struct loader *ld, uint64_t paddr)
{
	uint64_t bytes = 0;
	int rc = page_bytes(ld, paddr, &bytes);

	if (rc < 0)
		return rc;
	if (ld->frame->state == MAP_CHANGED && !mark_has_page(ld->earlier, paddr)) {
		ld->frame->fresh++;
		ld->frame->fresh_bytes += (uint32_t)bytes;
	}
	return mark_has_page(ld->own, paddr) ? 0 : count_pack(ld, ld->seg->pack, bytes);
}

static int by_address(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The addresses of its pages, ascending: neighbours are in one segment. */
static size_t page_addresses(const struct runs *map, uint64_t out[FRAME_PAGES])
{
	size_t n = 0;

	for (size_t i = 0; i < map->n; i++)
		for (uint64_t k = 0; map->v[i].addr && k < map->v[i].len; k++)
			out[n++] = map->v[i].addr + k;
	qsort(out, n, sizeof(*out), by_address);
	return n;
}

static int load_frame(struct loader *ld, uint64_t fid)
{
	uint64_t paddr[FRAME_PAGES];
	struct cache_entry *entry;
	const struct frame *frame;
	size_t n;
	int rc = frame_get(ld->store, fid, &entry, &frame, ld->err);

	if (rc < 0)
		return rc;
	n = page_addresses(&frame->map, paddr);
	frame_put(ld->store, entry);
	ld->frame->data = (uint16_t)n;
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (i == 0 || paddr[i] != paddr[i - 1])
			rc = count_page(ld, paddr[i]);
	if (rc == 0)
		rc = mark_frame(ld->own, fid, ld->err);
	if (rc == 0 && ld->frame->state == MAP_CHANGED)
		rc = mark_frame(ld->earlier, fid, ld->err);
	return rc;
}

/* What another image of the layer holds first is not new in one after it. */
static int pass_image(struct loader *ld, const struct image *image)
{
	const struct runs *frames = &image->frames;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < frames->n; i++)
		for (uint64_t k = 0; rc == 0 && frames->v[i].addr && k < frames->v[i].len; k++)
			rc = mark_frame(ld->earlier, frames->v[i].addr + k, ld->err);
	return rc;
}

/* --- an image --- */

static int on_differ(void *ctx, const struct compare_frame *f)
{
	struct loader *ld = ctx;

	/* The parent's image may be longer. */
	if (f->frame >= ld->mi->image->nframes)
		return 0;
	ld->mi->frame[f->frame].state = MAP_CHANGED;
	ld->mi->frame[f->frame].changed = (uint16_t)f->npages;
	return 0;
}

static void add_up(struct map_image *mi, const struct map_frame *f)
{
	mi->sum.frames[f->state]++;
	mi->sum.data += f->data;
	mi->sum.changed += f->changed;
	mi->sum.fresh += f->fresh;
	mi->sum.fresh_bytes += f->fresh_bytes;
}

static int load_frames(struct loader *ld)
{
	const struct runs *frames = &ld->mi->image->frames;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < frames->n; i++) {
		const struct run *run = &frames->v[i];

		for (uint64_t k = 0; rc == 0 && k < run->len; k++) {
			ld->frame = &ld->mi->frame[run->pos + k];
			if (run->addr && ld->frame->state == MAP_ZERO)
				ld->frame->state = MAP_SAME;
			if (run->addr)
				rc = load_frame(ld, run->addr + k);
			add_up(ld->mi, ld->frame);
		}
	}
	return rc;
}

static int load_image(struct loader *ld, const struct image *image)
{
	const struct image *before = ld->parent ? layer_image(ld->parent, image->name) : NULL;
	struct map_image *mi = &ld->map->image[ld->map->nimages];
	int rc;

	*mi = (struct map_image){.image = image};
	mi->frame = calloc(image->nframes + 1, sizeof(*mi->frame));
	if (!mi->frame)
		return err_set(ld->err, -ENOMEM, "out of memory");
	ld->map->nimages++;
	ld->mi = mi;
	rc = compare_images(ld->store, before, image, on_differ, ld, ld->err);
	return rc < 0 ? rc : load_frames(ld);
}

static int by_number(const void *a, const void *b)
{
	const struct map_pack *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static int load_images(struct loader *ld, const char *only)
{
	const struct layer *layer = ld->map->layer;
	const struct image *image = only ? layer_image(layer, only) : NULL;
	int rc = 0;

	if (only && !image)
		return err_set(ld->err, -ENOENT, "the layer has no image '%s'", only);
	for (unsigned i = 0; rc == 0 && i < layer->nimages; i++) {
		if (!image)
			rc = load_image(ld, &layer->image[i]);
		else if (image != &layer->image[i])
			rc = pass_image(ld, &layer->image[i]);
		else
			return load_image(ld, image);
	}
	return rc;
}

static int load(struct loader *ld, const char *only)
{
	int rc = mark_new(ld->store, &ld->earlier);

	if (rc == 0)
		rc = mark_new(ld->store, &ld->own);
	if (rc < 0)
		return err_set(ld->err, rc, "out of memory");
	rc = decide_layer_each(ld->store, mark_earlier, ld, ld->err);
	if (rc == 0)
		rc = load_parent(ld);
	return rc < 0 ? rc : load_images(ld, only);
}

int map_load(struct store *store, struct layer *layer, const char *only, struct map *ret,
	     struct err *err)
{
	struct loader ld = {.store = store, .map = ret, .err = err};
	int rc;

	*ret = (struct map){.layer = layer_ref(layer)};
	rc = load(&ld, only);
	if (ld.packs.n)
		qsort(ld.packs.v, ld.packs.n, sizeof(*ld.packs.v), by_number);
	ret->pack = ld.packs.v;
	ret->npacks = ld.packs.n;
	seg_unref(ld.seg);
	mark_free(ld.earlier);
	mark_free(ld.own);
	layer_unref(ld.parent);
	if (rc < 0)
		map_fini(ret);
	return rc;
}

void map_fini(struct map *map)
{
	for (unsigned i = 0; i < map->nimages; i++)
		free(map->image[i].frame);
	free(map->pack);
	layer_unref(map->layer);
	*map = (struct map){0};
}

unsigned map_eighths(const struct map_frame *f)
{
	return (f->changed * 8u + FRAME_PAGES - 1) / FRAME_PAGES;
}

char *map_summary(char out[MAP_SUMMARY_LEN], const struct map_image *mi)
{
	const struct map_sum *sum = &mi->sum;
	char bytes[FMT_SIZE_LEN];

	(void)snprintf(out, MAP_SUMMARY_LEN,
		       "%llu frames: %llu zero, %llu same, %llu changed; "
		       "%llu pages changed, %llu of them new (%s)",
		       (unsigned long long)mi->image->nframes,
		       (unsigned long long)sum->frames[MAP_ZERO],
		       (unsigned long long)sum->frames[MAP_SAME],
		       (unsigned long long)sum->frames[MAP_CHANGED],
		       (unsigned long long)sum->changed, (unsigned long long)sum->fresh,
		       fmt_size(bytes, sum->fresh_bytes));
	return out;
}

uint64_t map_bytes(const struct map *map)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < map->npacks; i++)
		bytes += map->pack[i].bytes;
	return bytes;
}

/* Whether the row at `first` is whole and has nothing but one quiet state. */
static bool uniform(const struct map_image *mi, uint64_t first)
{
	if (mi->image->nframes - first < MAP_ROW || mi->frame[first].state == MAP_CHANGED)
		return false;
	for (unsigned i = 1; i < MAP_ROW; i++)
		if (mi->frame[first + i].state != mi->frame[first].state)
			return false;
	return true;
}

bool map_next_rows(const struct map_image *mi, uint64_t first, struct map_rows *ret)
{
	uint64_t left = mi->image->nframes - first, n = 0;

	if (!left)
		return false;
	while (n < left && uniform(mi, first + n) &&
	       mi->frame[first + n].state == mi->frame[first].state)
		n += MAP_ROW;
	*ret = (struct map_rows){.first = first, .n = n};
	ret->folded = n > MAP_ROW;
	ret->state = mi->frame[first].state;
	if (!ret->folded)
		ret->n = left < MAP_ROW ? left : MAP_ROW;
	return true;
}
