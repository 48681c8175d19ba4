/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * resume-memory: what a resume knows for guest-memory.h: the live image holds what the guest begins
 * as, and its hypervisor's log of dirty pages begins with the load.
 */
#ifndef LAMINA_CLI_RESUME_MEMORY_H
#define LAMINA_CLI_RESUME_MEMORY_H

#include <jansson.h>
#include <stdbool.h>

#include "src/cli/resume-live.h"
#include "src/host/guest-memory.h"
#include "src/host/guest.h"

struct resume_memory {
	struct cli *cli;
	const char *rundir;
	const char *memfile;		/* the layer's */
	bool mapped;			/* the hypervisor is told nothing of it, but maps it */
	struct guest_held held;		/* the process */
	bool marked;
	struct guest_memory memory;	/* pid 0: which process it is is not known */
};

/* As resume_live_need(); what is written after that is seen by the next pause. */
int resume_memory_need(struct resume_memory *m, const struct resume_live *what, bool *ret_made);
/*
 * As loads of struct resume_plan, with the memory as its context: nobody pauses that process
 * before resume_memory_end().
 */
int resume_memory_load(void *memory, pid_t pid, struct err *err);
/* When a process began, or null; NULL: out of memory. */
json_t *resume_memory_start(pid_t pid);
/* For the record; NULL: out of memory. */
json_t *resume_memory_json(const struct resume_memory *m);
void resume_memory_end(struct resume_memory *m);

#endif
