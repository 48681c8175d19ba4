/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the stack of an open live image (live.c) grows by a seal, and shrinks by a fold.  One of
 * either at a time, under `sealing`: only who has that changes `first` and `depth`.
 *
 * Before a seal makes anything it looks at what a commit would need: what the row says, and each
 * delta by its name.  If that is not as it should be nothing is made.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/live-dir.h"
#include "store/live-private.h"
#include "store/store.h"

#define UNNAMED_LEN (LIVE_DIR_SEQ_LEN + sizeof(LIVE_UNNAMED))

/* ---- seal ---- */

/* One that is being made: a delta for each image. */
struct fresh {
	struct live *live;
	uint64_t seq;
	char name[LIVE_DIR_SEQ_LEN];
	char unnamed[UNNAMED_LEN];
	struct delta *delta[IMAGES_MAX];
};

static int cannot_seal(const struct fresh *f, int rc, struct err *err)
{
	return err_sys(err, rc, "live image '%s': cannot make delta %s", f->live->row.name,
		       f->name);
}

static int create_delta(struct fresh *f, int dirfd, unsigned i, struct err *err)
{
	struct live *live = f->live;
	struct delta_place place = {.store = live->store, .dirfd = dirfd,
				    .name = live->row.image[i], .seq = f->seq};

	return delta_create(&place, live_size(&live->image[i]), &f->delta[i], err);
}

