/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * trivial-fuse: what a FUSE file costs when serving it costs nothing.
 *
 *   trivial-fuse MNT BYTES [FILE]	(stays in the foreground)
 *
 * One file, MNT/file, of BYTES bytes; every read is answered from one buffer.  With FILE,
 * of at least that size, it is that file: read, written and synced.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LONG_TIME 86400.0

static uint64_t file_size;
static char answer[1 << 20];
static int backing = -1;

static void fill(struct stat *st, fuse_ino_t ino)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = ino == 1 ? S_IFDIR | 0755 : S_IFREG | 0644;
	st->st_nlink = 1;
	st->st_size = ino == 1 ? 0 : (off_t)file_size;
}

static void op_init(void *ctx, struct fuse_conn_info *conn)
{
	(void)ctx;
	conn->max_readahead = 2 << 20;
	conn->want |= conn->capable & FUSE_CAP_ASYNC_READ;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .attr_timeout = LONG_TIME, .entry_timeout = LONG_TIME };

	if (parent != 1 || strcmp(name, "file")) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	e.ino = 2;
	fill(&e.attr, 2);
	fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	fill(&st, ino);
	fuse_reply_attr(req, &st, LONG_TIME);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off,
		    struct fuse_file_info *fi)
{
	uint64_t left = (uint64_t)off < file_size ? file_size - (uint64_t)off : 0;

	(void)ino;
	(void)fi;
	if (len > left)
		len = left;
	if (backing >= 0) {
		char *buf = malloc(len ? len : 1);
		ssize_t n = buf ? pread(backing, buf, len, off) : -1;

		if (n < 0)
			fuse_reply_err(req, buf ? errno : ENOMEM);
		else
			fuse_reply_buf(req, buf, (size_t)n);
		free(buf);
		return;
	}
	fuse_reply_buf(req, answer, len > sizeof(answer) ? sizeof(answer) : len);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t len, off_t off,
		     struct fuse_file_info *fi)
{
	ssize_t n = pwrite(backing, buf, len, off);

	(void)ino;
	(void)fi;
	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, fdatasync(backing) < 0 ? errno : 0);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init, .lookup = op_lookup, .getattr = op_getattr,
	.open = op_open, .read = op_read, .write = op_write, .fsync = op_fsync,
};

int main(int argc, char **argv)
{
	char options[] = "-ofsname=trivial,allow_other";
	char *fargv[] = { argv[0], options, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, fargv);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct fuse_session *se;

	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: trivial-fuse MNT BYTES [FILE]\n");
		return 2;
	}
	if (argc == 4)
		backing = open(argv[3], O_RDWR | O_CLOEXEC);
	file_size = strtoull(argv[2], NULL, 10);
	memset(answer, 'x', sizeof(answer));
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!se || fuse_set_signal_handlers(se) || fuse_session_mount(se, argv[1]))
		return 1;
	fuse_session_loop_mt(se, config);
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	return 0;
}
