/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bulk: reads all of the memfile that a session still misses, in order, by
 * threads of its own, into blocks that the session's owner installs.  Never more
 * than BULK_BLOCKS are read ahead of him.  Holes are passed over unread.
 *
 * It paces itself by the rate and the guard that it was given.
 */
#ifndef LAMINA_PAGER_BULK_H
#define LAMINA_PAGER_BULK_H

#include <stdbool.h>
#include <stdint.h>

#include "src/pager/guard.h"
#include "store/base/err.h"

#define BULK_BLOCKS 6
#define BULK_LEN (UINT64_C(256) << 10)	/* of 4 KiB pages; a block of huge pages is one page */
#define BULK_PAGES (BULK_LEN / 4096)

struct bulk;
struct session;

enum bulk_what {
	BULK_SKIP,	/* was not missing when it was to be read */
	BULK_ZERO,	/* read, and zeros */
	BULK_DATA
};

struct bulk_block {
	uint64_t page;			/* of the session */
	uint64_t n;
	uint64_t at;			/* of these, done by the owner */
	uint8_t *buf;
	uint64_t warm_off;		/* bulk.c's: of what comes behind it the kernel is told */
	uint64_t warm_len;
	uint8_t what[BULK_PAGES];	/* enum bulk_what, of each */
	int step;			/* bulk.c's */
	uint64_t number;		/* in the order in which they are to be installed */
};

struct bulk_limits {
	uint64_t rate;			/* bytes a second; 0: any */
	struct guard guard;
};

/* All functions are the owner's.  Starts to read.  -ENOMEM, -EAGAIN (no thread). */
int bulk_new(struct session *s, const struct bulk_limits *limits, struct bulk **ret,
	     struct err *err);
/* Ends it; a thread that hangs in a read goes when it comes back.  NULL is fine. */
void bulk_free(struct bulk *bulk);

enum bulk_state {
	BULK_READY,	/* *ret is to be installed, then bulk_done() */
	BULK_READING,	/* nothing now: session_work_later() when there is */
	BULK_OVER,	/* all has been read and installed */
	BULK_FAILED	/* bulk_error() */
};

enum bulk_state bulk_next(struct bulk *bulk, struct bulk_block **ret);
void bulk_done(struct bulk *bulk, struct bulk_block *block);

/*
 * Why it failed: -EIO and others for the memfile, with its name and the offset of a page
 * that cannot be read, of those read at once the first;
 * -ENOMEM when the guard has held it for BULK_HELD_MS.
 */
#define BULK_HELD_MS 10000
int bulk_error(struct bulk *bulk, struct err *err);

/* Bytes of memory gone through; whether the guard holds it. */
uint64_t bulk_at(struct bulk *bulk, bool *ret_held);
/* The same, and why, in a sentence, if it does. */
bool bulk_is_held(struct bulk *bulk, struct err *why);

#endif
