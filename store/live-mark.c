/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/live-mark.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/vec.h"
#include "store/layer.h"
#include "store/live-dir.h"
#include "store/live.h"
#include "store/store.h"

#define NS 1000000000

/* ---- taking one ---- */

static int mark_dir(int dirfd, struct live_mark *mark)
{
	struct statx st;

	if (statx(dirfd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0)
		return -errno;
	mark->inode = st.stx_ino;
	if (st.stx_mask & STATX_BTIME)
		mark->born = st.stx_btime.tv_sec * NS + st.stx_btime.tv_nsec;
	return 0;
}

static int top_of(int dirfd, uint64_t *ret)
{
	struct live_dir_seqs seqs = {.v = NULL};
	int rc = live_dir_seqs(dirfd, &seqs);

	if (rc == 0 && seqs.n == 0)
		rc = -ENOENT;
	if (rc == 0)
		*ret = seqs.v[seqs.n - 1];
	vec_fini(&seqs);
	return rc;
}

static int mark_delta(int dirfd, const char *image, struct live_mark *mark)
{
	struct stat st;
	int rc = top_of(dirfd, &mark->delta), fd;

	if (rc < 0)
		return rc;
	fd = live_dir_open_seq(dirfd, mark->delta);
	if (fd < 0)
		return fd;
	rc = fstatat(fd, image, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	if (rc == 0)
		mark->written = st.st_mtim.tv_sec * NS + st.st_mtim.tv_nsec;
	close(fd);
	return rc;
}

int live_mark_take(struct store *store, const char *name, const char *image,
		   struct live_mark *ret, struct err *err)
{
	struct live_mark mark = {.name = ""};
	struct live_row row;
	int rc = live_row_get(store, name, &row, err), dirfd;

	if (rc < 0)
		return rc;
	memcpy(mark.store, store->uuid, sizeof(mark.store));
	(void)snprintf(mark.name, sizeof(mark.name), "%s", name);
	mark.created = row.created;
	rc = dirfd = live_dir_open(store, name);
	if (rc >= 0) {
		rc = mark_dir(dirfd, &mark);
		if (rc == 0)
			rc = mark_delta(dirfd, image, &mark);
		close(dirfd);
	}
	if (rc < 0)
		return err_sys(err, rc, "cannot look at image '%s' of live image '%s'", image,
			       name);
	*ret = mark;
	return 0;
}

/* ---- whether it holds ---- */

static bool same_live(const struct live_mark *a, const struct live_mark *b)
{
	return !memcmp(a->store, b->store, sizeof(a->store)) && !strcmp(a->name, b->name) &&
	       a->created == b->created && a->inode == b->inode && a->born == b->born;
}

static bool has_same(const struct layer *a, const struct layer *b, const char *image)
{
	const struct image *x = layer_image(a, image), *y = layer_image(b, image);

	return x && y && x->size == y->size && runs_equal(&x->frames, &y->frames);
}

/* 1, 0; a layer that is gone is not the same. */
static int same_in_layers(struct store *store, const struct digest *a, const struct digest *b,
			  const char *image, struct err *err)
{
	struct layer *x = NULL, *y = NULL;
	int rc = layer_peek(store, a, &x, err);

	if (rc == 0)
		rc = layer_peek(store, b, &y, err);
	if (rc == 0)
		rc = has_same(x, y, image);
	layer_unref(x);
	layer_unref(y);
	return rc == -ENOENT ? 0 : rc;
}

static bool is_blank(const struct live_info *info, const char *image)
{
	for (unsigned i = 0; i < info->nimages; i++) {
		const struct live_image_info *im = &info->image[i];

		if (!strcmp(im->name, image))
			return !im->written && !im->punched && im->size == im->base_size;
	}
	return false;
}

static int stands_on(struct store *store, const char *name, const char *image,
		     const struct digest *layer, struct err *err)
{
	struct live_info *info = calloc(1, sizeof(*info));
	int rc = info ? live_info(store, name, info, err)
		      : err_set(err, -ENOMEM, "out of memory");

	if (rc == 0)
		rc = info->row.has_base && is_blank(info, image);
	if (rc == 1)
		rc = same_in_layers(store, layer, &info->row.base, image, err);
	free(info);
	return rc;
}

int live_mark_holds(struct store *store, const char *name, const char *image,
		    const struct live_mark *then, const struct digest *layer, struct err *err)
{
	struct live_mark now;
	int rc = live_mark_take(store, name, image, &now, err);

	if (rc < 0)
		return rc;
	if (!same_live(then, &now))
		return err_set(err, 0, "it was live image '%s' that held that, and '%s' is "
			       "another one%s", then->name, name,
			       strcmp(then->name, name) ? "" : ", made anew");
	if (then->delta == now.delta && then->written == now.written)
		return 1;
	rc = layer ? stands_on(store, name, image, layer, err) : 0;
	if (rc)
		return rc;
	return err_set(err, 0, "the %s of live image '%s' was written to since, or committed by "
		       "somebody else", image, name);
}
