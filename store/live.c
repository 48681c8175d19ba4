/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An open live image is a stack: a layer (struct live_base), above it for each image the deltas
 * `first`, `first` + 1 and so on, as many of each; the highest is written to, the others are
 * sealed and do not change any more.
 *
 * Three kinds of locks, in this order:
 *
 *	sealing		one seal or fold at a time, with all that is slow about them: directories,
 *			syncs, opening the layer
 *	lock		shared by whoever looks at the stack, and by a writer until his pages are
 *			in the highest delta; exclusive to change the stack, or an image's size.
 *			Whoever waits for it exclusively goes before new readers, so that a seal
 *			waits for the writes that have begun and no others.
 *	frame[]		of an image, striped: who writes to a frame.  What a page was and what it
 *			becomes (a part of it written, the count of data) is decided under it.
 *
 * A read does not decompress under any of them: it takes what the deltas say, and a reference
 * of the layer for the rest, which keeps its lease.  Likewise a sync takes references of the
 * deltas.  A fold or a seal may come between; what is read or synced then is as true as before.
 *
 * Invariants: whatever lies behind the end of an image is zero, in its last page and behind it,
 * so that to grow is to set the size.  A page of which nothing is left to say (zero on a hole of
 * the layer) need not be ZERO in a delta.
 *
 * The size is the highest delta's.  That of a new one is made the old one's under the exclusive
 * lock, and durable, before it gets its name (under the lock too): whatever the moment of a
 * crash, the highest that has a name knows the size.  Its name is made durable afterwards, by
 * the seal or by a sync that would otherwise promise what is in a delta without one.
 *
 * What a crash leaves: a directory SEQ.new, or some below the row's `first`, both of which the
 * next to open it removes; behind the end of an image, where a cut was not synced, what was there,
 * which is zeroed then, and only
 * where it is not: to open one that is to be read needs no room on the disk.
 */
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/base/vec.h"
#include "store/live-dir.h"
#include "store/live-private.h"
#include "store/store.h"

/* ---- deltas ---- */

int live_bad_delta(const struct live_image *image, uint64_t seq, int rc, struct err *err)
{
	const struct live_row *row = &image->live->row;

	if (rc != -ENOENT)
		return err_wrap(err, rc, "live image '%s'", row->name);
	return err_set(err, -EBADMSG, "live image '%s': delta %llu of '%s' is missing", row->name,
		       (unsigned long long)seq, row->image[image->index]);
}

static int open_delta(struct live_image *image, int dirfd, uint64_t seq, struct err *err)
{
	struct live *live = image->live;
	const char *name = live->row.image[image->index];
	struct delta_place place = {.store = live->store, .dirfd = dirfd, .name = name, .seq = seq};
	int rc = delta_open(&place, 0, &image->delta[live->depth], err);

	return rc < 0 ? live_bad_delta(image, seq, rc, err) : 0;
}

int live_seq_dir(const struct live *live, uint64_t seq, struct err *err)
{
	int dirfd = live_dir_open_seq(live->dirfd, seq);

	if (dirfd == -ENOENT)
		return err_set(err, -EBADMSG, "live image '%s': delta %llu is missing%s",
			       live->row.name, (unsigned long long)seq,
			       live_dir_why(live->dirfd, seq));
	if (dirfd < 0)
		return err_sys(err, dirfd, "live image '%s': cannot open delta %llu",
			       live->row.name, (unsigned long long)seq);
	return dirfd;
}

/* The next delta of each image. */
static int open_seq(struct live *live, uint64_t seq, struct err *err)
{
	int dirfd = live_seq_dir(live, seq, err), rc = 0;

	if (dirfd < 0)
		return dirfd;
	for (unsigned i = 0; i < live->row.nimages && rc == 0; i++)
		rc = open_delta(&live->image[i], dirfd, seq, err);
	close(dirfd);
	live->depth++;
	return rc;
}

