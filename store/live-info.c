/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a live image consists of, asked beside whoever writes to it, seals or folds it: what goes
 * away while it is looked at is looked at again.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/vec.h"
#include "store/layer.h"
#include "store/live-dir.h"
#include "store/live.h"
#include "store/store.h"

#define TRIES 5

struct looking {
	struct store *store;
	struct live_info *info;
	int dirfd;
	unsigned flags;			/* for delta_open() */
	struct live_dir_seqs seqs;	/* from row.first on */
	struct delta **delta;		/* of one image, by seq */
	struct err *err;
};

/* ---- an image ---- */

static int missing(struct looking *l, uint64_t seq)
{
	return err_set(l->err, -EBADMSG, "delta %llu of live image '%s' is not there%s",
		       (unsigned long long)seq, l->info->row.name, live_dir_why(l->dirfd, seq));
}

static int open_delta(struct looking *l, const char *image, uint64_t seq, struct delta **ret)
{
	struct delta_place place = {.store = l->store, .name = image, .seq = seq};
	int rc;

	place.dirfd = live_dir_open_seq(l->dirfd, seq);
	if (place.dirfd == -ENOENT)
		return missing(l, seq);
	if (place.dirfd < 0)
		return err_sys(l->err, place.dirfd, "cannot open delta %llu of live image '%s'",
			       (unsigned long long)seq, l->info->row.name);
	rc = delta_open(&place, l->flags, ret, l->err);
	close(place.dirfd);
	if (rc < 0)
		return err_wrap(l->err, rc == -ENOENT ? -EBADMSG : rc,
				"live image '%s', image '%s'", l->info->row.name, image);
	return 0;
}

/* What the highest delta says, and for how many pages all say the same. */
static enum delta_state state_of(const struct looking *l, uint64_t page, uint64_t *end)
{
	enum delta_state state = DELTA_NONE;

	for (size_t i = l->seqs.n; i > 0 && state == DELTA_NONE; i--)
		*end = page + delta_run(l->delta[i - 1], page, *end, &state);
	return state;
}

static void count_run(struct live_image_info *im, enum delta_state state, uint64_t page,
		      uint64_t end, uint64_t *next_frame)
{
	uint64_t first = page / FRAME_PAGES, last = (end - 1) / FRAME_PAGES;

	if (state == DELTA_NONE)
		return;
	if (first < *next_frame)
		first = *next_frame;
	im->frames += last + 1 - first;
	*next_frame = last + 1;
	if (state == DELTA_DATA_PAGE)
		im->written += end - page;
	else
		im->punched += end - page;
}

static void count_pages(const struct looking *l, struct live_image_info *im)
{
	uint64_t npages = (im->size + PAGE_SIZE - 1) / PAGE_SIZE, next_frame = 0;

	for (uint64_t page = 0, end; page < npages; page = end) {
		enum delta_state state;

		end = npages;
		state = state_of(l, page, &end);
		count_run(im, state, page, end, &next_frame);
	}
}

static int look_at_image(struct looking *l, struct live_image_info *im)
{
	size_t n = 0;
	int rc = 0;

	for (; n < l->seqs.n && rc == 0; n++)
		rc = open_delta(l, im->name, l->seqs.v[n], &l->delta[n]);
	if (rc == 0) {
		im->size = delta_size(l->delta[l->seqs.n - 1]);
		(void)delta_mtime(l->delta[l->seqs.n - 1], &im->mtime);
		count_pages(l, im);
	}
	for (size_t i = 0; i < (rc < 0 ? n - 1 : n); i++)
		delta_unref(l->delta[i]);
	return rc;
}

static int look_at_images(struct looking *l)
{
	struct live_info *info = l->info;
	int rc = 0;

	info->nimages = info->row.nimages;
	for (unsigned i = 0; i < info->nimages && rc == 0; i++) {
		memcpy(info->image[i].name, info->row.image[i], sizeof(info->image[i].name));
		rc = look_at_image(l, &info->image[i]);
	}
	return rc;
}

/* ---- the whole ---- */

