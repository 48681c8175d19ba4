/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* measure-show: measures for people, and as JSON. */
#ifndef LAMINA_CLI_MEASURE_SHOW_H
#define LAMINA_CLI_MEASURE_SHOW_H

#include "src/cli/measure.h"

struct cli;

struct measure_show {
	struct cli *cli;
	const struct measure_set *set;
	unsigned configurations;
	const char *guest[MEASURE_CONFIGURATIONS];
	const char *options[MEASURE_CONFIGURATIONS];	/* of pause, as they were given */
	json_t *skipped;	/* array of {workload, why} */
	json_t *warnings;	/* array of sentences */
	const char *error;	/* why it did not go on, or NULL */
};

int measure_show_json(const struct measure_show *show);
int measure_show_text(const struct measure_show *show);

#endif
