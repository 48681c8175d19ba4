/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * picture: measures as an SVG: of each image and workload a dot for each pause, where their median
 * is, and a scale.
 */
#ifndef LAMINA_CLI_PICTURE_H
#define LAMINA_CLI_PICTURE_H

#include <stdio.h>

#include "src/cli/measure.h"

struct picture {
	const struct measure_set *set;
	unsigned configurations;
	const char *title;
	const char *label[MEASURE_CONFIGURATIONS];	/* what each is */
};

/* -ENOMEM; what `out` has not taken is its owner's to find. */
int picture_svg(FILE *out, const struct picture *picture);

#endif
