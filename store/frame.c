/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/frame.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/cache.h"
#include "store/format.h"
#include "store/index.h"
#include "store/store.h"

/* Runs of one page each, with the longest varints: nothing well formed is longer. */
#define MAP_LEN_MAX (2 + FRAME_PAGES * 12)

/* For the loader: where the sentence goes.  Who waited for another is not told. */
struct loading {
	struct frame *frame;
	struct err *err;
	bool told;
};

static int decode_map(const void *bytes, size_t len, struct runs *ret)
{
	struct rd rd;
	int rc;

	rd_init(&rd, bytes, len);
	rc = runs_decode(ret, &rd, FRAME_PAGES, FRAME_PAGES);
	if (rc == 0 && !rd_done(&rd)) {
		runs_fini(ret);
		rc = -EBADMSG;
	}
	return rc;
}

void frame_fini(struct frame *frame)
{
	if (frame)
		runs_fini(&frame->map);
}

int frame_decode(struct rd *rd, struct frame *ret)
{
	struct frame f = {.fid = rd_varint(rd)};
	const void *digest = rd_bytes(rd, DIGEST_LEN);
	size_t len = rd_varint_max(rd, MAP_LEN_MAX);
	const void *map = rd_bytes(rd, len);
	int rc;

	if (!rd_ok(rd) || f.fid == 0)
		return -EBADMSG;
	memcpy(f.digest.b, digest, DIGEST_LEN);
	rc = decode_map(map, len, &f.map);
	if (rc == 0)
		*ret = f;
	return rc;
}

void frame_encode(uint64_t fid, const struct digest *digest, const void *runs, size_t len,
		  struct buf *out)
{
	buf_varint(out, fid);
	buf_bytes(out, digest->b, DIGEST_LEN);
	buf_varint(out, len);
	buf_bytes(out, runs, len);
}

static int from_row(void *ctx, const struct index_frame *row)
{
	struct loading *l = ctx;
	struct frame f = {.fid = row->fid, .digest = row->digest};
	int rc = decode_map(row->runs, row->runs_len, &f.map);

	if (rc < 0)
		return err_set(l->err, rc, "the map of frame %llu %s", (unsigned long long)row->fid,
			       rc == -ENOMEM ? "does not fit into memory" : "is damaged");
	*l->frame = f;
	return 0;
}

int frame_load(struct store *store, uint64_t fid, struct frame *ret, struct err *err)
{
	struct loading l = {.frame = ret, .err = err};

	return index_frame_get(store->index, fid, from_row, &l, err);
}

static int cache_load(void *ctx, uint64_t key, void *arg, void **ret_obj, size_t *ret_cost)
{
	struct loading *l = arg;
	struct frame *f = malloc(sizeof(*f));
	int rc;

	l->told = true;
	if (!f)
		return err_set(l->err, -ENOMEM, "out of memory");
	rc = frame_load(ctx, key, f, l->err);
	if (rc < 0) {
		free(f);
		return rc;
	}
	*ret_obj = f;
	*ret_cost = sizeof(*f) + f->map.cap * sizeof(f->map.v[0]);
	return 0;
}

static void cache_fini(void *ctx, void *obj)
{
	(void)ctx;
	frame_fini(obj);
	free(obj);
}

const struct cache_ops frame_cache_ops = {.load = cache_load, .free = cache_fini};

int frame_get(struct store *store, uint64_t fid, struct cache_entry **ret,
	      const struct frame **ret_frame, struct err *err)
{
	struct loading l = {.err = err};
	int rc = cache_get(store->frames, fid, &l, ret);

	if (rc < 0)
		return l.told ? rc : err_sys(err, rc, "cannot load frame %llu",
					     (unsigned long long)fid);
	*ret_frame = cache_obj(*ret);
	return 0;
}

void frame_put(struct store *store, struct cache_entry *entry)
{
	cache_put(store->frames, entry);
}
