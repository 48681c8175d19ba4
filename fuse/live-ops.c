/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes come through: the kernel's cache of a file is there for those who read it, and what was
 * written is with the store before write(2) returns.  Stores through a shared mapping are, once
 * they were msynced or the mapping has gone; the kernel brings them as writes of any file that is
 * open for writing.  A kernel that gathered writes itself (its writeback cache) would wait for
 * this process when memory is short, and this process for memory; the little that mappings leave
 * to be written is why main.c says that we are one who writes back for others.
 *
 * The kernel lets nobody change the size of a file while somebody else does, or writes behind its
 * end, so what is decided here from a size is still so when it is acted upon.
 *
 * No operation is left to libfuse's ENOSYS where it would count for layers and live images alike:
 * after one ENOSYS the kernel calls fsync(2) a success ever after, and asks nobody.
 */
#include "config.h"

#include "fuse/live-ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "fuse/attr.h"
#include "fuse/live-hold.h"
#include "fuse/ops.h"
#include "fuse/refuse.h"
#include "fuse/reply.h"
#include "store/live-commit.h"

#define TIMES (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME | \
	       FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)
#define OWNERS (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)

/* What the kernel asked for cannot be, which is nobody's trouble but the asker's. */
static bool is_answer(int rc)
{
	return rc == -EFBIG || rc == -EINVAL || rc == -EOPNOTSUPP || rc == -EROFS ||
	       rc == -ENOENT;
}

static void fail_write(fuse_req_t req, struct server *s, int rc, const struct err *err)
{
	if (!is_answer(rc)) {
		stats_add(&s->stats, STATS_WRITE_ERRORS, 1);
		damage_log(&s->damage, err->text);
	}
	fuse_reply_err(req, reply_errno(rc));
}

static void end_write(fuse_req_t req, struct server *s, int rc, const struct err *err)
{
	if (rc < 0)
		fail_write(req, s, rc, err);
	else
		fuse_reply_err(req, 0);
}

void live_ops_read(fuse_req_t req, struct file *file, size_t size, uint64_t off)
{
	struct server *s = fuse_req_userdata(req);
	struct live_data data;
	struct err err = {""};
	int rc;

	live_hold_settle(lives_image(file->node));
	if (size > OPS_READ_MAX)
		rc = err_set(&err, -EIO, "the kernel asks for %zu bytes at once", size);
	else
		rc = live_read(file->live, off, size, &data, &err);
	if (rc < 0) {
		reply_fail_read(req, s, rc, &err);
		return;
	}
	stats_add(&s->stats, STATS_BYTES_READ, (int64_t)data.view.len);
	fuse_reply_iov(req, data.view.iov, data.view.niov);
	live_release(file->live, &data);
}

void live_ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct file *file = file_ref(reply_file(fi));
	struct server *s = fuse_req_userdata(req);
	struct err err = {""};
	int rc;

	if (!file->live) {
		refuse_write(req, ino, buf, size, off, fi);
		goto out;
	}
	stats_add(&s->stats, STATS_WRITE, 1);
	live_hold_settle(lives_image(file->node));
	rc = live_write(file->live, buf, size, (uint64_t)off, &err);
	if (rc < 0) {
		fail_write(req, s, rc, &err);
		goto out;
	}
	stats_add(&s->stats, STATS_BYTES_WRITTEN, (int64_t)size);
	fuse_reply_write(req, size);
out:
	file_unref(s, file);
}

/* --- fallocate(2) --- */

/* What of [off, off + len) is within the image reads zeros. */
static int zero(struct live_image *image, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t size = live_size(image);

	if (off >= size)
		return 0;
	return live_zero(image, off, len < size - off ? len : size - off, err);
}

static int grow(struct live_image *image, uint64_t end, struct err *err)
{
	return end > live_size(image) ? live_truncate(image, end, err) : 0;
}

/* A range of zeros gets no room set aside: it is given when it is written. */
static int fallocate_image(struct live_image *image, int mode, const uint64_t range[2],
			   struct err *err)
{
	uint64_t off = range[0], len = range[1];
	int rc;

	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case 0:
		rc = live_allocate(image, off, len, err);
		break;
	case FALLOC_FL_PUNCH_HOLE:
	case FALLOC_FL_ZERO_RANGE:
		rc = zero(image, off, len, err);
		break;
	default:
		return err_set(err, -EOPNOTSUPP, "fallocate mode %#x is not known", (unsigned)mode);
	}
	if (rc < 0 || (mode & FALLOC_FL_KEEP_SIZE))
		return rc;
	return grow(image, off + len, err);
}

