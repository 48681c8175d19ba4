/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nothing but the maps of all of its frames says in which packs an image lies,
 * and to walk these takes a quarter of a second for 64 GiB, as long as all the
 * rest of a small commit.  To look at a pack costs as much as to load a map.  So
 * where there are fewer packs than frames all packs are looked at, whoever has
 * pages in them, and if these are fine nothing can be missing.  Only otherwise
 * the maps are walked, to find out whether the image is hurt, and then no pack
 * is looked at that it does not reach.
 */
#include "store/inherit.h"

#include <stdbool.h>
#include <stdlib.h>

#include "store/base/fmt.h"
#include "store/base/vec.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/pack.h"
#include "store/seg.h"
#include "store/store.h"

#define NAME_BYTES 6		/* of a layer's id, in sentences */

struct look {
	uint32_t number;
	uint64_t end;
	bool good;
};

struct inherit {
	struct store *store;
	VEC(struct look) packs;		/* by number */
	struct seg *seg;		/* the one found last, or NULL */
};

/* ---- packs ---- */

static int add_pack(void *ctx, const struct index_pack *row)
{
	struct inherit *in = ctx;
	struct look look = {.number = row->number, .end = row->end};

	return vec_push(&in->packs, look);
}

static int list_packs(struct inherit *in, struct err *err)
{
	struct err why = {"out of memory"};
	int rc = index_pack_each(in->store->index, add_pack, in, &why);

	return rc < 0 ? err_set(err, rc, "%s", why.text) : 0;
}

static int look_at(struct inherit *in, struct look *look, struct err *err)
{
	int rc;

	if (look->good)
		return 0;
	rc = packs_check_readable(in->store->packs, look->number, look->end, err);
	look->good = rc == 0;
	return rc;
}

static bool all_good(struct inherit *in)
{
	for (size_t i = 0; i < in->packs.n; i++)
		if (look_at(in, &in->packs.v[i], NULL) < 0)
			return false;
	return true;
}

static int check_pack(struct inherit *in, uint32_t number, struct err *err)
{
	size_t lo = 0, hi = in->packs.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (in->packs.v[mid].number == number)
			return look_at(in, &in->packs.v[mid], err);
		if (in->packs.v[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return err_set(err, -EBADMSG, "the index does not know pack %08x", number);
}

/* ---- maps ---- */

static int find_seg(struct inherit *in, uint64_t paddr, struct err *err)
{
	struct seg *seg;
	int rc;

	if (in->seg && paddr - in->seg->first < in->seg->span)
		return 0;
	rc = seg_get(in->store, paddr, &seg, err);
	if (rc < 0)
		return rc;
	seg_unref(in->seg);
	in->seg = seg;
	return check_pack(in, seg->pack, err);
}

static int check_run(struct inherit *in, const struct run *run, struct err *err)
{
	uint64_t done = 0;
	int rc = 0;

	while (run->addr && done < run->len && rc == 0) {
		rc = find_seg(in, run->addr + done, err);
		if (rc == 0)
			done = in->seg->first + in->seg->span - run->addr;
	}
	return rc;
}

static int check_frame(struct inherit *in, uint64_t fid, struct err *err)
{
	struct frame frame;
	int rc = frame_load(in->store, fid, &frame, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < frame.map.n && rc == 0; i++)
		rc = check_run(in, &frame.map.v[i], err);
	frame_fini(&frame);
	return rc;
}

static int check_image(struct inherit *in, const struct runs *frames, uint64_t nframes,
		       struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < frames->n && rc == 0; i++) {
		const struct run *run = &frames->v[i];

		for (uint64_t k = 0; run->addr && k < run->len && rc == 0; k++)
			if (run->pos + k < nframes)
				rc = check_frame(in, run->addr + k, err);
	}
	return rc;
}

/* ---- both ---- */

static uint64_t count_frames(const struct runs *frames, uint64_t nframes)
{
	uint64_t n = 0;

	for (size_t i = 0; i < frames->n; i++) {
		const struct run *run = &frames->v[i];

		if (run->addr && run->pos < nframes)
			n += run->len < nframes - run->pos ? run->len : nframes - run->pos;
	}
	return n;
}

/* What is not there where the index says that it is, is damage. */
static int explain(const struct layer *parent, const struct image *image, int rc,
		   const struct err *why, struct err *err)
{
	char name[2 * NAME_BYTES + 1];
	bool damage = rc == -ENOENT || rc == -EBADMSG;

	return err_set(err, damage ? -EBADMSG : rc,
		       "image '%s' of layer %s would be inherited, but cannot be read: %s%s",
		       image->name, fmt_hex(name, parent->id.b, NAME_BYTES), why->text,
		       damage ? "; 'lamina verify' tells all that is hurt, 'lamina recover' makes "
				"an index without it" : "");
}

static int check(struct inherit *in, const struct layer *parent, const uint64_t nframes[],
		 struct err *err)
{
	struct err why = {{0}};
	uint64_t n = 0;
	int rc;

	for (unsigned i = 0; i < parent->nimages; i++)
		n += count_frames(&parent->image[i].frames, nframes[i]);
	if (n == 0)
		return 0;
	rc = list_packs(in, err);
	if (rc < 0 || (in->packs.n <= n && all_good(in)))
		return rc;
	for (unsigned i = 0; i < parent->nimages; i++) {
		const struct image *image = &parent->image[i];

		rc = check_image(in, &image->frames, nframes[i], &why);
		if (rc < 0)
			return explain(parent, image, rc, &why, err);
	}
	return 0;
}

int inherit_check(struct store *store, const struct layer *parent, const uint64_t nframes[],
		  struct err *err)
{
	struct inherit in = {.store = store};
	int rc = check(&in, parent, nframes, err);

	seg_unref(in.seg);
	vec_fini(&in.packs);
	return rc;
}