static int create_deltas(struct fresh *f, struct err *err)
{
	int dirfd, rc = 0;

	do
		dirfd = openat(f->live->dirfd, f->unnamed,
			       O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	while (dirfd < 0 && errno == EINTR);
	if (dirfd < 0)
		return cannot_seal(f, -errno, err);
	for (unsigned i = 0; i < f->live->row.nimages && rc == 0; i++)
		rc = create_delta(f, dirfd, i, err);
	/* When all are there: what makes the first one last mostly does for the others, too. */
	for (unsigned i = 0; i < f->live->row.nimages && rc == 0; i++)
		rc = delta_sync(f->delta[i], err);
	if (rc == 0) {
		rc = io_fsync(dirfd);
		if (rc < 0)
			cannot_seal(f, rc, err);
	}
	close(dirfd);
	return rc;
}

static int make_fresh(struct fresh *f, struct err *err)
{
	int rc;

	(void)live_dir_seq(f->name, f->seq);
	(void)snprintf(f->unnamed, sizeof(f->unnamed), "%s" LIVE_UNNAMED, f->name);
	/* A seal that failed may have left one. */
	rc = live_dir_remove(f->live->dirfd, f->unnamed);
	if (rc == 0 && mkdirat(f->live->dirfd, f->unnamed, 0700) < 0)
		rc = -errno;
	return rc < 0 ? cannot_seal(f, rc, err) : create_deltas(f, err);
}

static void drop_fresh(struct fresh *f)
{
	for (unsigned i = 0; i < f->live->row.nimages; i++)
		delta_unref(f->delta[i]);
	(void)live_dir_remove(f->live->dirfd, f->unnamed);
}

/* Whoever wrote meanwhile may have made an image longer, and been told that this is durable. */
static int fit_size(struct delta *fresh, const struct live_image *image, struct err *err)
{
	uint64_t size = delta_size(live_io_top(image));
	int rc;

	if (delta_size(fresh) == size)
		return 0;
	rc = delta_set_size(fresh, size, err);
	return rc == 0 ? delta_sync(fresh, err) : rc;
}

/* Under the exclusive lock. */
static int put_on_top(struct fresh *f, struct err *err)
{
	struct live *live = f->live;
	int rc = 0;

	for (unsigned i = 0; i < live->row.nimages && rc == 0; i++)
		rc = fit_size(f->delta[i], &live->image[i], err);
	if (rc < 0)
		return rc;
	if (renameat(live->dirfd, f->unnamed, live->dirfd, f->name) < 0)
		return cannot_seal(f, -errno, err);
	for (unsigned i = 0; i < live->row.nimages; i++)
		live->image[i].delta[live->depth] = f->delta[i];
	live->depth++;
	__atomic_store_n(&live->renamed, true, __ATOMIC_RELEASE);
	return 0;
}

static int settle_names(struct live *live, struct err *err)
{
	int rc = live_sync_names(live, err);

	if (rc == 0)
		__atomic_store_n(&live->renamed, false, __ATOMIC_RELEASE);
	return rc;
}

static int seal(struct live *live, struct fresh *f, struct err *err)
{
	int rc = make_fresh(f, err);

	if (rc == 0) {
		pthread_rwlock_wrlock(&live->lock);
		rc = put_on_top(f, err);
		pthread_rwlock_unlock(&live->lock);
	}
	if (rc < 0) {
		drop_fresh(f);
		return rc;
	}
	return settle_names(live, err);
}

/* ---- fold ---- */

/* Under the exclusive lock.  The `n` lowest deltas of each image are in `base`. */
static void stand_on(struct live *live, struct live_base *base, unsigned n)
{
	live->base = base;
	live->first += n;
	live->depth -= n;
	for (unsigned i = 0; i < live->row.nimages; i++) {
		struct live_image *image = &live->image[i];

		for (unsigned k = 0; k < n; k++)
			delta_unref(image->delta[k]);
		memmove(image->delta, image->delta + n, live->depth * sizeof(image->delta[0]));
		live_count_lose(image);
	}
}

static int fold(struct live *live, const struct live_row *row, struct err *err)
{
	unsigned n = (unsigned)(row->first - live->first);
	struct live_base *old = live->base, *base;
	int rc = live_base_open(live->store, row, &base, err);

	if (rc < 0)
		return rc;
	pthread_rwlock_wrlock(&live->lock);
	stand_on(live, base, n);
	pthread_rwlock_unlock(&live->lock);
	live_base_unref(old);
	return 0;
}

static int fold_locked(struct live *live, struct err *err)
{
	struct live_row row;
	int rc = live_row_get(live->store, live->row.name, &row, err);

	if (rc < 0 || row.first == live->first)
		return rc;
	if (row.first < live->first || row.first - live->first >= live->depth)
		return err_set(err, -EBADMSG, "live image '%s': its row says that deltas below "
			       "%llu are in a layer, it has %llu to %llu", live->row.name,
			       (unsigned long long)row.first, (unsigned long long)live->first,
			       (unsigned long long)live->first + live->depth - 1);
	return fold(live, &row, err);
}

int live_fold(struct live *live, struct err *err)
{
	int rc;

	pthread_mutex_lock(&live->sealing);
	rc = fold_locked(live, err);
	pthread_mutex_unlock(&live->sealing);
	return rc;
}

/* ---- whether to seal, and that ---- */

/* Delta `k` of each image: whoever commits opens them by their names. */
static int check_seq(struct live *live, unsigned k, struct err *err)
{
	uint64_t seq = live->first + k;
	int dirfd = live_seq_dir(live, seq, err), rc = 0;

	if (dirfd < 0)
		return dirfd;
	for (unsigned i = 0; i < live->row.nimages && rc == 0; i++) {
		struct delta_place place = {.store = live->store, .dirfd = dirfd,
					    .name = live->row.image[i], .seq = seq};

		rc = delta_verify(live->image[i].delta[k], &place, err);
		if (rc < 0)
			rc = live_bad_delta(&live->image[i], seq, rc, err);
	}
	close(dirfd);
	return rc;
}

/* Under the lock. */
static int check_stack(struct live *live, struct err *err)
{
	int rc = 0;

	for (unsigned k = 0; k < live->depth && rc == 0; k++)
		rc = check_seq(live, k, err);
	return rc;
}

/* Under the lock: the highest says nothing that the one below it does not say. */
static bool is_top_empty(const struct live *live)
{
	for (unsigned i = 0; i < live->row.nimages; i++) {
		struct delta *const *top = &live->image[i].delta[live->depth - 1];
		struct delta_counts counts;

		delta_count(top[0], &counts);
		if (counts.data || counts.zero || delta_size(top[0]) != delta_size(top[-1]))
			return false;
	}
	return true;
}

/* What is sealed is all that is to be committed now: 1 or 0. */
static int is_sealed(struct live *live, struct err *err)
{
	int rc;

	pthread_rwlock_rdlock(&live->lock);
	rc = check_stack(live, err);
	if (rc == 0 && live->depth > 1)
		rc = live->depth > LIVE_DEPTH_MAX || is_top_empty(live);
	pthread_rwlock_unlock(&live->lock);
	return rc;
}

static int seal_locked(struct live *live, uint64_t *ret, struct err *err)
{
	struct fresh f = {.live = live};
	int rc = fold_locked(live, err), sealed = 0;

	if (rc == 0)
		rc = sealed = is_sealed(live, err);
	f.seq = live->first + live->depth - (sealed ? 1 : 0);
	if (rc >= 0)
		rc = sealed ? settle_names(live, err) : seal(live, &f, err);
	if (rc == 0)
		*ret = f.seq;
	return rc;
}

int live_seal(struct live *live, uint64_t *ret, struct err *err)
{
	int rc;

	pthread_mutex_lock(&live->sealing);
	rc = seal_locked(live, ret, err);
	pthread_mutex_unlock(&live->sealing);
	return rc;
}
