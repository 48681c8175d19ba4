/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * source: the memfile that pages come from: a regular file (a layer's in the
 * mount, or any other) or a block device.  Read with pread only: a mapping
 * would say EFAULT for every error, and zeros past an end inside a page.
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

/* A sentence for a missing file, a directory, an empty file, ...: -errno. */
int source_open(const char *path, struct source **ret, struct err *err);
/*
 * The same for a memfile of `size` bytes, which is not opened (that may hang) before
 * source_reopen(): until that succeeds it is absent and every read is -ENOTCONN.
 */
int source_open_later(const char *path, uint64_t size, struct source **ret, struct err *err);
bool source_absent(const struct source *source);
void source_close(struct source *source);
uint64_t source_size(const struct source *source);
const char *source_path(const struct source *source);

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
 * Opens the path again after an error (a mount that was killed and mounted
 * again).  Reads that are under way end on the old file.  -errno leaves all
 * as it was; -EMEDIUMTYPE when what is there now has another size.
 */
int source_reopen(struct source *source, struct err *err);

#endif
