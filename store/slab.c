/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory is mapped in regions of 2 MiB at addresses that are multiples of it,
 * so that each can be one huge page, and a piece's region is found by rounding
 * its address down.  A region's first page holds its header: a bit a page, set
 * where it is free.  Pieces do not cross the 64 pages of a word.
 *
 *	full	in no list
 *	room	in slab->room, doubly linked; where something was put last comes
 *		first, so a cache that evicts to make room finds it at once
 *	empty	as room; one is kept as slab->spare, a second is unmapped
 */
#include "store/slab.h"

#include <stdint.h>
#include <sys/mman.h>

#include "store/format.h"

#define REGION_LEN ((size_t)2 << 20)
#define WORD_PAGES 64u
#define WORDS (REGION_LEN / PAGE_SIZE / WORD_PAGES)
#define REGION_PAGES (REGION_LEN / PAGE_SIZE - 1)	/* without the header */

struct slab_region {
	struct slab_region *prev, *next;	/* in slab->room */
	unsigned nfree;
	uint64_t free[WORDS];
};

static struct slab_region *region_of(void *p)
{
	return (struct slab_region *)((uintptr_t)p & ~(REGION_LEN - 1));
}

static void link_first(struct slab *slab, struct slab_region *r)
{
	r->prev = NULL;
	r->next = slab->room;
	if (slab->room)
		slab->room->prev = r;
	slab->room = r;
}

static void take_out(struct slab *slab, struct slab_region *r)
{
	*(r->prev ? &r->prev->next : &slab->room) = r->next;
	if (r->next)
		r->next->prev = r->prev;
}

/* Maps twice as much and gives back what is before and behind the aligned half. */
static void *map_region(void)
{
	uint8_t *p = mmap(NULL, 2 * REGION_LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;

	if (p == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)p & (REGION_LEN - 1);
	if (before)
		(void)munmap(p, before);
	(void)munmap(p + before + REGION_LEN, REGION_LEN - before);
	(void)madvise(p + before, REGION_LEN, MADV_HUGEPAGE);
	return p + before;
}

static struct slab_region *add_region(struct slab *slab)
{
	struct slab_region *r = map_region();

	if (!r)
		return NULL;
	for (size_t i = 0; i < WORDS; i++)
		r->free[i] = UINT64_MAX;
	r->free[0] &= ~UINT64_C(1);
	r->nfree = REGION_PAGES;
	link_first(slab, r);
	slab->nregions++;
	return r;
}

static uint64_t mask(unsigned npages)
{
	return npages == WORD_PAGES ? UINT64_MAX : (UINT64_C(1) << npages) - 1;
}

/* The first of `npages` neighbouring bits that are set, or -1. */
static int find_run(uint64_t bits, unsigned npages)
{
	for (unsigned left = npages; left > 1 && bits;) {
		unsigned half = left / 2;

		bits &= bits >> half;
		left -= half;
	}
	return bits ? __builtin_ctzll(bits) : -1;
}

static void *take_pages(struct slab_region *r, unsigned npages)
{
	if (r->nfree < npages)
		return NULL;
	for (size_t i = 0; i < WORDS; i++) {
		int bit = find_run(r->free[i], npages);

		if (bit < 0)
			continue;
		r->free[i] &= ~(mask(npages) << bit);
		r->nfree -= npages;
		return (uint8_t *)r + (i * WORD_PAGES + (unsigned)bit) * PAGE_SIZE;
	}
	return NULL;
}

static void *get_locked(struct slab *slab, unsigned npages)
{
	struct slab_region *r = slab->room;
	void *p = NULL;

	while (r && !(p = take_pages(r, npages)))
		r = r->next;
	if (!p) {
		r = add_region(slab);
		/* A whole word is free in any new region. */
		p = r ? take_pages(r, npages) : NULL;
	}
	if (p && r == slab->spare)
		slab->spare = NULL;
	if (p && r->nfree == 0)
		take_out(slab, r);
	return p;
}

void *slab_get(struct slab *slab, unsigned npages)
{
	void *p;

	pthread_mutex_lock(&slab->lock);
	p = get_locked(slab, npages);
	pthread_mutex_unlock(&slab->lock);
	return p;
}

static void put_locked(struct slab *slab, void *p, unsigned npages)
{
	struct slab_region *r = region_of(p);
	size_t page = (size_t)((uint8_t *)p - (uint8_t *)r) / PAGE_SIZE;

	if (r->nfree)
		take_out(slab, r);
	r->free[page / WORD_PAGES] |= mask(npages) << page % WORD_PAGES;
	r->nfree += npages;
	if (r->nfree == REGION_PAGES && slab->spare) {
		(void)munmap(r, REGION_LEN);
		slab->nregions--;
		return;
	}
	if (r->nfree == REGION_PAGES)
		slab->spare = r;
	link_first(slab, r);
}

void slab_put(struct slab *slab, void *p, unsigned npages)
{
	if (!p)
		return;
	pthread_mutex_lock(&slab->lock);
	put_locked(slab, p, npages);
	pthread_mutex_unlock(&slab->lock);
}

size_t slab_bytes(struct slab *slab)
{
	size_t n;

	pthread_mutex_lock(&slab->lock);
	n = slab->nregions;
	pthread_mutex_unlock(&slab->lock);
	return n * REGION_LEN;
}
