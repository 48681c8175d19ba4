/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * resume-live: the live image on which a guest is resumed.
 */
#ifndef LAMINA_CLI_RESUME_LIVE_H
#define LAMINA_CLI_RESUME_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/digest.h"

struct cli;

struct resume_live {
	const char *name;
	const struct digest *layer;
	uint64_t wait_ms;	/* for another writer */
};

/*
 * Makes it, if there is none: *ret_made.  -EEXIST: one that is there stands on another layer, or
 * was written to since; the sentence says what can be done.  The store is open.
 */
int resume_live_need(struct cli *cli, const struct resume_live *what, bool *ret_made);

/* Removes one that was made, or tells that it is left. */
void resume_live_drop(struct cli *cli, const struct resume_live *what);

#endif
