/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * signpost: RUNTIME/pager.sock where the API's socket is elsewhere: a symlink
 * to it, so that the pager of every runtime directory is found in one place.
 */
#ifndef LAMINA_PAGER_SIGNPOST_H
#define LAMINA_PAGER_SIGNPOST_H

#include <limits.h>
#include <stdbool.h>

#include "store/base/err.h"

/*
 * Puts it up, in place of one that leads to nobody and of a dead socket; nothing to do where
 * `socket` (absolute) is what is there.  -EBUSY: somebody else answers there; -EEXIST:
 * a file that is neither link nor socket; or -errno.
 */
int signpost_put(const char *runtime_dir, const char *socket, struct err *err);

/* Where it leads; false: there is none. */
bool signpost_read(const char *runtime_dir, char ret[PATH_MAX]);

/* Makes room for `socket` itself, at which nobody answers: a link at that place goes. */
void signpost_clear(const char *runtime_dir, const char *socket);

/* Takes it away if it leads to `socket`. */
void signpost_remove(const char *runtime_dir, const char *socket);

#endif
