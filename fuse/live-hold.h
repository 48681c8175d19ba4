/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-hold: a live image in use.
 *
 * The first open file of a live image opens it, so that no other process can, and the last to go
 * closes it; as hold.h does with layers.  To open one that another process has open is tried for
 * two seconds.  Any thread.
 */
#ifndef LAMINA_FUSE_LIVE_HOLD_H
#define LAMINA_FUSE_LIVE_HOLD_H

#include "fuse/lives.h"
#include "fuse/server.h"
#include "store/live.h"

/*
 * Borrowed until live_hold_put().  -ENOENT: it was removed; otherwise see live_open().
 * *ret_keep: what the kernel has cached of the image is still so.
 */
int live_hold_get(struct server *server, struct lives_image *image, struct live_image **ret,
		  bool *ret_keep, struct err *err);
/* The live image itself, for seal and fold. */
int live_hold_get_item(struct server *server, struct lives_item *item, struct live **ret,
		       struct err *err);
void live_hold_put(struct server *server, struct lives_item *item);

/* The kernel has asked about what an open file of the image has. */
void live_hold_settle(struct lives_image *image);

/* What stat(2) says of an image. */
struct live_hold_stat {
	uint64_t size;
	uint64_t data_bytes;
	struct timespec mtime;
};
/*
 * Exact while it is open here.  Otherwise it is not opened for that (somebody else may be about
 * to), and data_bytes is what is in the layer and what was written, at most.
 */
int live_hold_stat(struct server *server, struct lives_image *image, struct live_hold_stat *ret,
		   struct err *err);

/* Stands on what the store says now (live_fold()), if it is open. */
int live_hold_fold(struct lives_item *item, struct err *err);

#endif
