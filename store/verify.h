/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verify: is everything that was committed still there, unchanged?
 *
 * Quick: the index's own integrity and checksums, every record up to each
 * pack's published end, every segment, frame, layer, tag resolves, and so do live
 * images: their layer is there and their deltas can be opened.  Deep:
 * chunks are decompressed, page digests, frame digests and Merkle roots
 * recomputed.  Damage in bytes that nothing refers to is no fault.
 * Takes no lock; beside a commit or gc it looks again before it
 * believes that something is missing.
 */
#ifndef LAMINA_VERIFY_H
#define LAMINA_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/digest.h"
#include "store/progress.h"

struct store;

struct verify_fault {
	const char *what;	/* "chunk", "digests", "maps", "layer", "pack", "index", "tag",
				   "live" */
	uint64_t id;		/* chunk id, fid, ... or 0 */
	uint32_t pack;		/* or 0 */
	uint64_t off;
	const char *reason;
	const struct digest *layers;	/* that it hurts */
	size_t nlayers;
};

struct verify_opts {
	bool deep;
	/* For each fault, once all are known; pointers are valid during the call. */
	void (*fault)(void *ctx, const struct verify_fault *fault);
	void *ctx;
	struct progress progress;
};

struct verify_result {
	uint64_t packs, records, chunks, frames, layers, pages;
	uint64_t bytes;
	uint64_t faults;
	uint64_t bad_chunks;	/* that the faults are in */
	uint64_t hurt_layers;	/* each counted once */
	double seconds;
};

/* 0 even when faults were found (ret->faults); -errno when it could not look. */
int verify_run(struct store *store, const struct verify_opts *opts, struct verify_result *ret,
	       struct err *err);

#endif
