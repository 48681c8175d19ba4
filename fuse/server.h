/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * server: one mounted store; what every FUSE operation gets.
 *
 * Threads: the session's workers run the operations, one thread (watch.h)
 * looks for changes and takes signals, and the main thread waits for the end.
 *
 * Locks, each of them alone: tree->lock, lives->lock, tree_layer->lock (hold.h),
 * lives_item->lock (live-hold.h), list->lock, damage->lock.  None is held while
 * another is taken, while the kernel is notified, or while a reply is sent; only
 * those of a layer and a live image are held while the store works.
 */
#ifndef LAMINA_FUSE_SERVER_H
#define LAMINA_FUSE_SERVER_H

#include "fuse/damage.h"
#include "fuse/file.h"
#include "fuse/options.h"
#include "fuse/stats.h"
#include "fuse/tree.h"
#include "store/store.h"

struct fuse_session;

struct server {
	const struct options *options;
	struct store *store;
	struct tree *tree;
	struct fuse_session *session;
	struct stats stats;
	struct file_list files;
	struct damage damage;
	uint64_t nlayers;	/* atomic; as watch.h saw it last */
	uint64_t nlives;	/* atomic; the same of live images */
	int64_t changed;	/* atomic; unix seconds: when layers, tags or these last did */
};

#endif
