/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* measure: what pauses have cost, each of them, and many together. */
#ifndef LAMINA_CLI_MEASURE_H
#define LAMINA_CLI_MEASURE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/cli/spread.h"
#include "src/cli/workload.h"
#include "store/digest.h"
#include "store/format.h"

#define MEASURE_CONFIGURATIONS 2

/* What it cost one image. */
struct measure_image {
	char name[IMAGE_NAME_MAX + 1];
	uint64_t changed;		/* pages that differ from the layer before */
	uint64_t frames;		/* in which there is such a page */
	uint64_t stored;		/* bytes that the store grew by */
};

/* One pause. */
struct measure {
	unsigned configuration;		/* 0 or 1 */
	const struct workload *workload;
	unsigned cycle;			/* from 1 on */
	char layer[DIGEST_HEX_LEN];
	char parent[DIGEST_HEX_LEN];
	double paused;			/* seconds that the guest stood still */
	double seconds;			/* of the whole pause, with what was done before it */
	struct measure_image image[IMAGES_MAX];
	unsigned nimages;
};

struct measure_set {
	struct measure *v;
	size_t n;
	size_t cap;
};

/* Pages that changed, of those of the frames in which they are: 0 to 1. */
double measure_fill(const struct measure_image *image);

/* What can be counted of a measure. */
enum measure_figure {
	MEASURE_CHANGED,
	MEASURE_FRAMES,
	MEASURE_FILL,
	MEASURE_STORED,
	MEASURE_PAUSED,		/* of no image */
	MEASURE_FIGURES
};
extern const char *const measure_names[MEASURE_FIGURES];	/* "changed_pages", ... */

struct measure_key {
	const struct workload *workload;
	const char *image;		/* or NULL */
	enum measure_figure figure;
};

/*
 * What was measured of `key` with one configuration, malloc'd: *ret_n numbers, maybe none.
 * -ENOMEM.
 */
int measure_gather(const struct measure_set *set, const struct measure_key *key,
		   unsigned configuration, double **ret, size_t *ret_n);

/*
 * Calls `fn` for each figure of each image of each workload of which there are measures, in the
 * order in which they were first measured; stops at a result other than 0 and returns it.
 */
typedef int measure_fn(void *ctx, const struct measure_key *key);
int measure_each(const struct measure_set *set, measure_fn *fn, void *ctx);

#endif
