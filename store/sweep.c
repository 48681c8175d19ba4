/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/sweep.h"

#include <stdbool.h>

#include "store/base/vec.h"
#include "store/index.h"
#include "store/mark.h"
#include "store/seg.h"
#include "store/store.h"

/* Rows a transaction deletes: its log takes about a page (4 KiB) for each at worst. */
#define BATCH_MAX 4096
#define BATCH_MIN 16

struct dead {
	struct store *store;
	const struct mark *mark;
	struct err *err;
	VEC(uint64_t) frames;
	VEC(uint64_t) segs;
	uint64_t pages;
};

static void dead_fini(struct dead *dead)
{
	vec_fini(&dead->frames);
	vec_fini(&dead->segs);
}

static int look_at_frame(void *ctx, const struct index_frame *f)
{
	struct dead *dead = ctx;

	if (mark_has_frame(dead->mark, f->fid))
		return 0;
	return vec_push(&dead->frames, f->fid) < 0 ?
		err_set(dead->err, -ENOMEM, "out of memory") : 0;
}

static int look_at_seg(void *ctx, const struct index_seg *row)
{
	struct dead *dead = ctx;
	struct seg *seg;
	struct rd rd;

	if (mark_seg_find(dead->mark, row->first))
		return 0;
	rd_init(&rd, row->table, row->table_len);
	if (seg_decode(row->first, row->pack, row->off, &rd, &seg) == 0) {
		dead->pages += seg->npages;
		seg_unref(seg);
	}
	return vec_push(&dead->segs, row->first) < 0 ?
		err_set(dead->err, -ENOMEM, "out of memory") : 0;
}

static int find_dead(struct dead *dead)
{
	int rc = index_frame_each(dead->store->index, look_at_frame, dead, dead->err);

	return rc < 0 ? rc : index_seg_each(dead->store->index, look_at_seg, dead, dead->err);
}

struct ids {
	int (*delete)(struct index *ix, uint64_t id, struct err *err);
	const uint64_t *v;
	size_t n;
};

static int delete_some(struct index *ix, const struct ids *ids, size_t n, struct err *err)
{
	int rc = index_begin(ix, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = ids->delete(ix, ids->v[i], err);
	if (rc == 0)
		rc = index_commit(ix, err);
	index_abort(ix);
	return rc;
}

/* The log is emptied after each, so that the next one finds room in it. */
static int delete_all(struct store *store, struct ids ids, struct err *err)
{
	size_t batch = BATCH_MAX, n;
	int rc;

	while (ids.n > 0) {
		n = ids.n < batch ? ids.n : batch;
		rc = delete_some(store->index, &ids, n, err);
		index_checkpoint(store->index);
		if (rc == -ENOSPC && batch > BATCH_MIN) {
			store_reserve_release(store);
			batch = BATCH_MIN;
			continue;
		}
		if (rc < 0)
			return rc;
		ids.v += n;
		ids.n -= n;
	}
	return 0;
}

static struct sweep counts(const struct dead *dead)
{
	return (struct sweep){
		.frames = dead->frames.n, .segs = dead->segs.n, .pages = dead->pages,
	};
}

int sweep_count(struct store *store, const struct mark *mark, struct sweep *ret, struct err *err)
{
	struct dead dead = {.store = store, .mark = mark, .err = err};
	int rc = find_dead(&dead);

	if (rc == 0)
		*ret = counts(&dead);
	dead_fini(&dead);
	return rc;
}

int sweep_run(struct store *store, const struct mark *mark, struct sweep *ret, struct err *err)
{
	struct dead dead = {.store = store, .mark = mark, .err = err};
	int rc = find_dead(&dead);

	if (rc == 0)
		rc = delete_all(store,
				(struct ids){index_frame_delete, dead.frames.v, dead.frames.n},
				err);
	if (rc == 0)
		rc = delete_all(store, (struct ids){index_seg_delete, dead.segs.v, dead.segs.n},
				err);
	if (rc == 0)
		*ret = counts(&dead);
	dead_fini(&dead);
	return rc;
}
