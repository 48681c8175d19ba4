/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * show: what was found and decided, for people and for programs.
 */
#ifndef LAMINA_GRADUATE_SHOW_H
#define LAMINA_GRADUATE_SHOW_H

#include <jansson.h>
#include <stdio.h>

#include "src/graduate/rules.h"
#include "src/graduate/scan.h"

struct show {
	bool enabled;
	double scanned;			/* when, in seconds since 1970; 0: not at all */
	const struct scan *scan;	/* NULL: nothing */
	const struct rules_decision *decisions;	/* one for each session of the scan */
};

/* NULL: out of memory. */
json_t *show_json(const struct show *show);

/* A line for each decision under a line of heads; nothing if there is none. */
void show_table(const struct show *show, FILE *out);

#endif
