/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inherit: what a new layer takes from its parent unread has to be there.
 */
#ifndef LAMINA_INHERIT_H
#define LAMINA_INHERIT_H

#include <stdint.h>

#include "store/base/err.h"

struct layer;
struct store;

/*
 * Whether the pages of the first nframes[i] frames of each image i of `parent`
 * can be read: each has its segment, in a pack that is there, this store's and
 * long enough.  Their records are not read.  Under the writer's lock.
 *
 * -EBADMSG and a sentence that names the image, the layer and the pack.
 */
int inherit_check(struct store *store, const struct layer *parent, const uint64_t nframes[],
		  struct err *err);

#endif
