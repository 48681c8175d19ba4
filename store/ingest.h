/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ingest: the images of a commit become frames.
 *
 * Every frame that has something to read goes through a pipeline: read and
 * hash it, look its new pages up and give them addresses, compress these,
 * append them.  The other frames are the parent's, or zeros.  The same images
 * and the same store give the same packs, whatever the number of threads.
 */
#ifndef LAMINA_INGEST_H
#define LAMINA_INGEST_H

#include "store/base/err.h"
#include "store/commit.h"
#include "store/emit.h"
#include "store/layer.h"

struct append;
struct dedup;
struct input;
struct store;

struct ingest_image {
	const char *name;
	enum input_mode mode;
	struct input *in;		/* borrowed */
	const struct image *parent;	/* or NULL; borrowed */
	struct runs frames;		/* out: its frame ids */
	struct commit_counts counts;	/* out */
};

struct ingest {
	struct store *store;
	struct append *append;		/* NULL: a dry run */
	struct dedup *dedup;
	struct layer *parent;		/* or NULL */
	struct ingest_image *images;	/* taken in this order */
	size_t nimages;
	unsigned threads;
	const struct progress *progress;
	struct emit emit;		/* out: what is to be published */
};

/* ingest_fini() in any case. */
int ingest_run(struct ingest *in, struct err *err);
void ingest_fini(struct ingest *in);

#endif
