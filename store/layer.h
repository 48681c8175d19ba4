/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * layer: a sealed set of images and its parent's name.
 *
 * Manifest (RECORD_LAYER payload and the index row): u8 digest algorithm, 32
 * bytes id, u8 has_parent, 32 bytes parent, u64 created (unix seconds, not
 * identity), u8 number of images, then for each, sorted by name: u8 name
 * length, name, u64 size in bytes, varint length, runs of frame ids.
 *
 * layer_open() recomputes the Merkle root from the frames' digests, so a
 * damaged row never opens.
 */
#ifndef LAMINA_LAYER_H
#define LAMINA_LAYER_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/rd.h"
#include "store/digest.h"
#include "store/format.h"
#include "store/runs.h"

struct store;

struct image {
	char name[IMAGE_NAME_MAX + 1];
	uint64_t size;		/* bytes */
	uint64_t nframes;	/* size / 2 MiB, rounded up */
	struct runs frames;	/* nframes positions: frame ids */
};

/* Immutable; reference-counted. */
struct layer {
	int refs;		/* atomic */
	int algo;		/* enum digest_id */
	struct digest id;
	struct digest parent;	/* zero if has_parent is false */
	bool has_parent;
	int64_t created;
	uint64_t seq;
	unsigned nimages;
	struct image image[IMAGES_MAX];
};

/* Decodes a manifest without looking at frames or the root.  -EBADMSG. */
int layer_decode(struct rd *rd, uint64_t seq, struct layer **ret);
void layer_encode(const struct layer *layer, struct buf *out);
struct layer *layer_ref(struct layer *layer);
void layer_unref(struct layer *layer);		/* NULL is fine */

/* The manifest of `id`, unverified (for lists).  -ENOENT if absent or removed. */
int layer_peek(struct store *store, const struct digest *id, struct layer **ret, struct err *err);
/* The same, its Merkle root recomputed: -EBADMSG if it differs. */
int layer_open(struct store *store, const struct digest *id, struct layer **ret, struct err *err);

/*
 * For who serves readers.  A removed layer is there for them, too, while
 * somebody (this process too) holds its lease: a reader whose daemon died comes
 * back through the next one.
 */
int layer_peek_held(struct store *store, const struct digest *id, struct layer **ret,
		    struct err *err);
/* Takes a lease of our own (see lease_take()) and opens what is there then. */
int layer_hold(struct store *store, const struct digest *id, int *ret_lease,
	       struct layer **ret, struct err *err);

/*
 * The Merkle root; `find` gives the digest of a frame that is not zero, or
 * -errno, which is passed on.
 */
int layer_merkle(const struct layer *layer,
		 int (*find)(void *ctx, uint64_t fid, struct digest *ret), void *ctx,
		 struct digest *ret);
/* The same from the frames' digests in the index. */
int layer_root(struct store *store, const struct layer *layer, struct digest *ret,
	       struct err *err);

const struct image *layer_image(const struct layer *layer, const char *name); /* or NULL */
enum image_kind layer_image_kind(const char *name);
/* See IMAGE_NAME_MAX; not "info.json" or "traces", which the mount shows beside images. */
bool layer_image_name_ok(const char *name);

#endif
