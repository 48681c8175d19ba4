/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-mark: what an image of a live image held at a moment, so that it can be told later whether
 * it holds that still.  A mark names the live image, which one made anew under the same name is not
 * (the store's uuid, when the row was created, inode and birth of its directory), and the delta
 * that was written to at that moment, with when it was written to last.  From then on the image
 *
 *	is the same if that delta is still the one that is written to, and was not since; else, if
 *	it is known which layer holds what was marked: if the layer that it stands on has the
 *	same frames, and nothing was written above it.
 */
#ifndef LAMINA_LIVE_MARK_H
#define LAMINA_LIVE_MARK_H

#include <stdint.h>

#include "store/base/err.h"
#include "store/digest.h"
#include "store/format.h"

struct store;

struct live_mark {
	uint8_t store[16];	/* its uuid */
	char name[TAG_NAME_MAX + 1];
	int64_t created;	/* of the row */
	uint64_t inode;		/* of STORE/live/NAME */
	int64_t born;		/* when that was made, ns since 1970; 0: not known */
	uint64_t delta;		/* the one that is written to */
	int64_t written;	/* when it was last, ns since 1970; of the image */
};

/* -ENOENT: there is no such live image or image. */
int live_mark_take(struct store *store, const char *name, const char *image,
		   struct live_mark *ret, struct err *err);
/*
 * Whether image `image` of live image `name` is what `then` marked: 1; 0 or -errno with why not.
 * `layer` (or NULL) holds what was marked.  Beside whoever writes to it.
 */
int live_mark_holds(struct store *store, const char *name, const char *image,
		    const struct live_mark *then, const struct digest *layer, struct err *err);

#endif
