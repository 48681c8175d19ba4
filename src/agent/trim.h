/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* trim: what fstrim --all does, for a process with neither malloc nor stdio. */
#ifndef LAMINA_AGENT_TRIM_H
#define LAMINA_AGENT_TRIM_H

#include "store/base/err.h"

#define TRIM_MOUNTINFO "/proc/self/mountinfo"

/*
 * FITRIM on each writable file system on a block device that `mountinfo` lists, once for each
 * device; those that cannot trim are passed over.  The first that failed is told in `err`
 * (without the text of its errno) when the others have had their turn.
 */
int trim_all(const char *mountinfo, struct err *err);

#endif
