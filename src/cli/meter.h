/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * meter: one line on the terminal that says how far work has come: bytes or
 * things, rate, time left.  Where stderr is not a terminal nothing is ever written.
 * One thread at a time.
 */
#ifndef LAMINA_CLI_METER_H
#define LAMINA_CLI_METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/progress.h"

struct meter {
	bool on;		/* stderr is a terminal and somebody looks */
	bool shown;		/* a line stands there now */
	char what[32];		/* the step that is being measured */
	uint64_t first;		/* of it: what was done when it began */
	double began;		/* seconds, monotonic */
	double drawn;
};

/* Turns the meter on if stderr is a terminal. */
void meter_begin(struct meter *m);
/* Redraws the line, a few times a second at most, and when a step begins.  `total` 0: unknown. */
void meter_show(struct meter *m, const char *what, enum progress_unit unit, uint64_t done,
		uint64_t total);
/* Instead of the line a word: "freeze ...". */
void meter_word(struct meter *m, const char *word);
/* Wipes the line; the meter stays on. */
void meter_end(struct meter *m);

/* The line itself: `done` of `total`, `seconds` since `first` were done; 0 of 0: just `what`. */
struct meter_line {
	const char *what;
	enum progress_unit unit;
	uint64_t first;
	uint64_t done;
	uint64_t total;
	double seconds;
};
void meter_format(char *out, size_t size, const struct meter_line *line);

#endif
