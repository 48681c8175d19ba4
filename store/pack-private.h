/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pack-private: what pack.c and pack-writer.c share.
 */
#ifndef LAMINA_PACK_PRIVATE_H
#define LAMINA_PACK_PRIVATE_H

#include <pthread.h>
#include <stdint.h>

#include "store/base/cache.h"
#include "store/base/vec.h"
#include "store/pack-header.h"
#include "store/pack.h"

struct packs {
	int dirfd;
	uint8_t uuid[16];
	uint32_t seed;			/* of that uuid */
	struct store_params params;
	struct cache *files;		/* by number: struct pack_file */
	pthread_mutex_t lock;
	VEC(uint32_t) open;		/* under lock: numbers of the files in the cache */
};

/* A descriptor of the pack, its header unread. */
int pack_open(const struct packs *packs, uint32_t pack, int flags, struct err *err);
/* That it is a pack, ours, and the one it is named for. */
int pack_check(const struct packs *packs, int fd, uint32_t pack, struct pack_header *ret,
	       struct err *err);

#endif
