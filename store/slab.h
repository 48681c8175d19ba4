/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slab: memory for many small arrays of pages, in huge pages where the kernel
 * has them.  Decompressing into memory that was just mapped 4 KiB at a time
 * takes half as long again.  Safe from any thread.
 */
#ifndef LAMINA_SLAB_H
#define LAMINA_SLAB_H

#include <pthread.h>
#include <stddef.h>

#define SLAB_PAGES_MAX 64u

struct slab_region;

struct slab {
	pthread_mutex_t lock;
	/* under lock from here on */
	struct slab_region *room;	/* those with a free page; the likeliest first */
	struct slab_region *spare;	/* one that is empty; also in room */
	size_t nregions;
};

#define SLAB_INIT {.lock = PTHREAD_MUTEX_INITIALIZER}

/* 1 to SLAB_PAGES_MAX pages of 4096 bytes, aligned to that; NULL without memory. */
void *slab_get(struct slab *slab, unsigned npages);
/* The same number of pages as were asked for.  NULL is fine. */
void slab_put(struct slab *slab, void *p, unsigned npages);
/* What is mapped: what is in use, the gaps between, and up to 2 MiB to spare. */
size_t slab_bytes(struct slab *slab);

#endif
