/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/refuse.h"

#include <errno.h>

#include "fuse/server.h"

static void refuse(fuse_req_t req)
{
	struct server *s = fuse_req_userdata(req);

	stats_add(&s->stats, STATS_REFUSED, 1);
	fuse_reply_err(req, EROFS);
}

#define UNUSED __attribute__((unused))

void refuse_setattr(fuse_req_t req, fuse_ino_t ino UNUSED, struct stat *attr UNUSED,
		    int to_set UNUSED, struct fuse_file_info *fi UNUSED)
{
	refuse(req);
}

void refuse_mknod(fuse_req_t req, fuse_ino_t parent UNUSED, const char *name UNUSED,
		  mode_t mode UNUSED, dev_t rdev UNUSED)
{
	refuse(req);
}

void refuse_mkdir(fuse_req_t req, fuse_ino_t parent UNUSED, const char *name UNUSED,
		  mode_t mode UNUSED)
{
	refuse(req);
}

void refuse_unlink(fuse_req_t req, fuse_ino_t parent UNUSED, const char *name UNUSED)
{
	refuse(req);
}

void refuse_symlink(fuse_req_t req, const char *link UNUSED, fuse_ino_t parent UNUSED,
		    const char *name UNUSED)
{
	refuse(req);
}

void refuse_rename(fuse_req_t req, fuse_ino_t parent UNUSED, const char *name UNUSED,
		   fuse_ino_t newparent UNUSED, const char *newname UNUSED,
		   unsigned int flags UNUSED)
{
	refuse(req);
}

void refuse_link(fuse_req_t req, fuse_ino_t ino UNUSED, fuse_ino_t newparent UNUSED,
		 const char *newname UNUSED)
{
	refuse(req);
}

void refuse_create(fuse_req_t req, fuse_ino_t parent UNUSED, const char *name UNUSED,
		   mode_t mode UNUSED, struct fuse_file_info *fi UNUSED)
{
	refuse(req);
}

void refuse_write(fuse_req_t req, fuse_ino_t ino UNUSED, const char *buf UNUSED,
		  size_t size UNUSED, off_t off UNUSED, struct fuse_file_info *fi UNUSED)
{
	refuse(req);
}

void refuse_fallocate(fuse_req_t req, fuse_ino_t ino UNUSED, int mode UNUSED, off_t off UNUSED,
		      off_t len UNUSED, struct fuse_file_info *fi UNUSED)
{
	refuse(req);
}

void refuse_setxattr(fuse_req_t req, fuse_ino_t ino UNUSED, const char *name UNUSED,
		     const char *value UNUSED, size_t size UNUSED, int flags UNUSED)
{
	refuse(req);
}

void refuse_removexattr(fuse_req_t req, fuse_ino_t ino UNUSED, const char *name UNUSED)
{
	refuse(req);
}
