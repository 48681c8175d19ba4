/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * window: how much around a faulting page is worth fetching.
 *
 * A page that was fetched ahead never faults, so whether it was of use cannot
 * be seen.  Therefore one page in each stretch of up to WINDOW_STRETCH bytes is
 * left out, a *canary*: if the guest comes for it, its stretch was of use; if it has
 * not come WINDOW_PATIENCE_MS later, it was not.  A window of which little is
 * used is halved, one of which much is used doubled, between WINDOW_MIN and
 * the configured size; it begins with WINDOW_START.  A fixed window has no canaries.
 *
 * Whoever can watch only so many canaries leaves out no more of them when he
 * watches that many.  Ending the oldest as unused instead would shrink the window of a
 * guest that touches everything in random order.
 *
 * No clock and no memory of its own: the caller tells outcomes and time.
 */
#ifndef LAMINA_PAGER_WINDOW_H
#define LAMINA_PAGER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_MIN (UINT64_C(64) << 10)
#define WINDOW_START (UINT64_C(128) << 10)
#define WINDOW_MAX (UINT64_C(2) << 20)
#define WINDOW_STRETCH (UINT64_C(256) << 10)
#define WINDOW_PATIENCE_MS 500

enum window_mode { WINDOW_OFF, WINDOW_FIXED, WINDOW_ADAPTIVE };

struct window {
	enum window_mode mode;
	uint64_t len;		/* now: a power of two, 0 when off */
	uint64_t max;		/* the configured size */
	uint32_t used;		/* outcomes since the last decision */
	uint32_t unused;
	uint64_t total_used;	/* since the beginning, for reports */
	uint64_t total_unused;
	uint64_t random;
};

/* `len` a power of two from WINDOW_MIN to WINDOW_MAX: the size, or the largest. */
void window_init(struct window *w, enum window_mode mode, uint64_t len, uint64_t seed);

struct window_span {
	uint64_t off;
	uint64_t len;
};

/*
 * What to fetch around the page at `off` of a region of `size` bytes: the
 * aligned block of the window's size, cut to the region.  len 0: nothing.
 */
struct window_span window_around(const struct window *w, uint64_t off, uint64_t size);

/*
 * Which page of the stretch that begins at `off` (of `npages` pages) is to be
 * left out as a canary, or -1: none (fixed window, or a stretch of one page).
 */
int window_canary(struct window *w, uint64_t off, unsigned npages);

/* A canary's end: the guest came for it, or its patience ran out. */
void window_outcome(struct window *w, bool used);

/* Of 1000 pages fetched ahead, how many were probably of use; -1: not known. */
int window_used_permille(const struct window *w);

#endif
