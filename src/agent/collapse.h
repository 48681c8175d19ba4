/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * collapse: makes huge pages of what processes have written, so that it lies in few 2 MiB frames
 * of the guest's memory: a resume that touches it then fetches few of them.
 *
 *	{"self": true} | {"pids": [1, 2]} | {"cgroup": "web.slice"} | {"all": true} | {} (all)
 *
 *	{"regions": N, "chunks": N, "collapsed": N, "already_huge": N, "skipped": N,
 *	 "elapsed_ms": F}
 *
 * regions: anonymous private mappings, read and written, that have a whole aligned 2 MiB window;
 * chunks: these windows.  Each was collapsed, huge before, or skipped: empty, refused by the
 * kernel (no huge page to be had, pages pinned), or in a mapping that wants no huge pages.  So
 * chunks is the sum of the three.  Processes that are not there, have ended, are the kernel's, or
 * not for us, count for nothing.
 */
#ifndef LAMINA_AGENT_COLLAPSE_H
#define LAMINA_AGENT_COLLAPSE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "store/base/err.h"

#define COLLAPSE_MAX_PIDS 2048

/*
 * Blocks as long as it takes (some ms a window), but for *cancelled (or NULL), which is looked at
 * between two windows: -ECANCELED.  -EINVAL: the body is not one of those above; as
 * cgroup_open(): a cgroup that is not there.  *ret is the caller's.
 */
int collapse_run(const json_t *body, const atomic_bool *cancelled, json_t **ret, struct err *err);

/* Whether this kernel knows how (Linux 6.1 with transparent huge pages). */
bool collapse_possible(void);

#endif