static int open_seqs(struct live *live, uint64_t last, struct err *err)
{
	int rc = 0;

	if (last < live->first)
		last = live->first;
	if (last - live->first > LIVE_DEPTH_MAX)
		return err_set(err, -EBADMSG, "live image '%s' has more than %u sealed deltas",
			       live->row.name, LIVE_DEPTH_MAX);
	for (uint64_t seq = live->first; seq <= last && rc == 0; seq++)
		rc = open_seq(live, seq, err);
	return rc;
}

static int remove_unnamed(void *ctx, int dirfd, const char *name)
{
	size_t len = strlen(name), end = strlen(LIVE_UNNAMED);

	(void)ctx;
	if (len <= end || strcmp(name + len - end, LIVE_UNNAMED) != 0)
		return 0;
	return live_dir_remove(dirfd, name);
}

/* What a crash left, and what nobody has removed since it was committed. */
static int tidy(struct live *live, const struct live_dir_seqs *seqs)
{
	live->trash = seqs->n && seqs->v[0] < live->first ? seqs->v[0] : live->first;
	return io_each_name(live->dirfd, ".", remove_unnamed, NULL);
}

static int open_deltas(struct live *live, struct err *err)
{
	struct live_dir_seqs seqs = {0};
	int rc = live_dir_seqs(live->dirfd, &seqs);

	if (rc == 0)
		rc = tidy(live, &seqs);
	if (rc < 0)
		err_sys(err, rc, "live image '%s': cannot look through its directory",
			live->row.name);
	else
		rc = open_seqs(live, seqs.n ? seqs.v[seqs.n - 1] : 0, err);
	vec_fini(&seqs);
	return rc;
}

/* ---- opening ---- */

