/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two decisions here protect readers from each other and from damage.
 *
 * A read is answered whole or with an error, never short: a short answer to a
 * page-cache read means end of file to the kernel, which would fill the rest
 * with zeros and cut the file's size.  When read-ahead fails because one chunk
 * of many is damaged, the kernel comes again page by page for what is really
 * wanted, and then only the pages of that chunk are errors.
 *
 * An image opened for writing gets FOPEN_DIRECT_IO.  QEMU opens a guest's
 * memory file read-write even for a private mapping, so it is granted; but a
 * shared writable mapping of a cached file would write into the page cache
 * that every other reader sees, and the kernel refuses shared mappings of a
 * direct one.  write(2) is refused in refuse.c.  A direct open keeps what is
 * cached; a private mapping of it is filled through the page cache like any
 * other.  Live images are there to be written, and cached (live-ops.c).
 *
 * And one rule: once a request has been answered, the next one may already be
 * served by another thread, even the release of the same file.  What is used
 * after a reply is held by a reference of one's own.
 */
#include "config.h"

#include "fuse/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fuse/attr.h"
#include "fuse/listing.h"
#include "fuse/live-ops.h"
#include "fuse/refuse.h"
#include "fuse/reply.h"
#include "store/base/fmt.h"
#include "store/decide.h"
#include "store/live.h"
#include "store/view.h"

#define BACKGROUND_MAX 64	/* read-ahead requests under way */

static struct listing *listing_of(const struct fuse_file_info *fi)
{
	return (struct listing *)(uintptr_t)fi->fh;
}

static void op_init(void *ctx, struct fuse_conn_info *conn)
{
	struct server *s = ctx;
	uint64_t readahead = (uint64_t)s->options->readahead_kb << 10;
	unsigned off = FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
		       FUSE_CAP_SPLICE_MOVE;
	unsigned on = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
		      FUSE_CAP_EXPLICIT_INVAL_DATA;

#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
	off |= FUSE_CAP_DIRECT_IO_ALLOW_MMAP;	/* shared maps: see above */
#endif
	if (readahead < conn->max_readahead)
		conn->max_readahead = (unsigned)readahead;
	if (conn->max_write > OPS_READ_MAX)
		conn->max_write = OPS_READ_MAX;	/* libfuse derives the size of reads from it */
	conn->max_read = OPS_READ_MAX;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
	conn->want &= ~off;
	conn->want |= conn->capable & on;
}

/* --- names and attributes --- */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct server *s = reply_server(req, STATS_LOOKUP);
	struct fuse_entry_param e = {0};
	struct err err = {""};
	struct node *node;
	int rc;

	rc = tree_lookup(s->tree, tree_node(s->tree, parent), name, &node, &err);
	if (rc < 0) {
		reply_fail(req, s, rc, &err);
		return;
	}
	e.ino = tree_nodeid(s->tree, node);
	e.attr_timeout = attr_fill(s, node, &e.attr);
	e.entry_timeout = attr_name_timeout(node);
	if (fuse_reply_entry(req, &e) < 0)
		tree_forget(s->tree, node, 1);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	struct server *s = reply_server(req, STATS_FORGET);

	tree_forget(s->tree, tree_node(s->tree, ino), nlookup);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct server *s = reply_server(req, STATS_FORGET);

	for (size_t i = 0; i < count; i++)
		tree_forget(s->tree, tree_node(s->tree, forgets[i].ino), forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct server *s = reply_server(req, STATS_GETATTR);
	struct stat st;
	double timeout;

	(void)fi;
	timeout = attr_fill(s, tree_node(s->tree, ino), &st);
	fuse_reply_attr(req, &st, timeout);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct server *s = reply_server(req, STATS_READLINK);
	struct node *node = tree_node(s->tree, ino);
	char target[TREE_TARGET_LEN] = "../" TREE_LAYERS_NAME "/";
	struct err err = {""};
	struct digest id;
	int rc = -EINVAL;

	if (node->kind == NODE_TAG)
		rc = decide_tag_find(s->store, tree_tag(node)->name, &id, &err);
	if (rc < 0) {
		reply_fail(req, s, rc, &err);
		return;
	}
	fmt_hex(target + strlen(target), id.b, DIGEST_LEN);
	fuse_reply_readlink(req, target);
}

