/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-commit: what was sealed of a live image becomes a layer: a child of the one that it stands
 * on.  Reads what was written and nothing else, from the sealed deltas, beside whoever goes on
 * writing above them (any process).
 *
 *	ioctl(LIVE_IOC_SEAL) on MNT/live/NAME, or live_open(), live_seal(), live_close()
 *	live_commit()
 *	ioctl(LIVE_IOC_FOLD), or nothing: the next to open it does
 *
 * After a commit that failed the same once more: what it sealed is sealed, and a new delta is made
 * only if something was written since.  With LIVE_DEPTH_MAX of them none is made, and the commit
 * takes those: *upto is then the row's `first` + LIVE_DEPTH_MAX, and all three are to be done
 * again for what was written since.
 */
#ifndef LAMINA_LIVE_COMMIT_H
#define LAMINA_LIVE_COMMIT_H

#include <linux/ioctl.h>
#include <stdint.h>

#include "store/commit.h"
#include "store/live-row.h"

/*
 * What lamina-fuse answers on the directory MNT/live/NAME, to root and to its own user (else
 * EPERM).  SEAL: seals, and tells the sequence number up to which (without it) is sealed.
 * FOLD: as live_fold().  EROFS where the mount is read-only; other errors are those of
 * live_open(), live_seal(), live_fold().
 */
#define LIVE_IOC_SEAL _IOR('L', 0x40, uint64_t)
#define LIVE_IOC_FOLD _IO('L', 0x41)

struct live_commit_opts {
	const char *name;
	uint64_t upto;			/* deltas below this sequence number */
	const char *tag;		/* these as in commit.h */
	const struct attrs *attrs;
	bool one_moment;		/* known: of memory, state and disk (moment.h) */
	bool dry_run;
	unsigned threads;		/* 0: one core is left to who goes on writing */
	uint64_t lock_wait_ms;
	struct progress progress;
};

/* What was committed. */
struct live_taken {
	struct live_row row;		/* as it was before */
	uint64_t size[IMAGES_MAX];	/* bytes, of row.image */
	bool moment_unknown;		/* the layer is MOMENT_UNKNOWN */
};

/*
 * Takes the writer's lock, which the caller has not.
 *
 * All images of the live image are in it.  The row moves in the same transaction.  ret->image
 * is in the order of the row's images; ret_taken may be NULL.  -ENOENT: no such live image;
 * -EALREADY: all below `upto` is in a layer already (somebody else committed); -EINVAL: it is not
 * sealed that far; -EBADMSG: a delta is missing or damaged; others as commit_run() and
 * delta_open().  The layer gets the attribute lamina.live, the name, and with a state that of
 * moment.h; where nothing was written since the layer below, as that one.  After a failure all is
 * as before, and the sealed deltas wait for the next commit.  With a full disk the store's reserve
 * is lent.
 */
int live_commit(struct store *store, const struct live_commit_opts *opts,
		struct commit_result *ret, struct live_taken *ret_taken, struct err *err);

#endif
