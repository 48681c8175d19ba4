/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything is under the live image's own lock, opening included, so that a second opener
 * waits for the first one's work.  Reads and writes do not take it: their open file holds what
 * they use.
 *
 * Sessions.  From the first opener to the last one to go nobody else can write; that is a
 * session, and goes on at the next opener if nobody else had it meanwhile.  What the kernel has
 * cached of an image in one is right to its end, and in the next it may not be.  So the first
 * open of an image in a session tells the kernel to drop what it has, and later ones to keep
 * it; but not before the kernel is known to have dropped it, which is when it asks for something
 * through an open file: of two opens at once the second could otherwise be answered first, and
 * read what is old.
 */
#include "config.h"

#include "fuse/live-hold.h"

#include <string.h>
#include <time.h>

#include "store/base/thread.h"
#include "store/layer.h"
#include "store/view.h"

#define BUSY_TRIES 100
#define BUSY_PAUSE_MS 20

static void *empty(void *arg)
{
	live_trash_empty(arg);
	return NULL;
}

/* Nobody waits for it. */
static void sweep(struct live *live)
{
	struct live_trash *trash = live_trash_take(live);

	if (trash && thread_detached(empty, trash) < 0)
		live_trash_empty(trash);
}

static void end_locked(struct server *s, struct lives_item *item)
{
	if (item->users > 0 || !item->open)
		return;
	live_close(item->open);
	item->open = NULL;
	stats_add(&s->stats, STATS_LIVE, -1);
}

static int begin_locked(struct server *s, struct lives_item *item, struct err *err)
{
	struct live *live;
	int rc;

	if (item->open)
		return 0;
	rc = live_open(s->store, item->name, &live, err);
	if (rc < 0)
		return rc;
	if (live_row_of(live)->created != item->created) {
		live_close(live);
		return err_set(err, -ENOENT, "live image '%s' was removed", item->name);
	}
	item->open = live;
	sweep(live);
	if (live_stamp(live) == 0 || live_stamp(live) != item->stamp + 1)
		item->session++;
	item->stamp = live_stamp(live);
	stats_add(&s->stats, STATS_LIVE, 1);
	return 0;
}

/*
 * A commit has a live image open for a moment when no mount has it, and a guest that starts then
 * is not to fail.  The lock is let go of in between.
 */
static int begin_patiently_locked(struct server *s, struct lives_item *item, struct err *err)
{
	static const struct timespec pause = {.tv_nsec = BUSY_PAUSE_MS * 1000000L};
	int rc = begin_locked(s, item, err);

	for (int i = 0; rc == -EBUSY && i < BUSY_TRIES; i++) {
		pthread_mutex_unlock(&item->lock);
		(void)nanosleep(&pause, NULL);
		pthread_mutex_lock(&item->lock);
		rc = begin_locked(s, item, err);
	}
	return rc;
}

/* Whether the kernel may keep what it has, of who opens the image now. */
static bool keep_locked(struct lives_image *image)
{
	if (image->session == image->of->session)
		return __atomic_load_n(&image->settled, __ATOMIC_ACQUIRE);
	image->session = image->of->session;
	__atomic_store_n(&image->settled, false, __ATOMIC_RELEASE);
	return false;
}

int live_hold_get(struct server *s, struct lives_image *image, struct live_image **ret,
		  bool *ret_keep, struct err *err)
{
	struct lives_item *item = image->of;
	struct live_image *found = NULL;
	int rc;

	pthread_mutex_lock(&item->lock);
	rc = begin_patiently_locked(s, item, err);
	if (rc == 0) {
		found = live_find(item->open, image->name);
		if (!found)
			rc = err_set(err, -ENOENT, "live image '%s' has no '%s'", item->name,
				     image->name);
	}
	if (rc == 0) {
		item->users++;
		*ret_keep = keep_locked(image);
		*ret = found;
	}
	end_locked(s, item);
	pthread_mutex_unlock(&item->lock);
	return rc;
}

