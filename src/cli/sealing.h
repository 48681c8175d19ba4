/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sealing: a live image is sealed by who has it open, the daemon that serves it; it is reached
 * through the mount.
 */
#ifndef LAMINA_CLI_SEALING_H
#define LAMINA_CLI_SEALING_H

#include <stdint.h>

struct cli;

struct sealing {
	int fd;			/* MNT/live/NAME; -1: no mount of this store */
	uint64_t upto;		/* what is below is sealed */
};

/*
 * Asks each mount of the store that is seen here, until one has the live image or can open it;
 * without any mount opens it ourselves for the moment.  -EBUSY: somebody has it open whose mount is
 * not seen here; others as live_open() and live_seal().
 */
int sealing_begin(struct cli *cli, const char *name, struct sealing *ret);
/* The daemon stands on what was committed from now on. */
void sealing_end(struct cli *cli, const char *name, struct sealing *sealing);

#endif
