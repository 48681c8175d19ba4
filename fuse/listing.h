/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * listing: an open directory.  It shows what was there when its reading began,
 * each entry once, whatever comes and goes meanwhile; reading from the start
 * again (rewinddir(3)) looks again.  Any thread.
 */
#ifndef LAMINA_FUSE_LISTING_H
#define LAMINA_FUSE_LISTING_H

#include "fuse/server.h"

struct listing;

struct listing_entry {
	const char *name;
	uint64_t ino;
	mode_t type;		/* S_IFDIR, S_IFREG, S_IFLNK */
};

/* -ENOTDIR, -ENOMEM, what the store says. */
int listing_open(struct server *server, struct node *dir, struct listing **ret, struct err *err);
void listing_close(struct listing *listing);	/* NULL is fine */

/*
 * Calls `fn` for each entry from number `from` on (the first is 0) until it
 * returns non-zero.  The entry is valid during the call; `next` is the number
 * to go on from after it.
 */
int listing_each(struct listing *listing, size_t from,
		 int (*fn)(void *ctx, const struct listing_entry *e, size_t next), void *ctx,
		 struct err *err);

#endif
