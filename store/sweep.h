/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sweep: deletes from the index the frames and segments that a mark does not
 * reach.  Under the writer's lock, outside a transaction.
 */
#ifndef LAMINA_SWEEP_H
#define LAMINA_SWEEP_H

#include <stdint.h>

#include "store/base/err.h"

struct store;
struct mark;

struct sweep {
	uint64_t frames;
	uint64_t segs;
	uint64_t pages;		/* in those segments */
};

/* What sweep_run() would delete. */
int sweep_count(struct store *store, const struct mark *mark, struct sweep *ret, struct err *err);

/*
 * Deletes in transactions of bounded size, frames first, so that no frame ever
 * points at a segment that is not there.  When the disk is full the reserve is
 * released and the transactions become smaller.
 */
int sweep_run(struct store *store, const struct mark *mark, struct sweep *ret, struct err *err);

#endif
