/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-memory: what is known of a guest's memory: since when its hypervisor notes what is
 * written, and which memory file holds what was there then.  A diff is right over no other one.
 *
 * It is the member "memory" of the guest's record: an object of
 *
 *	pid, pid_start		the hypervisor's process, as SO_PEERCRED of its socket and proc.h
 *				say: its log of dirty pages was begun by a load of lamina resume, or
 *				begun anew by a snapshot of lamina pause
 *	pid_namespace		the one in which it has that number: an inode
 *	store, live, created, inode, born, delta, written	live-mark.h: the memfile that holds
 *				what was there then
 *	layer			which layer has that memfile too; or null
 *
 * A snapshot begins the log anew, whoever takes it and wherever it is written to: so before one,
 * the member is withdrawn from all records that have it of that process; and afterwards it is
 * written into one.  Who does that holds the process (guest_hold_process()).
 */
#ifndef LAMINA_HOST_GUEST_MEMORY_H
#define LAMINA_HOST_GUEST_MEMORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/base/err.h"
#include "store/live-mark.h"

struct guest_memory {
	pid_t pid;
	uint64_t start;
	uint64_t space;		/* of the pid */
	struct live_mark mark;
	bool has_layer;
	struct digest layer;
};

/* Which process `pid` is, for pid, start and space; else -ESRCH or another -errno. */
int guest_memory_process(pid_t pid, struct guest_memory *ret);
bool guest_memory_same_process(const struct guest_memory *a, const struct guest_memory *b);
/* The member's value; NULL: out of memory. */
json_t *guest_memory_json(const struct guest_memory *memory);
/* Of a record; -ENOENT: it has none; -EBADMSG. */
int guest_memory_get(const json_t *record, struct guest_memory *ret);
/* `memory` is borrowed; NULL: null. */
int guest_memory_put(const char *rundir, const char *name, const struct guest_memory *memory,
		     struct err *err);
/*
 * From all records that can be read, where it is of that process, or may be: numbers of other
 * namespaces say nothing; NULL: which process that is is not known.
 */
int guest_memory_withdraw(const char *rundir, const struct guest_memory *of, struct err *err);

#endif
