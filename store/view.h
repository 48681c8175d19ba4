/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * view: the one reading interface to an image of a layer.
 * Immutable once open; any thread.
 *
 * A damaged chunk is -EBADMSG for the pages it holds and no others, with a
 * sentence that names layer, image, page, chunk, pack and reason.
 */
#ifndef LAMINA_VIEW_H
#define LAMINA_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "store/base/err.h"
#include "store/layer.h"

struct store;
struct view;

/* Takes its own reference of the layer.  -ENOENT: no such image. */
int view_open(struct store *store, struct layer *layer, const char *image, struct view **ret,
	      struct err *err);
void view_close(struct view *view);		/* NULL is fine */
uint64_t view_size(const struct view *view);	/* bytes */

/* What a read answers: pieces of cached memory, held until view_release(). */
#define VIEW_IOV_MAX 257
struct view_data {
	struct iovec iov[VIEW_IOV_MAX];
	int niov;
	size_t len;			/* sum; short only at the end of the image */
	struct cache_entry *held[VIEW_IOV_MAX];
	int nheld;
};

/*
 * Up to 1 MiB at any offset (off + len past the end is cut; at the end len 0).
 * No copy is made.  The whole read succeeds or fails; after -EBADMSG or
 * -EIO the caller may ask for smaller pieces.
 */
int view_read(struct view *view, uint64_t off, size_t len, struct view_data *ret,
	      struct err *err);
void view_release(struct view *view, struct view_data *data);

/* The same, copied; any length.  Returns bytes read (short at the end) or -errno. */
int64_t view_pread(struct view *view, void *buf, size_t len, uint64_t off, struct err *err);

struct view_run {
	uint64_t off;
	uint64_t len;		/* up to the end of the image */
	bool data;
};
/* The run of zeros or data that begins at `off` (coalesced as far as it goes).
 * -ENXIO at or past the end. */
int view_next_run(struct view *view, uint64_t off, struct view_run *ret, struct err *err);

/* Bytes of data pages (st_blocks * 512).  Reads all maps the first time. */
int view_data_bytes(struct view *view, uint64_t *ret, struct err *err);

/* For error lines: "layer 0123456789ab image 'memfile'". */
const char *view_name(const struct view *view);

#endif
