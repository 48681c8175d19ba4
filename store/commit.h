/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * commit: images in, one sealed layer out.
 *
 * Takes the writer's lock for its whole duration.  Everything is appended to
 * packs and synced first, then published in one transaction; until then
 * nothing is visible and after a failure the packs are cut back.
 */
#ifndef LAMINA_COMMIT_H
#define LAMINA_COMMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/attrs.h"
#include "store/base/err.h"
#include "store/digest.h"
#include "store/format.h"
#include "store/input.h"
#include "store/progress.h"

struct store;

struct commit_image {
	const char *name;
	const char *path;
	enum input_mode mode;
	const struct input_range *ranges;	/* INPUT_DIRTY */
	size_t nranges;
};

struct commit_opts {
	const struct commit_image *images;
	size_t nimages;
	const struct digest *parent;	/* or NULL; images not given are inherited */
	const char *tag;		/* or NULL; set in the same publication */
	const struct attrs *attrs;	/* or NULL */
	bool dry_run;			/* counts, writes nothing */
	unsigned threads;		/* 0: as many as cores, at most 8 */
	uint64_t lock_wait_ms;
	struct progress progress;
};

struct commit_counts {		/* pages, of one image or of all */
	uint64_t pages;		/* in the image */
	uint64_t zero;
	uint64_t same;		/* as in the parent at the same place */
	uint64_t known;		/* found elsewhere in the store */
	uint64_t fresh;		/* new */
	uint64_t read_bytes;
	uint64_t frames;	/* in the image */
	uint64_t frames_touched;	/* that differ from the parent's */
	uint64_t stored_bytes;	/* chunk records written */
};

struct commit_result {
	struct digest id;
	bool existed;		/* the same layer was there already */
	size_t nimages;		/* as given in opts, in that order */
	struct commit_counts image[IMAGES_MAX];
	struct commit_counts total;
	uint64_t stored_bytes;	/* everything appended to packs */
	double seconds;
};

/* -EBUSY lock; -EINVAL no images, twice the same; -ENOENT parent; see input.h. */
int commit_run(struct store *store, const struct commit_opts *opts, struct commit_result *ret,
	       struct err *err);

#endif
