/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reply: what ops.c and live-ops.c share: whom a request is for, and its errors.
 */
#ifndef LAMINA_FUSE_REPLY_H
#define LAMINA_FUSE_REPLY_H

#include "fuse/file.h"
#include "fuse/lowlevel.h"
#include "fuse/server.h"

/* The server of a request, which is counted. */
struct server *reply_server(fuse_req_t req, enum stats_counter counter);
struct file *reply_file(const struct fuse_file_info *fi);

/* What a process is told: what is damaged or of a newer format cannot be read. */
int reply_errno(int rc);

/* Some errors are answers; the others are counted and logged. */
void reply_fail(fuse_req_t req, struct server *server, int rc, const struct err *err);
/* Of a read: nothing else than ENOMEM and EIO, always logged. */
void reply_fail_read(fuse_req_t req, struct server *server, int rc, const struct err *err);

#endif
