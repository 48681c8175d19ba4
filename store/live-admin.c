/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making and removing live images.  The row says what there is; a directory without one is
 * nobody's.
 *
 *	create	the directory is made whole under another name, synced, renamed; then the row
 *	remove	nobody has it open (the lock is held until the end); the row, then the directory
 *
 * Both under the writer's lock.  A kill leaves a live image as it was, or one that is whole, or a
 * directory that no row speaks of; live_tidy() removes those, and so does the next to make one
 * of that name.  But not one with something in it of which nothing was ever said: it is that of
 * a live image whose row was lost.
 */
#include "store/live.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/fmt.h"
#include "store/base/io.h"
#include "store/decide.h"
#include "store/layer.h"
#include "store/live-dir.h"
#include "store/store.h"

/* ---- files ---- */

/* -EBUSY; -ENOENT: there is none, or nothing in it to lock. */
static int lock_files(struct store *store, const char *name, struct err *err)
{
	int dirfd = live_dir_open(store, name), fd;

	if (dirfd == -ENOENT || dirfd == -ENOTDIR || dirfd == -ELOOP)
		return -ENOENT;
	if (dirfd < 0)
		return err_sys(err, dirfd, "cannot open '%s/" LIVE_DIR "/%s'", store->path, name);
	fd = live_dir_lock(store, dirfd, name, err);
	close(dirfd);
	return fd;
}

/*
 * Whether it is known to be nobody's: what was never named, what was removed, what nobody wrote
 * to.  1, 0 or -errno.
 */
static int is_nobodys(struct store *store, const char *name, struct err *err)
{
	int fd, rc = live_row_name_ok(name) ? live_row_said(store, name, err) : 0;

	if (rc != -ENOENT)
		return rc < 0 ? rc : !rc;
	fd = live_dir_open(store, name);
	rc = fd < 0 ? fd : live_dir_is_blank(fd);
	if (fd >= 0)
		close(fd);
	if (rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP)
		return 1;
	return rc < 0 ? err_sys(err, rc, "cannot look into '%s/" LIVE_DIR "/%s'", store->path,
				name) : rc;
}

/* -EBUSY: somebody has it open, who keeps it whatever the rows say. */
static int drop(struct store *store, int all, const char *name, struct err *err)
{
	struct err why;
	int fd = lock_files(store, name, &why), rc;

	if (fd < 0 && fd != -ENOENT)
		return err_set(err, fd, "%s", why.text);
	rc = live_dir_remove(all, name);
	if (fd >= 0)
		close(fd);
	return rc < 0 ? err_sys(err, rc, "cannot remove '%s/" LIVE_DIR "/%s', which no live image "
				"has", store->path, name) : 0;
}

/* ---- what is to be made ---- */

struct plan {
	struct store *store;
	const struct live_new *what;
	struct live_row row;
	uint64_t size[IMAGES_MAX];	/* of row.image[] */
	struct err *err;
};

static int find_image(const struct live_row *row, const char *image)
{
	for (unsigned i = 0; i < row->nimages; i++)
		if (strcmp(row->image[i], image) == 0)
			return (int)i;
	return -1;
}

static int add_image(struct plan *p, const char *image, uint64_t size)
{
	unsigned at = p->row.nimages;

	if (at == IMAGES_MAX)
		return err_set(p->err, -EINVAL, "live image '%s' would have more than %u images",
			       p->row.name, IMAGES_MAX);
	for (; at > 0 && strcmp(p->row.image[at - 1], image) > 0; at--) {
		memcpy(p->row.image[at], p->row.image[at - 1], sizeof(p->row.image[at]));
		p->size[at] = p->size[at - 1];
	}
	memcpy(p->row.image[at], image, strlen(image) + 1);
	p->size[at] = size;
	p->row.nimages++;
	return 0;
}

static int add_given(struct plan *p, const struct layer *layer, const struct live_size *given)
{
	const struct image *base = layer ? layer_image(layer, given->image) : NULL;

	if (!layer_image_name_ok(given->image))
		return err_set(p->err, -EINVAL, "'%s' is not a good name for an image: letters, "
			       "digits and ._- (not first a dot), at most %u, not 'info.json' or "
			       "'traces'", given->image, IMAGE_NAME_MAX);
	if (find_image(&p->row, given->image) >= 0)
		return err_set(p->err, -EINVAL, "image '%s' is given twice", given->image);
	if (base && given->size < base->size)
		return err_set(p->err, -EINVAL, "image '%s' of the layer has %llu bytes, a live "
			       "image cannot begin with %llu", given->image,
			       (unsigned long long)base->size, (unsigned long long)given->size);
	return add_image(p, given->image, given->size);
}

