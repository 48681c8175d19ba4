/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sealing: a live image is sealed by who has it open: by us, if nobody has, else by the daemon
 * that serves it, which is asked through the mount.
 */
#ifndef LAMINA_CLI_SEALING_H
#define LAMINA_CLI_SEALING_H

#include <stdbool.h>
#include <stdint.h>

#include "src/cli/live-ask.h"

struct cli;

struct sealing {
	struct aside ask;	/* who has it open; none: we did it */
	uint64_t upto;		/* what is below is sealed */
};

/*
 * A daemon has `wait_ms` to answer, and at least a second.  -EBUSY: it does not, or somebody has it
 * open whose mount is not seen here; -EROFS: its mount is read-only; others as live_open() and
 * live_seal().
 */
int sealing_begin(struct cli *cli, const char *name, uint64_t wait_ms, struct sealing *ret);
/* If a layer was made of it, the daemon stands on that from now on. */
void sealing_end(struct cli *cli, const char *name, uint64_t wait_ms, bool made,
		 struct sealing *sealing);

#endif
