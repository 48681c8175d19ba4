/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * commit: images in, one sealed layer out.
 *
 * Takes the writer's lock for its whole duration, unless the caller has it.  Everything is
 * appended to packs and synced first, then published in one transaction; until then nothing is
 * visible and after a failure the packs are cut back.
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
#include "store/index.h"
#include "store/input.h"
#include "store/progress.h"

struct store;

struct commit_image {
	const char *name;
	const char *path;
	enum input_mode mode;
	const struct input_range *ranges;	/* INPUT_DIRTY */
	size_t nranges;
	/* Or NULL; instead of path, mode and ranges: a DIFF, or FULL if the parent lacks it. */
	const struct input_source *source;
};

/* What else is decided with the layer, in the same transaction (or, if it existed, after). */
struct commit_also {
	/* Kind, key and value, which stay until commit_run() returns. */
	int (*decision)(void *ctx, const struct digest *id, struct index_decision *ret,
			struct err *err);
	void *ctx;
};

struct commit_opts {
	const struct commit_image *images;
	size_t nimages;
	const struct digest *parent;	/* or NULL; images not given are inherited */
	const char *tag;		/* or NULL; set in the same publication */
	const struct attrs *attrs;	/* or NULL */
	const struct attrs *first_attrs;	/* or NULL; not added to a layer that was there */
	struct attrs *old_attrs;	/* or NULL; out: what `attrs` were added to, if anything */
	bool dry_run;			/* counts, writes nothing */
	unsigned threads;		/* 0: as many as cores, but `spare`; 1 to 8 */
	unsigned spare;			/* cores that are somebody else's */
	uint64_t lock_wait_ms;
	const struct commit_also *also;	/* or NULL */
	struct progress progress;
};

/*
 * Pages, of one image or of all that were given.  Where nothing was read of a
 * frame (a hole, in a diff or outside the dirty ranges) its pages count as zero
 * if it is a frame of zeros and as the parent's otherwise.
 */
struct commit_counts {
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
	bool existed;		/* the same layer was there already, whole */
	size_t nimages;		/* as given in opts, in that order */
	struct commit_counts image[IMAGES_MAX];
	struct commit_counts total;
	uint64_t stored_bytes;	/* everything appended to packs */
	double seconds;
};

/*
 * The layer's attributes are the caller's (both) and lamina.pages, .zero, .same,
 * .known, .fresh, .frames, .frames_touched, .read_bytes, .stored_bytes (of
 * chunks) and .seconds.  If the layer existed `attrs` are added to those it
 * had, the rest of which stay as they were; -EINVAL if they become too many bytes.
 *
 * Pages count as known only while the pack they lie in is there, this store's
 * and long enough; else they are stored anew, and a layer that was there and
 * had lost them gets its manifest once more.  Of what is inherited, by a diff
 * or because an image is not given, the packs are looked at; where one of them
 * is not so that is -EBADMSG.
 *
 * -EBUSY lock; -EINVAL no images, twice the same, a diff of nothing; -ENOENT
 * parent; -ECANCELED; -ESTALE an input changed; see input.h for others.  After a
 * failure nothing is visible and the packs are as they were.
 */
int commit_run(struct store *store, const struct commit_opts *opts, struct commit_result *ret,
	       struct err *err);

#endif
