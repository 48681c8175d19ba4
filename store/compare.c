/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two arrays of frames side by side.  Equal frame ids are equal frames and are
 * passed by the run; then frame digests are compared, then page addresses, and
 * only pages with two different addresses cost a look at their digests, of
 * which the last few lists are kept.
 */
#include "store/compare.h"

#include <stdlib.h>
#include <string.h>

#include "store/digest.h"
#include "store/format.h"
#include "store/frame.h"
#include "store/seg.h"
#include "store/store.h"

#define LISTS 8			/* of at most 512 KiB */

struct list {
	struct seg *seg;
	struct digest *digests;
	uint64_t used;
};

struct compare {
	struct store *store;
	int (*fn)(void *ctx, const struct compare_frame *f);
	void *ctx;
	struct err *err;
	struct list lists[LISTS];
	uint64_t clock;
};

/* A layer that is there misses something: that is no ordinary "not found". */
static int damage(int rc)
{
	return rc == -ENOENT ? -EBADMSG : rc;
}

/* ---- digests of pages ---- */

static void list_fini(struct list *l)
{
	seg_unref(l->seg);
	free(l->digests);
	*l = (struct list){0};
}

static struct list *list_find(struct compare *c, uint64_t paddr)
{
	struct list *oldest = &c->lists[0];

	for (int i = 0; i < LISTS; i++) {
		struct list *l = &c->lists[i];

		if (l->seg && paddr >= l->seg->first && paddr - l->seg->first < l->seg->span)
			return l;
		if (l->used < oldest->used)
			oldest = l;
	}
	list_fini(oldest);
	return oldest;
}

static int list_load(struct compare *c, struct list *l, uint64_t paddr)
{
	int rc = 0;

	/* A segment that was just moved is looked up once more. */
	for (int tries = 0; tries < 2; tries++) {
		rc = seg_get(c->store, paddr, &l->seg, c->err);
		if (rc < 0)
			return rc;
		rc = seg_digests(c->store, l->seg, &l->digests, c->err);
		if (rc == 0)
			return 0;
		if (rc == -ENOENT)
			seg_forget(c->store, l->seg);
		list_fini(l);
		if (rc != -ENOENT)
			break;
	}
	return rc;
}

static int page_digest(struct compare *c, uint64_t paddr, struct digest *ret)
{
	struct list *l = list_find(c, paddr);
	int64_t rank;
	int rc = l->seg ? 0 : damage(list_load(c, l, paddr));

	if (rc < 0)
		return rc;
	l->used = ++c->clock;
	rank = seg_rank(l->seg, paddr);
	if (rank < 0)
		return err_set(c->err, -EBADMSG, "page " PADDR_FMT " is not in the store",
			       PADDR_ARG(paddr));
	*ret = l->digests[rank];
	return 0;
}

/* ---- one frame ---- */

/* 1 if the pages at two addresses have the same content. */
static int same_page(struct compare *c, uint64_t a, uint64_t b)
{
	struct digest da, db;
	int rc;

	if (a == b)
		return 1;
	if (a == 0 || b == 0)
		return 0;
	rc = page_digest(c, a, &da);
	if (rc == 0)
		rc = page_digest(c, b, &db);
	return rc < 0 ? rc : digest_equal(&da, &db);
}

static void set_bit(uint8_t *bits, unsigned i)
{
	bits[i / 8] |= (uint8_t)(1u << (i % 8));
}

static int compare_maps(struct compare *c, const struct frame *a, const struct frame *b,
			struct compare_frame *out)
{
	for (unsigned i = 0; i < FRAME_PAGES; i++) {
		uint64_t pa = a ? runs_at(&a->map, i) : 0, pb = b ? runs_at(&b->map, i) : 0;
		int same = same_page(c, pa, pb);

		if (same < 0)
			return same;
		if (!same) {
			set_bit(out->differ, i);
			out->npages++;
		}
		if (pa == 0)
			set_bit(out->a_zero, i);
		if (pb == 0)
			set_bit(out->b_zero, i);
	}
	return out->npages ? c->fn(c->ctx, out) : 0;
}

/* fid 0 is a frame of zeros and has no map. */
static int get(struct compare *c, uint64_t fid, struct cache_entry **ret,
	       const struct frame **ret_frame)
{
	*ret = NULL;
	*ret_frame = NULL;
	return fid ? damage(frame_get(c->store, fid, ret, ret_frame, c->err)) : 0;
}

static int compare_frames(struct compare *c, uint64_t frame, uint64_t fid_a, uint64_t fid_b)
{
	struct compare_frame out = {.frame = frame};
	struct cache_entry *entry_a, *entry_b = NULL;
	const struct frame *a, *b = NULL;
	int rc = get(c, fid_a, &entry_a, &a);

	if (rc == 0)
		rc = get(c, fid_b, &entry_b, &b);
	if (rc == 0 && !(a && b && digest_equal(&a->digest, &b->digest)))
		rc = compare_maps(c, a, b, &out);
	frame_put(c->store, entry_a);
	frame_put(c->store, entry_b);
	return rc;
}

/* ---- images ---- */

/* The frame id at `pos`, and up to where that run goes (`end` past the image). */
static uint64_t fid_at(const struct image *image, uint64_t pos, uint64_t end, uint64_t *ret_end)
{
	const struct run *run = image ? runs_find(&image->frames, pos) : NULL;

	*ret_end = end;
	if (!run)
		return 0;
	*ret_end = run->pos + run->len;
	return run->addr ? run->addr + (pos - run->pos) : 0;
}

static int compare_all(struct compare *c, const struct image *a, const struct image *b)
{
	uint64_t na = a ? a->nframes : 0, nb = b ? b->nframes : 0, end = na > nb ? na : nb;
	uint64_t pos = 0;
	int rc = 0;

	while (pos < end && rc == 0) {
		uint64_t end_a, end_b, until;
		uint64_t fid_a = fid_at(a, pos, end, &end_a), fid_b = fid_at(b, pos, end, &end_b);

		/* Within a run ids go on alike: all zeros, or one more each. */
		until = end_a < end_b ? end_a : end_b;
		if (fid_a == fid_b)
			pos = until;
		else
			rc = compare_frames(c, pos++, fid_a, fid_b);
	}
	return rc;
}

int compare_images(struct store *store, const struct image *a, const struct image *b,
		   int (*fn)(void *ctx, const struct compare_frame *f), void *ctx, struct err *err)
{
	struct compare c = {.store = store, .fn = fn, .ctx = ctx, .err = err};
	int rc = compare_all(&c, a, b);

	for (int i = 0; i < LISTS; i++)
		list_fini(&c.lists[i]);
	return rc;
}
