/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cgroup: control groups (version 2) by the names that callers use: "web.slice" is
 * /sys/fs/cgroup/web.slice.
 */
#ifndef LAMINA_AGENT_CGROUP_H
#define LAMINA_AGENT_CGROUP_H

#include <stdbool.h>

#include "store/base/err.h"

#define CGROUP_NAME_SIZE 256

/*
 * Where the tree is, borrowed; before the first of the others.  NULL: /sys/fs/cgroup, or what is
 * mounted at "unified" in it where version 1 is there, too.
 */
void cgroup_set_root(const char *dir);

/*
 * A directory's descriptor, to be read, the caller's to close.  -EINVAL: `name` is empty,
 * absolute, too long, or has a component "." or ".."; -ENOENT: there is no such cgroup.
 */
int cgroup_open(const char *name, struct err *err);

/* `name` as cgroup_open() would have it, without superfluous slashes.  -EINVAL. */
int cgroup_name(const char *name, char ret[CGROUP_NAME_SIZE], struct err *err);

/* fn() for each cgroup that cgroup_open() has, with its name and a descriptor, both borrowed. */
void cgroup_each(void (*fn)(const char *name, int dirfd, void *arg), void *arg);

/* Whether the process itself is in it, or in one below. */
bool cgroup_has_self(const char *name);

/*
 * The same by what /proc/PID/cgroup says.  Where that tells nothing of version 2 the answer is
 * yes: one who does not know must not freeze.
 */
bool cgroup_lists(const char *proc_cgroup, const char *name);

#endif
