/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live: a live image: the images of a layer, writable.  What was written is kept in deltas
 * (delta.h) in the store's directory, and committed from there (live-commit.h):
 *
 *	STORE/live/NAME/lock		locked (flock) by who has it open; 8 bytes, live_stamp()
 *	STORE/live/NAME/SEQ/IMAGE	the delta of an image; SEQ decimal, from 1
 *
 * The row (live-row.h) says on which layer they stand and which SEQ is the first that is not
 * in it. A page is what the highest SEQ says of it, then the next one, then the layer, where
 * it has the image and the page; beyond its end, zero.  The highest SEQ is written to; the
 * others are sealed: a commit takes them, while writers go on above.
 *
 *	seal	the directory SEQ + 1 is made whole under another name, synced, renamed; from then
 *		on it is written to; not if all is sealed already
 *	commit	one transaction publishes the layer, and in the row its name and first = SEQ + 1
 *	fold	whoever has it open looks at the row, and lets go of what is below `first`
 *
 * so that a kill between any two of these loses nothing; a directory below `first`, or under
 * another name, is removed by whoever opens it next.
 */
#ifndef LAMINA_LIVE_H
#define LAMINA_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>

#include "store/base/err.h"
#include "store/delta.h"
#include "store/live-row.h"
#include "store/view.h"

#define LIVE_DEPTH_MAX 64u	/* sealed deltas of commits that failed; no more */

struct live;
struct live_image;
struct live_trash;
struct store;

/* ---- what there is (live-admin.c); each takes the writer's lock unless the caller has it ---- */

struct live_size {
	const char *image;	/* one that the layer lacks begins empty (all zeros) */
	uint64_t size;		/* bytes; at least the layer's */
};

struct live_new {
	const char *name;
	const struct digest *from;	/* or NULL: no layer */
	const struct live_size *sizes;	/* of images that the layer lacks, or that are to grow */
	size_t nsizes;
};

/*
 * -EEXIST (the files of one that was lost, too); -ENOENT: no such layer; -EINVAL: a bad name, a
 * size below the layer's, neither layer nor image; what delta_create() says.  Nothing is left
 * of one that failed.
 */
int live_create(struct store *store, const struct live_new *what, uint64_t wait_ms,
		struct err *err);
/* Whether somebody has it open: 1 or 0; -ENOENT, ... */
int live_is_open(struct store *store, const char *name);
/* -ENOENT; -EBUSY with the pid that has it open.  What was not committed is gone. */
int live_remove(struct store *store, const char *name, uint64_t wait_ms, struct err *err);

struct live_image_info {
	char name[IMAGE_NAME_MAX + 1];
	uint64_t size;		/* bytes */
	uint64_t base_size;	/* of the layer's image; 0: it has none */
	uint64_t written;	/* pages that are DATA in a delta */
	uint64_t punched;	/* pages that are ZERO in a delta */
	uint64_t frames;	/* in which there is one of either */
	struct timespec mtime;	/* as live_stat() */
};
struct live_info {
	struct live_row row;
	uint64_t sealed;	/* deltas that wait for a commit */
	uint64_t disk;		/* bytes that all deltas occupy */
	int pid;		/* who has it open; 0: nobody (or it cannot be told: -1) */
	unsigned nimages;
	struct live_image_info image[IMAGES_MAX];
};
/* Beside whoever writes to it: what was so at some moment of the call.  No lock. */
int live_info(struct store *store, const char *name, struct live_info *ret, struct err *err);

/*
 * Removes what removed and half-made ones left in STORE/live.  What was written to one whose row
 * was lost (nothing says that it was removed) stays.  Under the writer's lock.
 */
int live_tidy(struct store *store, struct err *err);

/* ---- one that is open (live.c) ---- */

/*
 * For one process at a time.  -ENOENT; -EBUSY with the pid that has it open; -EBADMSG: a delta
 * is missing or damaged; -EROFS.  It holds its layer's lease.
 */
int live_open(struct store *store, const char *name, struct live **ret, struct err *err);
/* No image may be in use.  What was not synced is left to the kernel.  NULL is fine. */
void live_close(struct live *live);

/*
 * A number that the live image keeps: one more than at an earlier live_open() of it, if nobody
 * has opened it in between.  0: it could not be kept.
 */
uint64_t live_stamp(const struct live *live);
/* As of live_open(); of it name and images stay true. */
const struct live_row *live_row_of(const struct live *live);
struct live_image *live_find(struct live *live, const char *image);	/* or NULL */

/* Everything below from any thread. */

uint64_t live_size(struct live_image *image);
/* Bytes of data pages (st_blocks * 512), and when it was last written to. */
int live_stat(struct live_image *image, uint64_t *ret_data_bytes, struct timespec *ret_mtime,
	      struct err *err);

/* What a read answers, held until live_release(): pieces of cached memory, or of our own. */
struct live_data {
	struct view_data view;		/* what is to be sent: view.iov, view.niov, view.len */
	void *buf;			/* live.c's */
	struct live_base *base;		/* live.c's */
};
/*
 * As view_read(): up to 1 MiB.  Where nothing in the range was ever written no copy is made.
 * -EBADMSG: the layer is damaged there; -EIO.
 */
int live_read(struct live_image *image, uint64_t off, size_t len, struct live_data *ret,
	      struct err *err);
void live_release(struct live_image *image, struct live_data *data);

/*
 * All of it, or an error and what of it is there is not said (as write(2) at a power cut): each
 * page is old or new.  Behind the end the image grows.  -ENOSPC, -EFBIG, -EIO, -ENOMEM;
 * -EBADMSG: a page that is written in part lies on a damaged one.
 */
int live_write(struct live_image *image, const void *buf, size_t len, uint64_t off,
	       struct err *err);
/* Reads zeros from now on; within the image. */
int live_zero(struct live_image *image, uint64_t off, uint64_t len, struct err *err);
/* Sets room aside, as fallocate(2); the size does not change. */
int live_allocate(struct live_image *image, uint64_t off, uint64_t len, struct err *err);
/* What is cut off is zero if the image grows again. */
int live_truncate(struct live_image *image, uint64_t size, struct err *err);
/* What returned before is durable: of this image. */
int live_sync(struct live_image *image, struct err *err);
/* As view_next_run(): ZERO pages and the layer's zeros are holes. */
int live_next_run(struct live_image *image, uint64_t off, struct view_run *ret, struct err *err);

/*
 * Seals what was written so far, of all images at one moment: what returned before is below, what
 * begins after is above *ret, the sequence number that is written to from now on.  Writers wait
 * only for the moment.  It folds first.  If nothing was written since the last seal, and that
 * waits for a commit, there is nothing to do.  At LIVE_DEPTH_MAX nothing is sealed either: *ret is
 * the row's `first` + LIVE_DEPTH_MAX, and what was written since the last seal is above it;
 * who wants it commits, and seals and commits again.  -ENOSPC; -EBADMSG: a delta is missing or
 * damaged, or as live_fold(): nothing was made.
 */
int live_seal(struct live *live, uint64_t *ret, struct err *err);
/* After somebody committed: stands on what the row says now.  Nothing to do is success. */
int live_fold(struct live *live, struct err *err);

/*
 * What is in a layer by now, or was when it was opened, and is to be removed: which can take
 * seconds (a file of many extents).  NULL: nothing.  live_close() removes what nobody took; what
 * is never removed the next to open it finds again.
 */
struct live_trash *live_trash_take(struct live *live);
/* Also after live_close().  NULL is fine. */
void live_trash_empty(struct live_trash *trash);

#endif
