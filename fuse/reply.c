/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/reply.h"

#include <errno.h>

struct server *reply_server(fuse_req_t req, enum stats_counter counter)
{
	struct server *s = fuse_req_userdata(req);

	stats_add(&s->stats, counter, 1);
	return s;
}

struct file *reply_file(const struct fuse_file_info *fi)
{
	return (struct file *)(uintptr_t)fi->fh;
}

int reply_errno(int rc)
{
	switch (rc) {
	case -EBADMSG:
	case -EPROTONOSUPPORT:
		return EIO;
	default:
		return -rc;
	}
}

void reply_fail(fuse_req_t req, struct server *s, int rc, const struct err *err)
{
	if (rc != -ENOENT && rc != -ENOTDIR && rc != -ESTALE) {
		stats_add(&s->stats, STATS_ERRORS, 1);
		if (*err->text)
			damage_log(&s->damage, err->text);
	}
	fuse_reply_err(req, reply_errno(rc));
}

void reply_fail_read(fuse_req_t req, struct server *s, int rc, const struct err *err)
{
	stats_add(&s->stats, STATS_READ_ERRORS, 1);
	if (rc == -EBADMSG)
		stats_add(&s->stats, STATS_DAMAGED, 1);
	damage_log(&s->damage, err->text);
	fuse_reply_err(req, rc == -ENOMEM ? ENOMEM : EIO);
}
