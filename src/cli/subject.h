/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * subject: a guest that is paused to be measured, by `lamina pause` and `lamina diff`, which are
 * run as anybody would run them: what is measured is what is used.
 */
#ifndef LAMINA_CLI_SUBJECT_H
#define LAMINA_CLI_SUBJECT_H

#include "src/cli/measure.h"
#include "src/cli/words.h"

struct cli;

struct subject {
	const char *guest;
	const struct words *options;	/* of pause */
};

/*
 * Pauses it; the guest goes on.  *ret has the layer, its parent, times and the bytes stored of each
 * image; `warnings`, an array, gets the sentences that it had not.  -EREMOTEIO: it could not be
 * paused; -ECANCELED; -EINVAL: its options have a value that is none.
 */
int subject_pause(struct cli *cli, const struct subject *subject, struct measure *ret,
		  json_t *warnings);

/* Adds what changed of each image between the layer and its parent. */
int subject_compare(struct cli *cli, struct measure *m);

/* Reads what these two print; for tests. */
int subject_read_pause(const json_t *printed, struct measure *ret, struct err *err);
int subject_read_diff(const json_t *printed, struct measure *ret, struct err *err);

#endif
