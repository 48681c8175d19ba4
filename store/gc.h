/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gc: frees what no layer reaches.
 *
 * Marks without the writer's lock, takes it, marks what was published since,
 * then deletes: removed layers without a lease, their frames, segments without
 * a live page, packs without a live segment (their still valid manifests, maps
 * and decisions are carried to the current pack first), and what removed live
 * images left.  With `repack`, packs
 * whose live part is below `ratio` are copied: live pages only, ids kept, then
 * published, then the old pack is unlinked.  Works on a full disk: the store's
 * reserve is used, and whole dead packs go first.
 */
#ifndef LAMINA_GC_H
#define LAMINA_GC_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/progress.h"

struct store;

#define GC_RATIO_DEFAULT 0.95

struct gc_opts {
	bool repack;
	double ratio;		/* 0: the default */
	bool dry_run;
	uint64_t lock_wait_ms;
	struct progress progress;
};

struct gc_result {
	uint64_t layers;	/* removed layers forgotten */
	uint64_t leased;	/* removed layers kept because somebody reads them */
	uint64_t frames;	/* deleted */
	uint64_t segs;		/* deleted */
	uint64_t pages;		/* dead pages dropped */
	uint64_t packs;		/* unlinked (dead or repacked) */
	uint64_t repacked;	/* of those, copied */
	uint64_t bytes_before;	/* packs and index */
	uint64_t bytes_after;
	uint64_t dead_bytes;	/* still in packs: what --repack could free (about) */
	double seconds;
};

/*
 * A pack that cannot be copied, because a live chunk in it is damaged (-EBADMSG)
 * or the disk is full (-ENOSPC), is kept, and everything else is done first:
 * *ret is filled then, too (bytes_before is not 0).  After any other failure it
 * is untouched: -EBUSY, the lock; -EBADMSG, what a layer reaches is not there
 * or cannot be told, and nothing is deleted for that reason.
 */
int gc_run(struct store *store, const struct gc_opts *opts, struct gc_result *ret,
	   struct err *err);

#endif
