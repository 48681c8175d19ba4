/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pipeline: items through four stages on a few threads.
 *
 * An item lives in one of `nslots` slots from the moment it is named until it
 * has been written.  Items are named, placed and written one at a time, each
 * of them in the order of naming; they are read and packed by all threads at
 * once.  A free thread takes the most advanced work there is, so the results
 * do not depend on the number of threads.
 */
#ifndef LAMINA_PIPELINE_H
#define LAMINA_PIPELINE_H

#include "store/base/err.h"

#define PIPELINE_THREADS_MAX 64u

/*
 * Each may fail with -errno and a sentence, which stops everything.  `slot` is
 * 0..nslots-1, `worker` 0..nthreads-1 and is one thread's at a time.
 */
struct pipeline_ops {
	/* Puts the next item in the slot: 1, or 0 when there is none. */
	int (*name)(void *ctx, unsigned slot, struct err *err);
	int (*read)(void *ctx, unsigned slot, unsigned worker, struct err *err);
	/* 1: it is to be packed; 0: it is not. */
	int (*place)(void *ctx, unsigned slot, struct err *err);
	int (*pack)(void *ctx, unsigned slot, unsigned worker, struct err *err);
	int (*write)(void *ctx, unsigned slot, struct err *err);
};

/*
 * Runs until all items are written or a stage has failed; no callback runs
 * once it returns.  The first error and its sentence.  The calling thread is
 * one of the workers; where no more threads can be had it works alone.
 */
int pipeline_run(const struct pipeline_ops *ops, void *ctx, unsigned nslots, unsigned nthreads,
		 struct err *err);

#endif