/* Nothing has any.  The kernel, which else would ask before each write, does not ask again. */
static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	(void)ino;
	(void)name;
	(void)size;
	fuse_reply_err(req, ENOSYS);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct server *s = reply_server(req, STATS_STATFS);
	struct statvfs st;

	(void)ino;
	if (fstatvfs(s->store->dirfd, &st) < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	st.f_namemax = TAG_NAME_MAX;
	fuse_reply_statfs(req, &st);
}

/* --- directories --- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct server *s = reply_server(req, STATS_OPENDIR);
	struct listing *listing;
	struct err err = {""};
	int rc;

	rc = listing_open(s, tree_node(s->tree, ino), &listing, &err);
	if (rc < 0) {
		reply_fail(req, s, rc, &err);
		return;
	}
	fi->fh = (uintptr_t)listing;
	if (fuse_reply_open(req, fi) < 0)
		listing_close(listing);
}

struct dirbuf {
	fuse_req_t req;
	char *data;
	size_t len;
	size_t size;
};

static int add_entry(void *ctx, const struct listing_entry *e, size_t next)
{
	struct dirbuf *b = ctx;
	struct stat st = {.st_ino = e->ino, .st_mode = e->type};
	size_t len;

	len = fuse_add_direntry(b->req, b->data + b->len, b->size - b->len, e->name, &st,
				(off_t)next);
	if (len > b->size - b->len)
		return 1;
	b->len += len;
	return 0;
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct server *s = reply_server(req, STATS_READDIR);
	struct dirbuf b = {req, malloc(size), 0, size};
	struct err err = {""};
	int rc = -ENOMEM;

	(void)ino;
	if (b.data)
		rc = listing_each(listing_of(fi), (size_t)off, add_entry, &b, &err);
	if (rc < 0)
		reply_fail(req, s, rc, &err);
	else
		fuse_reply_buf(req, b.data, b.len);
	free(b.data);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	listing_close(listing_of(fi));
	fuse_reply_err(req, 0);
}

/* --- files --- */

/* Of a layer nothing can be changed; but an image may be opened as if. */
static bool may_open(const struct node *node, int flags)
{
	if (node->kind == NODE_LIVE_IMAGE)
		return true;
	if (flags & O_TRUNC)
		return false;
	return (flags & O_ACCMODE) == O_RDONLY || node->kind == NODE_IMAGE;
}

static void set_caching(struct fuse_file_info *fi, const struct file *file)
{
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;

	fi->fh = (uintptr_t)file;
	fi->direct_io = !file->live && (!file->view || writes);
	fi->keep_cache = file->keep_cache;
	fi->noflush = 1;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct server *s = reply_server(req, STATS_OPEN);
	struct node *node = tree_node(s->tree, ino);
	struct err err = {""};
	struct file *file;
	int rc;

	if (!may_open(node, fi->flags)) {
		stats_add(&s->stats, STATS_REFUSED, 1);
		fuse_reply_err(req, EROFS);
		return;
	}
	rc = file_open(s, node, fuse_req_ctx(req)->pid, &file, &err);
	if (rc == 0 && file->live && (fi->flags & O_TRUNC)) {
		rc = live_truncate(file->live, 0, &err);
		if (rc < 0)
			file_unref(s, file);
	}
	if (rc < 0) {
		reply_fail(req, s, rc, &err);
		return;
	}
	set_caching(fi, file);
	if (fuse_reply_open(req, fi) < 0)
		file_unref(s, file);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct server *s = reply_server(req, STATS_RELEASE);

	(void)ino;
	file_unref(s, reply_file(fi));
	fuse_reply_err(req, 0);
}

