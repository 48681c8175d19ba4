/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/frame.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/store.h"
#include "store/verify-private.h"

int verify_faults_add(struct verify *v, struct verify_item item, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	(void)vsnprintf(item.reason, sizeof(item.reason), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&v->lock);
	rc = vec_push(&v->faults, item);
	pthread_mutex_unlock(&v->lock);
	if (rc == 0)
		return 0;
	vec_fini(&item.layers);
	return err_set(v->err, rc, "out of memory");
}

void verify_faults_free(struct verify *v)
{
	for (size_t i = 0; i < v->faults.n; i++)
		vec_fini(&v->faults.v[i].layers);
	vec_fini(&v->faults);
}

void verify_faults_tell(struct verify *v)
{
	for (size_t i = 0; i < v->faults.n && v->opts->fault; i++) {
		const struct verify_item *f = &v->faults.v[i];
		struct verify_fault fault = {
			.what = f->what, .id = f->id, .pack = f->pack, .off = f->off,
			.reason = f->reason, .layers = f->layers.v, .nlayers = f->layers.n,
		};

		v->opts->fault(v->opts->ctx, &fault);
	}
}

/* ---- looking again ---- */

static int pack_is_there(struct verify *v, uint32_t number)
{
	struct index_pack row;
	int rc = index_pack_get(v->store->index, number, &row, v->err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	return 1;
}

/* Whether the index still says that the segment is in that pack. */
static int seg_is_there(struct verify *v, const struct verify_item *f)
{
	struct seg *seg;
	int rc = seg_get(v->store, f->first, &seg, v->err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = seg->pack == f->pack;
	seg_unref(seg);
	return rc;
}

static int frame_is_there(struct verify *v, uint64_t fid)
{
	struct frame frame;
	int rc = frame_load(v->store, fid, &frame, v->err);

	if (rc == 0)
		frame_fini(&frame);
	/* One that is missing was missed by a layer. */
	return rc == 0 || rc == -ENOENT || rc == -EBADMSG ? 1 : rc;
}

static int still_true(struct verify *v, const struct verify_item *f)
{
	switch (f->about) {
	case VERIFY_RECORD:
		/* A row that names a pack which never was is wrong at any time. */
		return verify_pack_of(v, f->pack) ? pack_is_there(v, f->pack) : 1;
	case VERIFY_PACK:
		return pack_is_there(v, f->pack);
	case VERIFY_SEG:
		return seg_is_there(v, f);
	case VERIFY_FRAME:
		return frame_is_there(v, f->id);
	case VERIFY_LAYER:
		return f->layers.n ? verify_layer_exists(v, &f->layers.v[0]) : 1;
	default:
		return 1;
	}
}

int verify_faults_confirm(struct verify *v)
{
	size_t kept = 0;

	if (v->faults.n)
		seg_cache_clear(v->store->segs);
	for (size_t i = 0; i < v->faults.n; i++) {
		int rc = still_true(v, &v->faults.v[i]);

		/* Where a row cannot be read the fault stays. */
		if (rc < 0 && rc != -EBADMSG)
			return rc;
		if (rc == 0)
			vec_fini(&v->faults.v[i].layers);
		else
			v->faults.v[kept++] = v->faults.v[i];
	}
	v->faults.n = kept;
	return 0;
}

/* ---- whom it hurts ---- */

/* Pages of a fault. */
struct range {
	uint64_t first;
	uint64_t end;
	size_t fault;
};

struct hurt {
	uint64_t fid;
	size_t fault;
};

struct attribution {
	struct verify *v;
	VEC(struct range) ranges;	/* by first; they may overlap */
	uint64_t longest;		/* of them */
	VEC(struct hurt) hurts;		/* by fid */
};

static int add_range(struct attribution *a, uint64_t first, uint64_t span, size_t fault)
{
	struct range r = {first, first + span, fault};

	if (span > a->longest)
		a->longest = span;
	return vec_push(&a->ranges, r) < 0 ? err_set(a->v->err, -ENOMEM, "out of memory") : 0;
}

static int add_hurt(struct attribution *a, uint64_t fid, size_t fault)
{
	struct hurt h = {fid, fault};

	if (a->hurts.n && a->hurts.v[a->hurts.n - 1].fid == fid &&
	    a->hurts.v[a->hurts.n - 1].fault == fault)
		return 0;
	return vec_push(&a->hurts, h) < 0 ? err_set(a->v->err, -ENOMEM, "out of memory") : 0;
}

static int add_seg_of_pack(void *ctx, const struct index_seg *row)
{
	struct attribution *a = ctx;
	int rc = 0;

	for (size_t i = 0; i < a->v->faults.n && rc == 0; i++)
		if (a->v->faults.v[i].about == VERIFY_PACK && a->v->faults.v[i].pack == row->pack)
			rc = add_range(a, row->first, row->span, i);
	return rc;
}

static int list_causes(struct attribution *a)
{
	struct verify *v = a->v;
	bool packs = false;
	int rc = 0;

	for (size_t i = 0; i < v->faults.n && rc == 0; i++) {
		const struct verify_item *f = &v->faults.v[i];

		packs |= f->about == VERIFY_PACK;
		if (f->about == VERIFY_SEG && f->hurts)
			rc = add_range(a, f->first, f->span, i);
		else if (f->about == VERIFY_FRAME && f->hurts)
			rc = add_hurt(a, f->id, i);
	}
	if (rc == 0 && packs)
		rc = index_seg_each(v->store->index, add_seg_of_pack, a, v->err);
	/* Damaged rows are faults of their own: what can be told is told. */
	return rc == -EBADMSG ? 0 : rc;
}

static int by_first(const void *va, const void *vb)
{
	const struct range *a = va, *b = vb;

	return (a->first > b->first) - (a->first < b->first);
}

static int by_fid(const void *va, const void *vb)
{
	const struct hurt *a = va, *b = vb;

	return (a->fid > b->fid) - (a->fid < b->fid);
}

/* The first range that may reach `paddr`. */
static size_t first_range(const struct attribution *a, uint64_t paddr)
{
	size_t lo = 0, hi = a->ranges.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (a->ranges.v[mid].first + a->longest <= paddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int look_at_run(struct attribution *a, uint64_t fid, const struct run *run)
{
	uint64_t end = run->addr + run->len;
	int rc = 0;

	for (size_t i = first_range(a, run->addr); rc == 0 && i < a->ranges.n; i++) {
		const struct range *r = &a->ranges.v[i];

		if (r->first >= end)
			break;
		if (r->end > run->addr)
			rc = add_hurt(a, fid, r->fault);
	}
	return rc;
}

static int look_at_frame(struct attribution *a, uint64_t fid)
{
	struct frame frame;
	int rc = frame_load(a->v->store, fid, &frame, NULL);

	if (rc < 0)
		return 0;	/* a fault of its own, or gone */
	for (size_t i = 0; i < frame.map.n && rc == 0; i++)
		if (frame.map.v[i].addr)
			rc = look_at_run(a, fid, &frame.map.v[i]);
	frame_fini(&frame);
	return rc;
}

static int find_hurts(struct attribution *a)
{
	struct verify *v = a->v;
	int rc = 0;

	if (a->ranges.n)
		qsort(a->ranges.v, a->ranges.n, sizeof(a->ranges.v[0]), by_first);
	for (size_t i = 0; i < v->frames.n && rc == 0 && a->ranges.n; i++)
		rc = look_at_frame(a, v->frames.v[i]);
	if (a->hurts.n)
		qsort(a->hurts.v, a->hurts.n, sizeof(a->hurts.v[0]), by_fid);
	return rc;
}

static size_t first_hurt(const struct attribution *a, uint64_t fid)
{
	size_t lo = 0, hi = a->hurts.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (a->hurts.v[mid].fid < fid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int name_layer(struct attribution *a, size_t fault, const struct digest *id)
{
	struct verify_item *f = &a->v->faults.v[fault];

	if (f->layers.n && digest_equal(&f->layers.v[f->layers.n - 1], id))
		return 0;
	return vec_push(&f->layers, *id) < 0 ? err_set(a->v->err, -ENOMEM, "out of memory") : 0;
}

static int look_at_image(struct attribution *a, const struct layer *layer,
			 const struct image *image)
{
	int rc = 0;

	for (size_t i = 0; i < image->frames.n; i++) {
		const struct run *run = &image->frames.v[i];
		size_t j = run->addr ? first_hurt(a, run->addr) : a->hurts.n;

		for (; rc == 0 && j < a->hurts.n && a->hurts.v[j].fid < run->addr + run->len; j++)
			rc = name_layer(a, a->hurts.v[j].fault, &layer->id);
	}
	return rc;
}

static int look_at_layer(void *ctx, const struct layer *layer)
{
	struct attribution *a = ctx;
	int rc = 0;

	for (unsigned i = 0; i < layer->nimages && rc == 0; i++)
		rc = look_at_image(a, layer, &layer->image[i]);
	return rc;
}

int verify_faults_attribute(struct verify *v)
{
	struct attribution a = {.v = v};
	int rc = list_causes(&a);

	if (rc == 0)
		rc = find_hurts(&a);
	if (rc == 0 && a.hurts.n)
		rc = verify_each_layer(v, look_at_layer, &a);
	vec_fini(&a.ranges);
	vec_fini(&a.hurts);
	return rc;
}

/* ---- how much is hurt ---- */

struct counting {
	VEC(uint64_t) chunks;
	VEC(struct digest) layers;
};

static int by_number(const void *va, const void *vb)
{
	uint64_t a = *(const uint64_t *)va, b = *(const uint64_t *)vb;

	return (a > b) - (a < b);
}

static int by_digest(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct digest));
}

/* How many different ones there are; sorts them. */
static uint64_t count_distinct(void *v, size_t n, size_t size,
			       int (*compare)(const void *a, const void *b))
{
	uint64_t count = n > 0;

	if (n)
		qsort(v, n, size, compare);
	for (size_t i = 1; i < n; i++)
		count += compare((char *)v + (i - 1) * size, (char *)v + i * size) != 0;
	return count;
}

static int list_hurt(struct verify *v, struct counting *c)
{
	int rc = 0;

	for (size_t i = 0; i < v->faults.n && rc == 0; i++) {
		const struct verify_item *f = &v->faults.v[i];

		if (strcmp(f->what, "chunk") == 0)
			rc = vec_push(&c->chunks, f->id);
		for (size_t k = 0; k < f->layers.n && rc == 0; k++)
			rc = vec_push(&c->layers, f->layers.v[k]);
	}
	return rc < 0 ? err_set(v->err, rc, "out of memory") : 0;
}

int verify_faults_count(struct verify *v)
{
	struct counting c = {0};
	int rc = list_hurt(v, &c);

	if (rc == 0) {
		v->res.bad_chunks = count_distinct(c.chunks.v, c.chunks.n, sizeof(c.chunks.v[0]),
						   by_number);
		v->res.hurt_layers = count_distinct(c.layers.v, c.layers.n, sizeof(c.layers.v[0]),
						    by_digest);
	}
	vec_fini(&c.chunks);
	vec_fini(&c.layers);
	return rc;
}
