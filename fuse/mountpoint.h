/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mountpoint: the directory and what the kernel has mounted there.
 */
#ifndef LAMINA_FUSE_MOUNTPOINT_H
#define LAMINA_FUSE_MOUNTPOINT_H

#include <stdbool.h>

#include "store/base/err.h"

#define MOUNTPOINT_TYPE "fuse.lamina"

struct mountpoint {
	char *path;		/* absolute, no symbolic links */
	unsigned major, minor;	/* of our file system; after mountpoint_mounted() */
};

/*
 * Makes the path absolute.  What a killed daemon has left there (a mount of
 * ours that answers ENOTCONN) is detached.  -EBUSY: a live one of ours is
 * mounted there; -ENOTDIR, -ENOENT, ...
 */
int mountpoint_prepare(const char *path, struct mountpoint *ret, struct err *err);
void mountpoint_fini(struct mountpoint *m);

/* After mounting: learns which device it is. */
int mountpoint_mounted(struct mountpoint *m, struct err *err);

/* Sets the read-ahead of the mount.  Needs root. */
int mountpoint_set_readahead(const struct mountpoint *m, unsigned kb, struct err *err);

/*
 * Unmounts our file system, if it is what is mounted there (else -EINVAL).
 * -EBUSY when somebody uses it; `lazily` takes it out of sight all the same.
 */
int mountpoint_unmount(const struct mountpoint *m, bool lazily, struct err *err);

#endif