static int add_images(struct plan *p, const struct layer *layer)
{
	int rc = 0;

	for (size_t i = 0; i < p->what->nsizes && rc == 0; i++)
		rc = add_given(p, layer, &p->what->sizes[i]);
	for (unsigned i = 0; layer && i < layer->nimages && rc == 0; i++)
		if (find_image(&p->row, layer->image[i].name) < 0)
			rc = add_image(p, layer->image[i].name, layer->image[i].size);
	if (rc == 0 && p->row.nimages == 0)
		rc = err_set(p->err, -EINVAL, "live image '%s' needs a layer to begin with, or the "
			     "name and size of an image", p->row.name);
	return rc;
}

static int make_plan(struct plan *p)
{
	struct layer *layer = NULL;
	int rc = p->what->from ? layer_open(p->store, p->what->from, &layer, p->err) : 0;

	if (rc < 0)
		return rc;
	rc = add_images(p, layer);
	layer_unref(layer);
	return rc;
}

static int check_free(struct plan *p)
{
	struct live_row there;
	struct err why;
	int rc = live_row_get(p->store, p->row.name, &there, &why);

	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? err_set(p->err, rc, "%s", why.text) :
			err_set(p->err, -EEXIST, "there is a live image '%s' already", p->row.name);
}

/* ---- the directory ---- */

static int cannot_make(const struct plan *p, int rc)
{
	return err_sys(p->err, rc, "cannot make live image '%s' in '%s/" LIVE_DIR "'",
		       p->row.name, p->store->path);
}

/* STORE/live, made if it was not there. */
static int open_all(struct store *store)
{
	int fd = live_dir_open_all(store), rc;

	if (fd != -ENOENT)
		return fd;
	if (mkdirat(store->dirfd, LIVE_DIR, 0700) < 0 && errno != EEXIST)
		return -errno;
	rc = io_fsync_dir(store->dirfd, ".");
	return rc < 0 ? rc : live_dir_open_all(store);
}

static int make_delta(struct plan *p, int dirfd, unsigned i)
{
	struct delta_place place = {
		.store = p->store, .dirfd = dirfd, .name = p->row.image[i], .seq = p->row.first,
	};
	struct delta *d;
	int rc = delta_create(&place, p->size[i], &d, p->err);

	if (rc == 0) {
		rc = delta_sync(d, p->err);
		delta_unref(d);
	}
	return rc < 0 ? err_wrap(p->err, rc, "live image '%s', image '%s'", p->row.name,
				 p->row.image[i]) : 0;
}

static int make_deltas(struct plan *p, int dirfd)
{
	char seq[LIVE_DIR_SEQ_LEN];
	int fd, rc = 0;

	if (mkdirat(dirfd, live_dir_seq(seq, p->row.first), 0700) < 0)
		return cannot_make(p, -errno);
	fd = live_dir_open_seq(dirfd, p->row.first);
	if (fd < 0)
		return cannot_make(p, fd);
	for (unsigned i = 0; i < p->row.nimages && rc == 0; i++)
		rc = make_delta(p, fd, i);
	if (rc == 0 && (rc = io_fsync(fd)) < 0)
		(void)cannot_make(p, rc);
	close(fd);
	return rc;
}

