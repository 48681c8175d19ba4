/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-ops: the FUSE operations on MNT/live, and those that change something anywhere, which
 * outside of it are refused (refuse.h).
 */
#ifndef LAMINA_FUSE_LIVE_OPS_H
#define LAMINA_FUSE_LIVE_OPS_H

#include "fuse/file.h"
#include "fuse/lowlevel.h"

/* Answers a read of an open file of a live image. */
void live_ops_read(fuse_req_t req, struct file *file, size_t size, uint64_t off);

void live_ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		    struct fuse_file_info *fi);
void live_ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			struct fuse_file_info *fi);
void live_ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		      struct fuse_file_info *fi);
void live_ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void live_ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void live_ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
		    struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		    size_t out_size);

#endif
