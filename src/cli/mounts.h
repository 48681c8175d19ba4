/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mounts: what is mounted where, as /proc/self/mountinfo has it.
 */
#ifndef LAMINA_CLI_MOUNTS_H
#define LAMINA_CLI_MOUNTS_H

#include <stdbool.h>
#include <sys/types.h>

#define MOUNTS_OURS "fuse.lamina"	/* the type of a mounted store */

struct mounts_entry {
	char type[64];
	char source[4096];
	dev_t dev;
	uid_t user;		/* who mounted it, if it is FUSE's; else 0 */
	bool whole;		/* no bind mount of a file or directory in it */
};

/* Every whole one of type MOUNTS_OURS, in order of mounting, until `fn` returns non-zero: that. */
int mounts_each(int (*fn)(void *ctx, const char *path, const struct mounts_entry *entry),
		void *ctx);
/* What is on top at `path`, an absolute one.  -ENOENT: nothing; -errno of /proc. */
int mounts_find(const char *path, struct mounts_entry *ret);

#endif
