/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hold: a layer in use.
 *
 * The first open file of a layer takes its lease and opens it, the first of an
 * image opens its view; the last to go closes them again.  A mapped file is
 * open until it is unmapped.  Any thread.
 */
#ifndef LAMINA_FUSE_HOLD_H
#define LAMINA_FUSE_HOLD_H

#include "fuse/server.h"

/*
 * The image's view, borrowed until hold_put().  -ENOENT: the layer was removed
 * and nobody reads it; otherwise see layer_hold() and view_open().
 */
int hold_get(struct server *server, struct tree_image *image, struct view **ret,
	     struct err *err);
void hold_put(struct server *server, struct tree_image *image);

#endif
