/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pause-memory: what a pause does about guest-memory.h: before the snapshot it looks whether a
 * diff would be right, and withdraws what was known; afterwards it keeps what is known then.
 */
#ifndef LAMINA_CLI_PAUSE_MEMORY_H
#define LAMINA_CLI_PAUSE_MEMORY_H

#include <jansson.h>
#include <stdbool.h>

#include "src/host/guest-memory.h"
#include "src/host/guest.h"

struct cli;

struct pause_memory {
	struct cli *cli;
	const char *name;	/* the guest's */
	const char *live;
	const char *path;	/* of the memfile in the mount */
	bool kept;		/* there is a record */
	struct guest_held held;	/* the process */
	bool based;		/* `before` was so when it was looked at */
	bool sealed;		/* `now` is what is known */
	struct guest_memory before, now;
};

/*
 * As is_based of struct pause_plan.  -EBUSY: another lamina has the process.  What is not known
 * is no failure.
 */
int pause_memory_look(struct pause_memory *m, pid_t pid, struct err *why);
/* The live image was sealed, after a snapshot that went well. */
void pause_memory_seal(struct pause_memory *m);
/* Keeps that; also with `layer` (or NULL), in which it was committed. */
void pause_memory_keep(struct pause_memory *m, const struct digest *layer);
/* No snapshot was begun: all is as before. */
void pause_memory_restore(struct pause_memory *m);
/* The hypervisor refused a diff: it has noted all that it would have had. */
void pause_memory_refused(struct pause_memory *m);
/* The snapshot is in the memfile, and could not be sealed. */
void pause_memory_unsealed(struct pause_memory *m);
void pause_memory_end(struct pause_memory *m);

#endif
