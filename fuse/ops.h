/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops: the FUSE operations.  The session's user data is a struct server.
 */
#ifndef LAMINA_FUSE_OPS_H
#define LAMINA_FUSE_OPS_H

#include "fuse/lowlevel.h"

/* One read request at most; also what the mount is told as max_read. */
#define OPS_READ_MAX (1u << 20)

extern const struct fuse_lowlevel_ops ops_table;

#endif
