/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-private: what live.c, live-seal.c, live-base.c, live-count.c and live-io.c share.
 */
#ifndef LAMINA_LIVE_PRIVATE_H
#define LAMINA_LIVE_PRIVATE_H

#include <pthread.h>

#include "store/live.h"

#define LIVE_STRIPES 64u
#define LIVE_UNNAMED ".new"		/* behind the number of a delta that is being made */

/* The layer below all deltas, with its lease: as long as somebody reads it. */
struct live_base {
	int refs;			/* atomic */
	struct store *store;
	struct layer *layer;		/* NULL: there is none, all is zero */
	int lease;			/* -1 without a layer */
	struct view *view[IMAGES_MAX];	/* of the live image's; NULL: the layer lacks it */
	const struct image *image[IMAGES_MAX];
};

struct live_image {
	struct live *live;
	unsigned index;			/* in the row */
	struct delta *delta[LIVE_DEPTH_MAX + 1];	/* the lowest first; under live->lock */
	bool counted;			/* atomic: `data` is true */
	int64_t data;			/* atomic: pages of data */
	pthread_mutex_t frame[LIVE_STRIPES];	/* who writes to one of these frames */
};

struct live {
	struct store *store;
	struct live_row row;		/* as of live_open() */
	int dirfd;			/* STORE/live/NAME */
	int lock_fd;
	uint64_t stamp;			/* live_stamp() */
	pthread_mutex_t sealing;	/* one seal or fold at a time */
	pthread_rwlock_t lock;
	struct live_base *base;		/* under lock */
	uint64_t first;			/* under lock: the lowest delta's */
	uint64_t trash;			/* under sealing: the lowest directory that may be there */
	unsigned depth;			/* under lock: deltas of each image, at least 1 */
	bool renamed;			/* atomic: a name in dirfd is not durable yet */
	struct live_image image[];	/* row.nimages */
};

/* Bytes of an image. */
struct live_span {
	const uint8_t *buf;		/* what is to be there; NULL: zeros */
	uint64_t off;
	uint64_t end;
};

static inline uint64_t live_page_after(uint64_t off)
{
	return (off + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

/* ---- live.c ---- */

/* The directory of delta `seq`, a descriptor; -EBADMSG: it is missing. */
int live_seq_dir(const struct live *live, uint64_t seq, struct err *err);
/* The sentence on a delta that could not be opened: `rc`, -EBADMSG where it is missing. */
int live_bad_delta(const struct live_image *image, uint64_t seq, int rc, struct err *err);
/* The name of the highest delta, and that of those below, are durable. */
int live_sync_names(struct live *live, struct err *err);

/* ---- live-base.c ---- */

/* -EBADMSG where the layer is gone. */
int live_base_open(struct store *store, const struct live_row *row, struct live_base **ret,
		   struct err *err);
struct live_base *live_base_ref(struct live_base *base);
void live_base_unref(struct live_base *base);	/* NULL is fine */
/* Bytes; 0: it has no such image. */
uint64_t live_base_size(const struct live_base *base, unsigned index);
/* From `page` on (< end) this many pages are data, or zeros; behind its end zeros. */
int64_t live_base_run(struct live_base *base, unsigned index, uint64_t page, uint64_t end,
		      bool *ret_data, struct err *err);
/* With zeros behind its end. */
int live_base_read(struct live_base *base, unsigned index, void *buf, size_t len, uint64_t off,
		   struct err *err);

/* ---- live-count.c; all under live->lock ---- */

/*
 * From `page` on (< end) how many pages are said by the same delta (*ret), or by none
 * (DELTA_NONE).
 */
uint64_t live_count_run(const struct live_image *image, uint64_t page, uint64_t end,
			struct delta **ret, enum delta_state *ret_state);
/* The same, of what a reader sees: data or zeros.  Where the layer is damaged: -EBADMSG. */
int64_t live_count_seen(const struct live_image *image, uint64_t page, uint64_t end,
			bool *ret_data, struct err *err);
/* Data pages among these; damaged ones are. */
uint64_t live_count_data(const struct live_image *image, uint64_t page, uint64_t end);
/* Whether the sum is kept: if not, nobody need say what changes. */
bool live_count_known(const struct live_image *image);
void live_count_add(struct live_image *image, int64_t pages);
/* Nobody knows any more. */
void live_count_lose(struct live_image *image);

/* ---- live-io.c; under live->lock ---- */

struct delta *live_io_top(const struct live_image *image);
/* Zeros, on whole pages as far as it goes; behind `off` where `end` is the image's. */
int live_io_zero(struct live_image *image, uint64_t off, uint64_t end, struct err *err);
/* What was left behind the end; where that is zero already nothing is written. */
int live_io_zero_tail(struct live_image *image, struct err *err);
/* Alone: the image ends there, and zeros are behind it. */
int live_io_resize(struct live_image *image, uint64_t size, struct err *err);

#endif
