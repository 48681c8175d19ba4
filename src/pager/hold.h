/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hold: a lock file, as a layer's lease, that is kept share-locked for as long as
 * its descriptor, or a copy of it in another process, is open.
 */
#ifndef LAMINA_PAGER_HOLD_H
#define LAMINA_PAGER_HOLD_H

#include "store/base/err.h"

/*
 * A descriptor, close-on-exec.  Does not wait: -EBUSY when somebody has it
 * exclusively.  What is locked has the name `path` still: a lease is unlinked by who
 * has it exclusively.
 */
int hold_lock(const char *path, struct err *err);

#endif
