/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mark: on a cgroup that the agent holds frozen, until when, and which agent that is; it outlives
 * the agent, and goes with the cgroup.  `dirfd` is cgroup_open()'s.
 */
#ifndef LAMINA_AGENT_MARK_H
#define LAMINA_AGENT_MARK_H

#include <stdint.h>

/* In ms of clock_ms().  -errno: it will not be remembered. */
int mark_set(int dirfd, uint64_t end_ms);

/* -EBUSY: another agent has set it, which lives; -ENODATA: there is none; or another. */
int mark_get(int dirfd, uint64_t *ret_end_ms);

void mark_clear(int dirfd);

#endif
