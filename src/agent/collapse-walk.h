/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * collapse-walk: the windows of processes, one after the other.
 *
 * This process's own mappings get MADV_HUGEPAGE, too, where there is a window to collapse: what it
 * touches there later may be huge at once.  Others, frozen and stopped ones too, cannot be told
 * that from outside, and need not be.
 */
#ifndef LAMINA_AGENT_COLLAPSE_WALK_H
#define LAMINA_AGENT_COLLAPSE_WALK_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/base/lines.h"
#include "store/base/maps.h"

/* 24 KiB, all that a walk needs.  Zero it, set `cancelled`, and walk. */
struct collapse_walk {
	const atomic_bool *cancelled;	/* or NULL */
	uint64_t regions, collapsed, already_huge, skipped;
	struct maps maps;		/* private, as is the next */
	struct lines list;
};

/*
 * These add to the counts.  0, or -ECANCELED: *cancelled was true; nothing else ends a walk.
 * collapse_walk_cgroup(): the processes of a directory (O_PATH will do; stays the caller's) of
 * cgroup2, and of those below it; collapse_walk_all(): those of /proc.
 */
int collapse_walk_pid(struct collapse_walk *walk, pid_t pid);
int collapse_walk_cgroup(struct collapse_walk *walk, int dirfd);
int collapse_walk_all(struct collapse_walk *walk);

#endif
