/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * compare: what differs between two images, by maps and digests; no page is read.
 */
#ifndef LAMINA_COMPARE_H
#define LAMINA_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/layer.h"

struct store;

/* One frame that differs: bit i of differ/zero = page i. */
struct compare_frame {
	uint64_t frame;
	unsigned npages;	/* that differ */
	uint8_t differ[64];	/* pages whose content differs */
	uint8_t a_zero[64];	/* pages that are zero in a */
	uint8_t b_zero[64];
};

/*
 * Calls fn for each frame in which the images differ, ascending; either image
 * may be NULL (all zeros).  Frames past an image's end are zeros.
 * fn returning non-zero stops with that value.  -EBADMSG: damage.
 */
int compare_images(struct store *store, const struct image *a, const struct image *b,
		   int (*fn)(void *ctx, const struct compare_frame *f), void *ctx,
		   struct err *err);

#endif