static void read_text(fuse_req_t req, const struct file *file, size_t size, off_t off)
{
	size_t left = (size_t)off < file->len ? file->len - (size_t)off : 0;

	fuse_reply_buf(req, left ? file->text + off : NULL, size < left ? size : left);
}

/* No copy is made: the kernel takes the bytes from the chunks that `data` holds. */
static void read_image(fuse_req_t req, struct view *view, size_t size, uint64_t off)
{
	struct server *s = fuse_req_userdata(req);
	struct view_data data;
	struct err err = {""};
	int rc;

	if (size > OPS_READ_MAX)
		rc = err_set(&err, -EIO, "the kernel asks for %zu bytes at once", size);
	else
		rc = view_read(view, off, size, &data, &err);
	if (rc < 0) {
		reply_fail_read(req, s, rc, &err);
		return;
	}
	stats_add(&s->stats, STATS_BYTES_READ, (int64_t)data.len);
	fuse_reply_iov(req, data.iov, data.niov);
	view_release(view, &data);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct server *s = reply_server(req, STATS_READ);
	struct file *file = file_ref(reply_file(fi));

	(void)ino;
	if (file->live)
		live_ops_read(req, file, size, (uint64_t)off);
	else if (file->view)
		read_image(req, file->view, size, (uint64_t)off);
	else
		read_text(req, file, size, off);
	file_unref(s, file);
}

static uint64_t size_of(const struct file *file)
{
	if (file->live)
		return live_size(file->live);
	return file->view ? view_size(file->view) : file->len;
}

static int next_run(const struct file *file, uint64_t off, struct view_run *ret, struct err *err)
{
	if (file->live)
		return live_next_run(file->live, off, ret, err);
	if (file->view)
		return view_next_run(file->view, off, ret, err);
	if (off >= file->len)
		return -ENXIO;
	*ret = (struct view_run){off, file->len - off, true};
	return 0;
}

/* The next offset >= off where there is data (or not); the end is a hole. */
static int64_t seek(const struct file *file, uint64_t off, bool data, struct err *err)
{
	struct view_run run;
	int rc;

	while ((rc = next_run(file, off, &run, err)) == 0 && run.data != data)
		off = run.off + run.len;
	if (rc == 0)
		return (int64_t)off;
	return rc == -ENXIO && !data ? (int64_t)off : rc;
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	struct server *s = reply_server(req, STATS_LSEEK);
	const struct file *file = reply_file(fi);
	struct err err = {""};
	int64_t to;

	(void)ino;
	if (off < 0 || (uint64_t)off >= size_of(file))
		to = -ENXIO;
	else if (whence != SEEK_DATA && whence != SEEK_HOLE)
		to = -EINVAL;
	else
		to = seek(file, (uint64_t)off, whence == SEEK_DATA, &err);
	if (to >= 0)
		fuse_reply_lseek(req, to);
	else if (to == -ENXIO || to == -EINVAL)
		fuse_reply_err(req, (int)-to);
	else
		reply_fail_read(req, s, (int)to, &err);
}

const struct fuse_lowlevel_ops ops_table = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.getxattr = op_getxattr,
	.statfs = op_statfs,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.lseek = op_lseek,
	.setattr = live_ops_setattr,
	.write = live_ops_write,
	.fallocate = live_ops_fallocate,
	.fsync = live_ops_fsync,
	.fsyncdir = live_ops_fsyncdir,
	.ioctl = live_ops_ioctl,
	.mknod = refuse_mknod,
	.mkdir = refuse_mkdir,
	.unlink = refuse_unlink,
	.rmdir = refuse_unlink,
	.symlink = refuse_symlink,
	.rename = refuse_rename,
	.link = refuse_link,
	.create = refuse_create,
	.setxattr = refuse_setxattr,
	.removexattr = refuse_removexattr,
};
