/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stats: what the guest's memory is like now: what a diff will cost.
 *
 *	{"memory": {"total": N, "free": N, "available": N, "cached": N, "buffers": N, "dirty": N,
 *		    "writeback": N, "anon": N, "shmem": N, "slab_reclaimable": N,
 *		    "slab_unreclaimable": N, "swap_total": N, "swap_free": N},
 *	 "thp": {"enabled": "madvise", "defrag": "madvise", "anon": N},
 *	 "fragmentation": {"free_by_order": [N, ...], "unusable_index": 0.25},
 *	 "compaction_proactiveness": 20, "init_on_free": null}
 *
 * Bytes.  `free_by_order` counts the free bytes in blocks of 4 KiB, 8 KiB, ...; `unusable_index`
 * is the part of free memory that no huge page can be made of without compacting (0 to 1).  What
 * this kernel does not tell is null; so is init_on_free where its command line does not say.
 */
#ifndef LAMINA_AGENT_STATS_H
#define LAMINA_AGENT_STATS_H

#include <jansson.h>

#include "store/base/err.h"

/* *ret is the caller's.  Reads a few small files of /proc and /sys.  -errno: no /proc/meminfo. */
int stats_read(json_t **ret, struct err *err);

/* The same with `root` before each path. */
int stats_read_root(const char *root, json_t **ret, struct err *err);

#endif