int live_hold_get_item(struct server *s, struct lives_item *item, struct live **ret,
		       struct err *err)
{
	int rc;

	pthread_mutex_lock(&item->lock);
	rc = begin_patiently_locked(s, item, err);
	if (rc == 0) {
		item->users++;
		*ret = item->open;
	}
	pthread_mutex_unlock(&item->lock);
	return rc;
}

void live_hold_put(struct server *s, struct lives_item *item)
{
	pthread_mutex_lock(&item->lock);
	item->users--;
	end_locked(s, item);
	pthread_mutex_unlock(&item->lock);
}

void live_hold_settle(struct lives_image *image)
{
	if (!__atomic_load_n(&image->settled, __ATOMIC_RELAXED))
		__atomic_store_n(&image->settled, true, __ATOMIC_RELEASE);
}

/* --- stat --- */

static int stat_open(struct live_image *image, struct live_hold_stat *ret, struct err *err)
{
	struct live_hold_stat st = {.size = live_size(image)};
	int rc = live_stat(image, &st.data_bytes, &st.mtime, err);

	if (rc == 0)
		*ret = st;
	return rc;
}

static int count_below(struct store *store, const struct digest *id, const char *image,
		       uint64_t *ret, struct err *err)
{
	struct layer *layer;
	struct view *view;
	int rc = layer_peek_held(store, id, &layer, err);

	if (rc < 0)
		return rc;
	rc = view_open(store, layer, image, &view, err);
	layer_unref(layer);
	if (rc < 0)
		return rc;
	rc = view_data_bytes(view, ret, err);
	view_close(view);
	return rc;
}

/* Data in the layer, counted once for each that it stands upon; the whole of it in doubt. */
static uint64_t below_locked(struct server *s, struct lives_image *image,
			     const struct live_row *row, uint64_t size)
{
	struct err err = {""};

	if (!row->has_base || size == 0)
		return 0;
	if (memcmp(&image->counted, &row->base, sizeof(row->base)) != 0) {
		if (count_below(s->store, &row->base, image->name, &image->below, &err) < 0)
			return size;
		image->counted = row->base;
	}
	return image->below;
}

static const struct live_image_info *info_of(const struct live_info *info, const char *name)
{
	for (unsigned i = 0; i < info->nimages; i++)
		if (!strcmp(info->image[i].name, name))
			return &info->image[i];
	return NULL;
}

static int stat_closed_locked(struct server *s, struct lives_image *image,
			      struct live_hold_stat *ret, struct err *err)
{
	const struct live_image_info *found;
	struct live_info info;
	int rc = live_info(s->store, image->of->name, &info, err);

	if (rc < 0)
		return rc;
	found = info.row.created == image->of->created ? info_of(&info, image->name) : NULL;
	if (!found)
		return -ENOENT;
	ret->size = found->size;
	ret->data_bytes = below_locked(s, image, &info.row, found->base_size);
	ret->data_bytes += found->written * PAGE_SIZE;
	if (ret->data_bytes > found->size)
		ret->data_bytes = found->size;
	ret->mtime = found->mtime;
	return 0;
}

int live_hold_stat(struct server *s, struct lives_image *image, struct live_hold_stat *ret,
		   struct err *err)
{
	struct lives_item *item = image->of;
	struct live_image *open;
	int rc;

	pthread_mutex_lock(&item->lock);
	open = item->open ? live_find(item->open, image->name) : NULL;
	rc = open ? stat_open(open, ret, err) : stat_closed_locked(s, image, ret, err);
	pthread_mutex_unlock(&item->lock);
	return rc;
}

int live_hold_fold(struct lives_item *item, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&item->lock);
	if (item->open)
		rc = live_fold(item->open, err);
	if (item->open && rc == 0)
		sweep(item->open);
	pthread_mutex_unlock(&item->lock);
	return rc;
}