void live_ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			struct fuse_file_info *fi)
{
	struct file *file = file_ref(reply_file(fi));
	struct server *s = fuse_req_userdata(req);
	const uint64_t range[2] = {(uint64_t)off, (uint64_t)len};
	struct err err = {""};

	if (file->live) {
		stats_add(&s->stats, STATS_FALLOCATE, 1);
		live_hold_settle(lives_image(file->node));
		end_write(req, s, fallocate_image(file->live, mode, range, &err), &err);
	} else {
		refuse_fallocate(req, ino, mode, off, len, fi);
	}
	file_unref(s, file);
}

/* --- attributes --- */

static int truncate_by_name(struct server *s, struct lives_image *image, uint64_t size,
			    struct err *err)
{
	struct live_image *live;
	bool keep;
	int rc = live_hold_get(s, image, &live, &keep, err);

	if (rc < 0)
		return rc;
	rc = live_truncate(live, size, err);
	live_hold_put(s, image->of);
	return rc;
}

static int set_size(struct server *s, struct node *node, uint64_t size, struct file *file,
		    struct err *err)
{
	if (file && file->live)
		return live_truncate(file->live, size, err);
	return truncate_by_name(s, lives_image(node), size, err);
}

/* Owner and mode are the mount's; times are those of what was written, whatever is asked for. */
void live_ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		      struct fuse_file_info *fi)
{
	struct server *s = fuse_req_userdata(req);
	struct node *node = tree_node(s->tree, ino);
	struct err err = {""};
	struct stat st;
	double timeout;
	int rc = 0;

	if (node->kind != NODE_LIVE_IMAGE) {
		refuse_setattr(req, ino, attr, to_set, fi);
		return;
	}
	stats_add(&s->stats, STATS_SETATTR, 1);
	if (to_set & OWNERS) {
		fuse_reply_err(req, EPERM);
		return;
	}
	if (to_set & FUSE_SET_ATTR_SIZE)
		rc = set_size(s, node, (uint64_t)attr->st_size, fi ? reply_file(fi) : NULL, &err);
	if (rc < 0) {
		fail_write(req, s, rc, &err);
		return;
	}
	timeout = attr_fill(s, node, &st);
	fuse_reply_attr(req, &st, timeout);
}

/* --- sync --- */

void live_ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct server *s = reply_server(req, STATS_FSYNC);
	struct file *file = file_ref(reply_file(fi));
	struct err err = {""};

	(void)ino;
	(void)datasync;
	end_write(req, s, file->live ? live_sync(file->live, &err) : 0, &err);
	file_unref(s, file);
}

/* Names are the store's, and it made them last. */
void live_ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, 0);
}

/* --- for who commits --- */

static int run_ioctl(struct server *s, struct lives_item *item, unsigned cmd, uint64_t *ret,
		     struct err *err)
{
	struct live *live;
	int rc = live_hold_get_item(s, item, &live, err);

	if (rc < 0)
		return rc;
	rc = cmd == LIVE_IOC_SEAL ? live_seal(live, ret, err) : live_hold_fold(item, err);
	live_hold_put(s, item);
	return rc;
}

static int check_ioctl(fuse_req_t req, const struct node *node, unsigned cmd, size_t out_size)
{
	const struct server *s = fuse_req_userdata(req);
	const struct fuse_ctx *who = fuse_req_ctx(req);

	if (node->kind != NODE_LIVE || (cmd != LIVE_IOC_SEAL && cmd != LIVE_IOC_FOLD))
		return -ENOTTY;
	if (who->uid != 0 && who->uid != geteuid())
		return -EPERM;
	if (s->options->read_only)
		return -EROFS;
	return cmd == LIVE_IOC_SEAL && out_size < sizeof(uint64_t) ? -EINVAL : 0;
}

void live_ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
		    struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		    size_t out_size)
{
	struct server *s = reply_server(req, STATS_IOCTL);
	struct node *node = tree_node(s->tree, ino);
	struct err err = {""};
	uint64_t seq = 0;
	int rc = check_ioctl(req, node, cmd, out_size);

	(void)arg;
	(void)fi;
	(void)flags;
	(void)in;
	(void)in_size;
	if (rc < 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	rc = run_ioctl(s, lives_item(node), cmd, &seq, &err);
	if (rc < 0)
		reply_fail(req, s, rc, &err);
	else
		fuse_reply_ioctl(req, 0, &seq, cmd == LIVE_IOC_SEAL ? sizeof(seq) : 0);
}
