/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const measure_names[MEASURE_FIGURES] = {
	[MEASURE_CHANGED] = "changed_pages", [MEASURE_FRAMES] = "frames_touched",
	[MEASURE_FILL] = "fill", [MEASURE_STORED] = "stored_bytes",
	[MEASURE_PAUSED] = "paused_seconds",
};

double measure_fill(const struct measure_image *image)
{
	return image->frames ? (double)image->changed / (double)(image->frames * FRAME_PAGES) : 0;
}

static const struct measure_image *find_image(const struct measure *m, const char *name)
{
	for (unsigned i = 0; i < m->nimages; i++)
		if (!strcmp(m->image[i].name, name))
			return &m->image[i];
	return NULL;
}

static double value_of(const struct measure_image *image, enum measure_figure figure)
{
	switch (figure) {
	case MEASURE_CHANGED:
		return (double)image->changed;
	case MEASURE_FRAMES:
		return (double)image->frames;
	case MEASURE_FILL:
		return measure_fill(image);
	default:
		return (double)image->stored;
	}
}

/* Whether it has one. */
static bool get(const struct measure *m, const struct measure_key *key, double *ret)
{
	const struct measure_image *image;

	if (m->workload != key->workload)
		return false;
	if (!key->image) {
		*ret = m->paused;
		return true;
	}
	image = find_image(m, key->image);
	if (image)
		*ret = value_of(image, key->figure);
	return image != NULL;
}

int measure_gather(const struct measure_set *set, const struct measure_key *key,
		   unsigned configuration, double **ret, size_t *ret_n)
{
	double *v = malloc((set->n + 1) * sizeof(*v));
	size_t n = 0;

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < set->n; i++)
		if (set->v[i].configuration == configuration && get(&set->v[i], key, &v[n]))
			n++;
	*ret = v;
	*ret_n = n;
	return 0;
}

/* ---- keys ---- */

static bool seen_workload(const struct measure_set *set, size_t before)
{
	for (size_t i = 0; i < before; i++)
		if (set->v[i].workload == set->v[before].workload)
			return true;
	return false;
}

/* An image of set->v[at] that an earlier measure of its workload had, too. */
static bool seen_image(const struct measure_set *set, size_t at, const char *name)
{
	for (size_t i = 0; i < at; i++)
		if (set->v[i].workload == set->v[at].workload && find_image(&set->v[i], name))
			return true;
	return false;
}

static int each_figure(const struct workload *workload, const char *image, measure_fn *fn,
		       void *ctx)
{
	struct measure_key key = {workload, image, MEASURE_CHANGED};
	int rc = 0;

	for (int i = 0; rc == 0 && i < MEASURE_PAUSED; i++) {
		key.figure = (enum measure_figure)i;
		rc = fn(ctx, &key);
	}
	return rc;
}

static int each_image(const struct measure_set *set, const struct workload *workload,
		      measure_fn *fn, void *ctx)
{
	int rc = 0;

	for (size_t i = 0; i < set->n; i++) {
		const struct measure *m = &set->v[i];

		if (m->workload != workload)
			continue;
		for (unsigned k = 0; rc == 0 && k < m->nimages; k++)
			if (!seen_image(set, i, m->image[k].name))
				rc = each_figure(workload, m->image[k].name, fn, ctx);
	}
	return rc;
}

int measure_each(const struct measure_set *set, measure_fn *fn, void *ctx)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < set->n; i++) {
		struct measure_key key = {set->v[i].workload, NULL, MEASURE_PAUSED};

		if (seen_workload(set, i))
			continue;
		rc = each_image(set, key.workload, fn, ctx);
		if (rc == 0)
			rc = fn(ctx, &key);
	}
	return rc;
}