/* One that was removed by force says nothing, and is a fault of its own. */
static int look_at_base(struct looking *l)
{
	struct live_info *info = l->info;
	struct layer *layer;
	int rc = layer_peek_held(l->store, &info->row.base, &layer, l->err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	for (unsigned i = 0; i < info->nimages; i++) {
		const struct image *image = layer_image(layer, info->image[i].name);

		info->image[i].base_size = image ? image->size : 0;
	}
	layer_unref(layer);
	return 0;
}

/* Those below row.first are in the layer already. */
static int list_seqs(struct looking *l)
{
	const struct live_row *row = &l->info->row;
	struct live_dir_seqs *s = &l->seqs;
	size_t below = 0;
	int rc = live_dir_seqs(l->dirfd, s);

	if (rc < 0)
		return err_sys(l->err, rc, "cannot read the directory of live image '%s'",
			       row->name);
	while (below < s->n && s->v[below] < row->first)
		below++;
	if (below)
		memmove(s->v, s->v + below, (s->n - below) * sizeof(s->v[0]));
	s->n -= below;
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i] != row->first + i)
			return missing(l, row->first + i);
	return s->n ? 0 : missing(l, row->first);
}

static int add_disk(struct looking *l)
{
	int rc = 0;

	for (size_t i = 0; i < l->seqs.n && rc == 0; i++) {
		int fd = live_dir_open_seq(l->dirfd, l->seqs.v[i]);
		uint64_t bytes = 0;

		rc = fd < 0 ? fd : live_dir_bytes(fd, &bytes);
		if (fd >= 0)
			close(fd);
		l->info->disk += bytes;
	}
	return rc < 0 ? err_sys(l->err, rc, "cannot read the directory of live image '%s'",
				l->info->row.name) : 0;
}

static int look_inside(struct looking *l)
{
	int rc = list_seqs(l);

	if (rc < 0)
		return rc;
	/* Who has it open has put its deltas in order. */
	l->flags = DELTA_READ | (live_dir_is_locked(l->dirfd) ? DELTA_MENDED : 0);
	l->delta = calloc(l->seqs.n, sizeof(struct delta *));
	if (!l->delta)
		return err_set(l->err, -ENOMEM, "out of memory");
	l->info->sealed = l->seqs.n - 1;
	rc = look_at_images(l);
	if (rc == 0)
		rc = add_disk(l);
	if (rc == 0 && l->info->row.has_base)
		rc = look_at_base(l);
	l->info->pid = live_dir_holder(l->dirfd);
	free(l->delta);
	return rc;
}

static int look(struct looking *l, const char *name)
{
	int rc = live_row_get(l->store, name, &l->info->row, l->err);

	if (rc < 0)
		return rc;
	l->dirfd = live_dir_open(l->store, name);
	if (l->dirfd == -ENOENT)
		return err_set(l->err, -EBADMSG, "the directory of live image '%s' is not there",
			       name);
	if (l->dirfd < 0)
		return err_sys(l->err, l->dirfd, "cannot open the directory of live image '%s'",
			       name);
	rc = look_inside(l);
	close(l->dirfd);
	vec_fini(&l->seqs);
	return rc;
}

/* Whether the row is another one than when it was looked at. */
static bool has_moved(struct store *store, const struct live_row *row)
{
	struct live_row now;
	int rc = live_row_get(store, row->name, &now, NULL);

	return rc == -ENOENT || (rc == 0 && now.first != row->first) ||
	       (rc == 0 && now.created != row->created);
}

int live_info(struct store *store, const char *name, struct live_info *ret, struct err *err)
{
	struct live_info *info = calloc(1, sizeof(*info));
	int rc = -ENOMEM;

	if (!info)
		return err_set(err, rc, "out of memory");
	for (int i = 0; i < TRIES; i++) {
		struct looking l = {.store = store, .info = info, .err = err};

		memset(info, 0, sizeof(*info));
		rc = look(&l, name);
		if (rc == 0 || rc == -ENOMEM || !info->row.name[0] || !has_moved(store, &info->row))
			break;
	}
	if (rc == 0)
		*ret = *info;
	free(info);
	return rc;
}

int live_is_open(struct store *store, const char *name)
{
	int dirfd = live_dir_open(store, name), rc;

	if (dirfd < 0)
		return dirfd;
	rc = live_dir_is_locked(dirfd);
	close(dirfd);
	return rc;
}
