/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mark: which frames and pages are reachable from a set of layers.
 * Exact: a bit a page, grouped by segment.
 */
#ifndef LAMINA_MARK_H
#define LAMINA_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/layer.h"

struct store;
struct mark;

struct mark_seg {
	uint64_t first;
	uint32_t span;
	uint32_t live;		/* pages */
	uint8_t *bits;		/* span bits */
};

int mark_new(struct store *store, struct mark **ret);
void mark_free(struct mark *mark);		/* NULL is fine */

/* Adds everything that the layer reaches. */
int mark_layer(struct mark *mark, const struct layer *layer, struct err *err);
/* Adds one frame (and its pages). */
int mark_frame(struct mark *mark, uint64_t fid, struct err *err);

bool mark_has_layer(const struct mark *mark, const struct digest *id);
bool mark_has_frame(const struct mark *mark, uint64_t fid);
bool mark_has_page(const struct mark *mark, uint64_t paddr);
/* The segment's bits, or NULL if nothing of it is live. */
const struct mark_seg *mark_seg_find(const struct mark *mark, uint64_t first);
uint64_t mark_pages(const struct mark *mark);	/* live pages */

#endif