static int init_locks(struct live *live)
{
	pthread_rwlockattr_t attr;
	int rc;

	pthread_mutex_init(&live->sealing, NULL);
	for (unsigned i = 0; i < live->row.nimages; i++)
		for (unsigned k = 0; k < LIVE_STRIPES; k++)
			pthread_mutex_init(&live->image[i].frame[k], NULL);
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	rc = pthread_rwlock_init(&live->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	return -rc;
}

static struct live *new_live(struct store *store, const struct live_row *row)
{
	struct live *live = calloc(1, sizeof(*live) + row->nimages * sizeof(live->image[0]));

	if (!live)
		return NULL;
	live->store = store;
	live->row = *row;
	live->first = row->first;
	live->dirfd = live->lock_fd = -1;
	for (unsigned i = 0; i < row->nimages; i++) {
		live->image[i].live = live;
		live->image[i].index = i;
	}
	if (init_locks(live) == 0)
		return live;
	free(live);
	return NULL;
}

/* Of one that was made anew the first is any number, so that it follows no old one. */
static uint64_t next_stamp(int lock_fd)
{
	uint64_t stamp, le;

	if (io_pread_all(lock_fd, &le, sizeof(le), 0) == 0)
		stamp = le64toh(le) + 1;
	else if (getrandom(&stamp, sizeof(stamp), GRND_NONBLOCK) != (ssize_t)sizeof(stamp))
		return 0;
	le = htole64(stamp);
	return io_pwrite_all(lock_fd, &le, sizeof(le), 0) == 0 ? stamp : 0;
}

/* Its lock is held. */
static int open_locked(struct live *live, struct err *err)
{
	int rc = open_deltas(live, err);

	if (rc == 0)
		rc = live_base_open(live->store, &live->row, &live->base, err);
	for (unsigned i = 0; i < live->row.nimages && rc == 0; i++)
		rc = live_io_zero_tail(&live->image[i], err);
	return rc;
}

struct claim {
	int dirfd;
	int lock_fd;
};

static void release(const struct claim *c)
{
	close(c->lock_fd);
	close(c->dirfd);
}

/* Whether the directory still has its name: it may have been removed before it was locked. */
static bool is_named(struct store *store, const char *name, int dirfd)
{
	int fd = live_dir_open(store, name);
	struct stat a, b;
	bool same;

	if (fd < 0)
		return false;
	same = fstat(fd, &a) == 0 && fstat(dirfd, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
	close(fd);
	return same;
}

/* The directory, locked, and its row as it is then.  -EAGAIN: it was removed meanwhile. */
static int claim_once(struct store *store, const char *name, struct live_row *row,
		      struct claim *c, struct err *err)
{
	int rc = live_row_get(store, name, row, err);

	if (rc < 0)
		return rc;
	c->dirfd = live_dir_open(store, name);
	if (c->dirfd < 0)
		return err_sys(err, c->dirfd == -ENOENT ? -EBADMSG : c->dirfd,
			       "cannot open '%s/" LIVE_DIR "/%s'", store->path, name);
	c->lock_fd = live_dir_lock(store, c->dirfd, name, err);
	if (c->lock_fd < 0) {
		close(c->dirfd);
		return c->lock_fd;
	}
	rc = live_row_get(store, name, row, err);
	if (rc == 0 && !is_named(store, name, c->dirfd))
		rc = -EAGAIN;
	if (rc < 0)
		release(c);
	return rc;
}

static int claim(struct store *store, const char *name, struct live_row *row, struct claim *c,
		 struct err *err)
{
	int rc;

	do
		rc = claim_once(store, name, row, c, err);
	while (rc == -EAGAIN);
	return rc;
}

int live_open(struct store *store, const char *name, struct live **ret, struct err *err)
{
	struct live_row row;
	struct live *live;
	struct claim c = {.dirfd = -1, .lock_fd = -1};
	int rc;

	if (store->read_only)
		return err_set(err, -EROFS, "live image '%s': the store cannot be written to",
			       name);
	rc = claim(store, name, &row, &c, err);
	if (rc < 0)
		return rc;
	live = new_live(store, &row);
	if (!live) {
		release(&c);
		return err_set(err, -ENOMEM, "out of memory");
	}
	live->dirfd = c.dirfd;
	live->lock_fd = c.lock_fd;
	live->stamp = next_stamp(c.lock_fd);
	rc = open_locked(live, err);
	if (rc < 0)
		live_close(live);
	else
		*ret = live;
	return rc;
}

static void close_image(struct live_image *image)
{
	for (unsigned k = 0; k < image->live->depth; k++)
		delta_unref(image->delta[k]);
	for (unsigned k = 0; k < LIVE_STRIPES; k++)
		pthread_mutex_destroy(&image->frame[k]);
}

void live_close(struct live *live)
{
	if (!live)
		return;
	live_trash_empty(live_trash_take(live));
	for (unsigned i = 0; i < live->row.nimages; i++)
		close_image(&live->image[i]);
	live_base_unref(live->base);
	pthread_rwlock_destroy(&live->lock);
	pthread_mutex_destroy(&live->sealing);
	close(live->dirfd);
	/* The last: who has this one now has all of it. */
	close(live->lock_fd);
	free(live);
}

uint64_t live_stamp(const struct live *live)
{
	return live->stamp;
}

const struct live_row *live_row_of(const struct live *live)
{
	return &live->row;
}

struct live_image *live_find(struct live *live, const char *image)
{
	for (unsigned i = 0; i < live->row.nimages; i++)
		if (strcmp(live->row.image[i], image) == 0)
			return &live->image[i];
	return NULL;
}

/* ---- sync ---- */

int live_sync_names(struct live *live, struct err *err)
{
	int rc;

	if (!__atomic_load_n(&live->renamed, __ATOMIC_ACQUIRE))
		return 0;
	rc = io_fsync(live->dirfd);
	if (rc < 0)
		return err_sys(err, rc, "cannot sync '%s/" LIVE_DIR "/%s'", live->store->path,
			       live->row.name);
	return 0;
}

int live_sync(struct live_image *image, struct err *err)
{
	struct delta *delta[LIVE_DEPTH_MAX + 1];
	unsigned depth;
	int rc;

	pthread_rwlock_rdlock(&image->live->lock);
	depth = image->live->depth;
	for (unsigned k = 0; k < depth; k++)
		delta[k] = delta_ref(image->delta[k]);
	pthread_rwlock_unlock(&image->live->lock);
	rc = live_sync_names(image->live, err);
	for (unsigned k = 0; k < depth; k++) {
		if (rc == 0)
			rc = delta_sync(delta[k], err);
		delta_unref(delta[k]);
	}
	return rc;
}
