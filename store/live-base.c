/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/live-private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/frame.h"
#include "store/layer.h"
#include "store/store.h"

static int open_views(struct live_base *base, const struct live_row *row, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < row->nimages && rc == 0; i++) {
		base->image[i] = layer_image(base->layer, row->image[i]);
		if (base->image[i])
			rc = view_open(base->store, base->layer, row->image[i], &base->view[i],
				       err);
	}
	return rc;
}

static int open_layer(struct live_base *base, const struct live_row *row, struct err *err)
{
	int rc = layer_hold(base->store, &row->base, &base->lease, &base->layer, err);

	if (rc == 0)
		rc = open_views(base, row, err);
	/* -ENOENT would say that there is no such live image. */
	if (rc < 0)
		return err_wrap(err, rc == -ENOENT ? -EBADMSG : rc, "live image '%s'", row->name);
	return 0;
}

int live_base_open(struct store *store, const struct live_row *row, struct live_base **ret,
		   struct err *err)
{
	struct live_base *base = calloc(1, sizeof(*base));
	int rc = 0;

	if (!base)
		return err_set(err, -ENOMEM, "out of memory");
	base->refs = 1;
	base->store = store;
	base->lease = -1;
	if (row->has_base)
		rc = open_layer(base, row, err);
	if (rc < 0)
		live_base_unref(base);
	else
		*ret = base;
	return rc;
}

struct live_base *live_base_ref(struct live_base *base)
{
	__atomic_add_fetch(&base->refs, 1, __ATOMIC_RELAXED);
	return base;
}

void live_base_unref(struct live_base *base)
{
	if (!base || __atomic_sub_fetch(&base->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (unsigned i = 0; i < IMAGES_MAX; i++)
		view_close(base->view[i]);
	layer_unref(base->layer);
	if (base->lease >= 0)
		close(base->lease);
	free(base);
}

uint64_t live_base_size(const struct live_base *base, unsigned index)
{
	return base->image[index] ? base->image[index]->size : 0;
}

static int64_t run_in_frame(struct live_base *base, uint64_t fid, uint64_t page, bool *ret_data,
			    struct err *err)
{
	const struct frame *frame;
	const struct run *r;
	struct cache_entry *e;
	uint64_t pos = page % FRAME_PAGES;
	int64_t n;
	int rc = frame_get(base->store, fid, &e, &frame, err);

	if (rc < 0)
		return rc == -ENOENT ? -EBADMSG : rc;
	r = runs_find(&frame->map, pos);
	*ret_data = r->addr != 0;
	n = (int64_t)(r->pos + r->len - pos);
	frame_put(base->store, e);
	return n;
}

int64_t live_base_run(struct live_base *base, unsigned index, uint64_t page, uint64_t end,
		      bool *ret_data, struct err *err)
{
	uint64_t last = live_page_after(live_base_size(base, index)), frame = page / FRAME_PAGES;
	const struct run *r;
	int64_t n;

	if (page >= last) {
		*ret_data = false;
		return (int64_t)(end - page);
	}
	end = end < last ? end : last;
	r = runs_find(&base->image[index]->frames, frame);
	if (r->addr) {
		n = run_in_frame(base, r->addr + (frame - r->pos), page, ret_data, err);
	} else {
		*ret_data = false;
		n = (int64_t)((r->pos + r->len) * FRAME_PAGES - page);
	}
	return n < (int64_t)(end - page) ? n : (int64_t)(end - page);
}

int live_base_read(struct live_base *base, unsigned index, void *buf, size_t len, uint64_t off,
		   struct err *err)
{
	int64_t n = 0;

	if (off < live_base_size(base, index))
		n = view_pread(base->view[index], buf, len, off, err);
	if (n < 0)
		return (int)n;
	memset((uint8_t *)buf + n, 0, len - (size_t)n);
	return 0;
}
