/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * attr: what stat(2) says of a node, and how long the kernel may believe it.
 * Any thread.
 */
#ifndef LAMINA_FUSE_ATTR_H
#define LAMINA_FUSE_ATTR_H

#include <sys/stat.h>

#include "fuse/server.h"

#define ATTR_FOREVER (365.0 * 86400)

/*
 * Fills `ret`; returns the seconds for which that stays true.  The first time
 * it is asked about an image it reads the image's maps (for st_blocks).
 */
double attr_fill(struct server *server, struct node *node, struct stat *ret);

/*
 * The seconds for which the name of a node stays true.  A layer, trace or live image can
 * be removed and a tag moved at any time, so these names are asked for each time.
 */
double attr_name_timeout(const struct node *node);

/* The inode number of the directory above. */
uint64_t attr_parent_ino(struct server *server, const struct node *dir);

#endif
