/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recover: index.db again, from the packs.
 *
 * Builds index.db.new beside the old one, which is kept as index.db.broken
 * (with a number if there is one) and replaced at the end.  Damaged records
 * are skipped by searching for the next header; a segment whose digest list
 * is damaged is rebuilt from its chunks.  A layer whose frames or chunks are
 * incomplete is left out and named.  Live images come back; one whose layer or
 * deltas are lost is named and kept, and so are deltas of which nothing in the
 * packs speaks.
 *
 * An old index that can be read says which store this is and which layers
 * there were; one of a newer lamina is refused with -EPROTONOSUPPORT and left
 * as it is.  Otherwise identity and parameters (digest, codec, level, chunk
 * sizes) come from the pack headers and manifests, else the defaults, and a
 * layer whose manifest is lost is missed only if a tag or attributes name it.
 */
#ifndef LAMINA_RECOVER_H
#define LAMINA_RECOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/progress.h"

struct recover_result {
	uint64_t packs, records, damaged;	/* damaged: places skipped */
	uint64_t layers, lost, removed, tags;
	uint64_t live, live_lost;	/* those that cannot be opened, or have no row any more */
	bool compared;		/* with an old index: no other layer is lost */
	double seconds;
};

struct recover_opts {
	void (*note)(void *ctx, const char *line);	/* what was skipped or lost */
	void *ctx;
	struct progress progress;
};

int recover_run(const char *path, const struct recover_opts *opts, struct recover_result *ret,
		struct err *err);

#endif
