/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A decision is made on every WINDOW_SAMPLE outcomes: below a quarter used, half
 * the window; above a half, twice.  Between them it stays, so that it does not
 * swing.  The break-even is near a tenth of the pages as far as time goes (a
 * fault costs about as much as ten copies); memory wants more.
 *
 * Outcomes of a window's time are told after it has changed, too: what is
 * unused is known only after WINDOW_PATIENCE_MS.  That makes a shrink steep and
 * costs a few faults, no more: what is used is told at once, and grows it again.
 */
#include "src/pager/window.h"

#define WINDOW_SAMPLE 16

static uint64_t start(enum window_mode mode, uint64_t len)
{
	if (mode == WINDOW_OFF)
		return 0;
	return mode == WINDOW_ADAPTIVE && len > WINDOW_START ? WINDOW_START : len;
}

void window_init(struct window *w, enum window_mode mode, uint64_t len, uint64_t seed)
{
	*w = (struct window){
		.mode = mode,
		.len = start(mode, len),
		.max = mode == WINDOW_OFF ? 0 : len,
		.random = seed,
	};
}

struct window_span window_around(const struct window *w, uint64_t off, uint64_t size)
{
	struct window_span span = {.off = off};

	if (w->len == 0 || off >= size)
		return span;
	span.off = off & ~(w->len - 1);
	span.len = size - span.off < w->len ? size - span.off : w->len;
	return span;
}

/* splitmix64, stirred with where the stretch is. */
static uint64_t next_random(struct window *w, uint64_t off)
{
	uint64_t z;

	w->random += UINT64_C(0x9e3779b97f4a7c15);
	z = w->random ^ off;
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

int window_canary(struct window *w, uint64_t off, unsigned npages)
{
	if (w->mode != WINDOW_ADAPTIVE || npages < 2)
		return -1;
	return (int)(next_random(w, off) % npages);
}

static void decide(struct window *w)
{
	if (w->used * 4 < WINDOW_SAMPLE && w->len > WINDOW_MIN)
		w->len /= 2;
	else if (w->used * 2 > WINDOW_SAMPLE && w->len < w->max)
		w->len *= 2;
	w->used = 0;
	w->unused = 0;
}

void window_outcome(struct window *w, bool used)
{
	if (used) {
		w->used++;
		w->total_used++;
	} else {
		w->unused++;
		w->total_unused++;
	}
	if (w->mode == WINDOW_ADAPTIVE && w->used + w->unused >= WINDOW_SAMPLE)
		decide(w);
}

int window_used_permille(const struct window *w)
{
	uint64_t total = w->total_used + w->total_unused;

	return total == 0 ? -1 : (int)((double)w->total_used * 1000 / (double)total);
}
