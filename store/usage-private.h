/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * usage-private: what the usage*.c files share: a look at every frame, and a
 * walk over the frames of every layer.
 */
#ifndef LAMINA_USAGE_PRIVATE_H
#define LAMINA_USAGE_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "store/layer.h"

struct usage_frame {
	uint64_t fid;
	uint16_t data;		/* pages that are not zero */
	uint16_t single;	/* of these, those that only `owner` reaches */
	uint32_t owner;
};

struct usage_frames {
	struct usage_frame *v;	/* by fid */
	size_t n;
	size_t cap;
	uint64_t map_bytes;	/* of their records, about */
};

int usage_frames_load(struct store *store, struct usage_frames *ret, struct err *err);
void usage_frames_fini(struct usage_frames *frames);
/* NULL if there is none.  Next to the last answer is found at once. */
struct usage_frame *usage_frames_find(struct usage_frames *frames, uint64_t fid,
				      struct usage_frame *last);

/* Layers that exist, oldest first, decoded; borrowed during the call. */
int usage_each_layer(struct store *store, int (*fn)(void *ctx, const struct layer *layer),
		     void *ctx, struct err *err);
/* Calls fn for each frame of each image of the layer that is not all zeros. */
int usage_each_frame(const struct layer *layer, struct usage_frames *frames,
		     int (*fn)(void *ctx, struct usage_frame *frame), void *ctx, struct err *err);

#endif