static int make_lock(int dirfd)
{
	int fd = openat(dirfd, LIVE_DIR_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int fill_new(struct plan *p, int dirfd)
{
	int rc = make_lock(dirfd);

	if (rc < 0)
		return cannot_make(p, rc);
	rc = make_deltas(p, dirfd);
	if (rc == 0 && (rc = io_fsync(dirfd)) < 0)
		(void)cannot_make(p, rc);
	return rc;
}

static int make_new(struct plan *p, int all)
{
	int fd, rc = live_dir_remove(all, LIVE_DIR_NEW);

	if (rc == 0 && mkdirat(all, LIVE_DIR_NEW, 0700) < 0)
		rc = -errno;
	fd = rc < 0 ? rc : openat(all, LIVE_DIR_NEW, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return cannot_make(p, rc < 0 ? rc : -errno);
	rc = fill_new(p, fd);
	close(fd);
	return rc;
}

/* ---- the row ---- */

/* Programs that do not know live images may no longer write here. */
static int note_feature(struct plan *p)
{
	struct index *ix = p->store->index;
	int rc = index_feature_has(ix, FEATURE_LIVE, p->err);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = index_begin(ix, p->err);
	if (rc < 0)
		return rc;
	rc = index_feature_add(ix, FEATURE_LIVE, p->err);
	if (rc == 0)
		return index_commit(ix, p->err);
	index_abort(ix);
	return rc;
}

/* Of one that was removed, or was not made to the end. */
static int drop_leftover(struct plan *p, int all)
{
	const char *name = p->row.name;
	int rc = is_nobodys(p->store, name, p->err);

	if (rc < 0)
		return rc;
	if (rc == 0)
		return err_set(p->err, -EEXIST, "'%s/" LIVE_DIR "/%s' has what was written to a "
			       "live image that was lost: move it away first", p->store->path,
			       name);
	return drop(p->store, all, name, p->err);
}

static int publish(struct plan *p, int all)
{
	int rc = io_fsync(all);

	if (rc < 0)
		return cannot_make(p, rc);
	rc = note_feature(p);
	return rc < 0 ? rc : live_row_put(p->store, &p->row, p->err);
}

static int make(struct plan *p, int all)
{
	int rc = make_new(p, all);

	if (rc == 0)
		rc = drop_leftover(p, all);
	if (rc == 0 && renameat(all, LIVE_DIR_NEW, all, p->row.name) < 0)
		rc = cannot_make(p, -errno);
	if (rc < 0) {
		(void)live_dir_remove(all, LIVE_DIR_NEW);
		return rc;
	}
	rc = publish(p, all);
	if (rc < 0)
		(void)live_dir_remove(all, p->row.name);
	return rc;
}

static int make_locked(struct plan *p)
{
	int all, rc = check_free(p);

	if (rc == 0)
		rc = make_plan(p);
	if (rc < 0)
		return rc;
	all = open_all(p->store);
	if (all < 0)
		return cannot_make(p, all);
	rc = make(p, all);
	close(all);
	return rc;
}

int live_create(struct store *store, const struct live_new *what, uint64_t wait_ms,
		struct err *err)
{
	struct plan p = {.store = store, .what = what, .err = err};
	bool taken;
	int rc;

	if (!live_row_name_ok(what->name))
		return err_set(err, -EINVAL, "'%s' is not a good name for a live image: letters, "
			       "digits and ._- (not first a dot), at most %u, and not a layer's "
			       "name", what->name, TAG_NAME_MAX);
	memcpy(p.row.name, what->name, strlen(what->name) + 1);
	p.row.first = 1;
	p.row.created = (int64_t)time(NULL);
	p.row.has_base = what->from != NULL;
	if (what->from)
		p.row.base = *what->from;
	rc = store_lock_too(store, "live", wait_ms, &taken, err);
	if (rc < 0)
		return rc;
	rc = make_locked(&p);
	store_unlock_too(store, taken);
	return rc;
}

/* ---- removing ---- */

static int remove_files(struct store *store, const char *name, struct err *err)
{
	int all = live_dir_open_all(store), rc;

	if (all < 0)
		return all == -ENOENT ? 0 : err_sys(err, all, "cannot open '%s/" LIVE_DIR "'",
						    store->path);
	rc = live_dir_remove(all, name);
	if (rc == 0)
		rc = io_fsync(all);
	close(all);
	return rc < 0 ? err_sys(err, rc, "live image '%s' is removed, but its files in '%s/"
				LIVE_DIR "' could not be (gc tries again)", name, store->path) : 0;
}

static int remove_locked(struct store *store, const char *name, struct err *err)
{
	int fd = lock_files(store, name, err), rc;

	if (fd < 0 && fd != -ENOENT)
		return fd;
	rc = live_row_delete(store, name, err);
	if (rc == 0)
		rc = remove_files(store, name, err);
	if (fd >= 0)
		close(fd);
	return rc;
}

int live_remove(struct store *store, const char *name, uint64_t wait_ms, struct err *err)
{
	struct live_row row;
	bool taken;
	int rc = store_lock_too(store, "live", wait_ms, &taken, err);

	if (rc < 0)
		return rc;
	rc = live_row_get(store, name, &row, err);
	/* Of one that is damaged the name is enough. */
	if (rc == 0 || rc == -EBADMSG)
		rc = remove_locked(store, name, err);
	store_unlock_too(store, taken);
	return rc;
}

/* ---- what nobody has any more ---- */

struct tidy {
	struct store *store;
	struct err *err;
};

static int tidy_one(void *ctx, int all, const char *name)
{
	struct tidy *t = ctx;
	struct err why;
	int rc = is_nobodys(t->store, name, &why);

	if (rc == -EBADMSG)
		return 0;	/* what a damaged row says is not known */
	if (rc < 0)
		return err_set(t->err, rc, "%s", why.text);
	rc = rc ? drop(t->store, all, name, t->err) : 0;
	return rc == -EBUSY ? 0 : rc;
}

int live_tidy(struct store *store, struct err *err)
{
	struct tidy t = {store, err};
	int all = live_dir_open_all(store), rc;

	if (all == -ENOENT)
		return 0;
	if (all < 0)
		return err_sys(err, all, "cannot open '%s/" LIVE_DIR "'", store->path);
	if (err)
		err->text[0] = '\0';
	rc = io_each_name(all, ".", tidy_one, &t);
	if (rc < 0 && err && !err->text[0])
		(void)err_sys(err, rc, "cannot read '%s/" LIVE_DIR "'", store->path);
	close(all);
	return rc;
}
