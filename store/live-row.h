/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-row: which live images there are, and upon which layer each stands: a decision (decide.h)
 * for each, so that packs and index remember it and recover finds it again.
 *
 * DECISION_LIVE: the key is the name; the value: u8 has_base, 32 bytes base (zeros without one),
 * u64 first, u64 created (unix seconds), u8 number of images, for each, sorted by name: u8
 * length, name.
 */
#ifndef LAMINA_LIVE_ROW_H
#define LAMINA_LIVE_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/digest.h"
#include "store/format.h"
#include "store/index.h"

struct store;

struct live_row {
	char name[TAG_NAME_MAX + 1];
	bool has_base;
	struct digest base;	/* the layer on which deltas stand */
	uint64_t first;		/* the sequence number of the first delta that is not in it */
	int64_t created;	/* unix seconds */
	unsigned nimages;
	char image[IMAGES_MAX][IMAGE_NAME_MAX + 1];	/* sorted */
};

bool live_row_name_ok(const char *name);	/* as tags */

/* -ENOENT with a sentence; -EBADMSG. */
int live_row_get(struct store *store, const char *name, struct live_row *ret, struct err *err);
/* The last word on it: 1, a row; 0, it was removed; -ENOENT, nothing was ever said. */
int live_row_said(struct store *store, const char *name, struct err *err);
/* By name. */
int live_row_each(struct store *store, int (*fn)(void *ctx, const struct live_row *row), void *ctx,
		  struct err *err);
/*
 * The names of those that stand on `id`, for a sentence ("'a', 'b' and 3 more"): how many, or
 * -errno.
 */
int live_row_on(struct store *store, const struct digest *id, char *list, size_t size,
		struct err *err);

/* Under the writer's lock. */
int live_row_put(struct store *store, const struct live_row *row, struct err *err);
int live_row_delete(struct store *store, const char *name, struct err *err);

/*
 * The decision that says it; its key is row->name and its value is in `value`, which the
 * caller keeps until the decision is written, and ends.  -ENOMEM.
 */
int live_row_decision(const struct live_row *row, struct buf *value, struct index_decision *ret);
/* -EBADMSG. */
int live_row_decode(const struct index_decision *d, struct live_row *ret);

#endif
