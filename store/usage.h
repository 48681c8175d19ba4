/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * usage: where the bytes are.  All figures are bytes unless said.
 */
#ifndef LAMINA_USAGE_H
#define LAMINA_USAGE_H

#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/digest.h"

struct store;

struct usage {
	uint64_t layers, tags, removed, packs, frames, segs, chunks, hooks;	/* counts */
	uint64_t logical;	/* sum of image sizes of all layers */
	uint64_t data;		/* of these, not zero */
	uint64_t distinct;	/* distinct pages reachable * 4096 */
	uint64_t stored;	/* packs on disk */
	uint64_t chunk_bytes;	/* of these: chunk records, and what no row speaks of */
	uint64_t digest_bytes;	/* digest lists */
	uint64_t map_bytes;	/* about: frame maps, manifests, decisions */
	uint64_t index;		/* index.db and its WAL */
	uint64_t dead;		/* about what gc --repack would free */
	uint64_t live;		/* live images: a count, */
	uint64_t live_bytes;	/* and what was written to them on disk, beside the packs */
};

int usage_store(struct store *store, struct usage *ret, struct err *err);

struct usage_layer {
	struct digest id;
	uint64_t logical, data;
	uint64_t exclusive;	/* data pages that only this layer reaches, * 4096 */
	uint64_t shared;	/* the others: data = exclusive + shared */
	uint64_t exclusive_stored;	/* about: what its removal would free in packs */
};

/* All layers, oldest first; *ret is malloc'd. */
int usage_layers(struct store *store, struct usage_layer **ret, size_t *ret_n, struct err *err);

#endif
