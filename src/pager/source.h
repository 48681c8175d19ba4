/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * source: the memfile that pages come from: a regular file (a layer's in the
 * mount, or any other) or a block device.  Read with pread only: a mapping
 * would say EFAULT for every error, and zeros past an end inside a page.
 *
 * It is one file for all its life.  Links in its path are followed once, and what
 * is opened again later is taken only if it is the same file (struct source_id).
 *
 * All functions may be called from any thread at once.  Offsets and lengths
 * are bytes.  Errors of reading are bare codes; source_strerror() has words.
 */
#ifndef LAMINA_PAGER_SOURCE_H
#define LAMINA_PAGER_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

struct source;

/*
 * Which file it is, beside its size.  A file is the same one on the same device
 * with the same inode number and birth; or on another device (it was mounted
 * again) with the same inode number, mtime and size.
 */
struct source_id {
	uint64_t dev;
	uint64_t ino;		/* of a block device: its number */
	int64_t mtime_ns;	/* when it was opened first; 0 for a block device */
	int64_t birth_ns;	/* 0 where the file system does not know */
};

/* A sentence for a missing file, a directory, an empty file, ...: -errno. */
int source_open(const char *path, struct source **ret, struct err *err);
/*
 * The same for source_path(), source_size() and source_id() of one that was opened before.
 * It is not opened (that may hang) before source_reopen(): until that succeeds it
 * is absent and every read is -ENOTCONN, or -EMEDIUMTYPE.
 */
int source_open_later(const char *path, uint64_t size, const struct source_id *id,
		      struct source **ret, struct err *err);
bool source_absent(const struct source *source);
void source_close(struct source *source);
uint64_t source_size(const struct source *source);
/* Without links. */
const char *source_path(const struct source *source);
const struct source_id *source_id(const struct source *source);

/*
 * Reads if no disk and no daemon has to be asked (the kernel's page cache has
 * all of it), else -EAGAIN.  Others: as source_read().  On a file system without
 * RWF_NOWAIT (FUSE, tmpfs) Linux tells what is cached only to who owns the file, may
 * write it or has CAP_FOWNER; to others the answer is always -EAGAIN.
 */
int source_try(struct source *source, void *buf, size_t len, uint64_t off);

/*
 * Reads all `len` bytes, however long it takes; what lies behind the end of a
 * file whose size is no multiple of a page, within its last page, reads zero.
 *   -ENODATA	the file has become too short
 *   -EMEDIUMTYPE	it is absent, because another file is there now
 *   -ENOTCONN, -EIO, ...	what the kernel said
 */
int source_read(struct source *source, void *buf, size_t len, uint64_t off);
/* What such a code means, for a sentence. */
const char *source_strerror(int code);

/* Tells the kernel that this will be read soon. */
void source_warm(struct source *source, uint64_t off, uint64_t len);

/*
 * Up to where from `off` the file is a hole, or data, at most `max` bytes on;
 * *ret_hole says which.  In whole pages of 4 KiB, as `off` and `max` are: a page of
 * which any byte is data is data, the last one is whole.  A file system that knows
 * no holes has data only.  May ask the daemon.  -ENODATA behind the end, -errno.
 */
int source_run(struct source *source, uint64_t off, uint64_t max, bool *ret_hole,
	       uint64_t *ret_len);

/*
 * How many bytes from `off` on source_try() would read though they are a hole, so that the page
 * cache fills with its zeros: whole pages, at most `max`.  0: it is data, or may be, or
 * source_try() reads no holes.  Asks no daemon.
 */
uint64_t source_hole_now(struct source *source, uint64_t off, uint64_t max);

/*
 * Opens the path again after an error (a mount that was killed and mounted
 * again).  Reads that are under way end on the old file.  -errno leaves all
 * as it was; -EMEDIUMTYPE when another file is there now, or it has another size.
 */
int source_reopen(struct source *source, struct err *err);

/*
 * Whether source_reopen() has found another file since it last succeeded: true once,
 * with a sentence.  Does not wait for who reopens.
 */
bool source_is_other(struct source *source, struct err *err);

#endif
