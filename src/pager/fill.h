/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fill: what follows a fault: the rest of the window around its page, piece by
 * piece, below every demand.  All functions are the owner's.
 */
#ifndef LAMINA_PAGER_FILL_H
#define LAMINA_PAGER_FILL_H

#include <stdbool.h>
#include <stdint.h>

#define FILL_SPANS 32		/* windows that wait; the oldest goes when one more comes */
#define FILL_CANARIES 128	/* that are watched; no more are left out meanwhile */

struct hand;
struct session;

/* Pages [begin, end) of the session; `at` is next, goes round once, `left` are to go. */
struct fill_span {
	uint64_t begin;
	uint64_t end;
	uint64_t at;
	uint64_t left;
	uint64_t chosen_end;	/* up to where canaries have been chosen */
	uint64_t looked_end;	/* up to where it has been asked for holes */
};

struct fill_canary {
	uint64_t page;
	uint64_t since_ns;
};

struct fill {
	struct fill_span span[FILL_SPANS];
	unsigned first, n;
	struct fill_canary canary[FILL_CANARIES];
	unsigned canary_first, canary_n;
};

enum fill_step {
	FILL_DONE,	/* nothing is wanted any more */
	FILL_MORE,
	FILL_BLOCKS,	/* the next piece is not in the page cache */
};

/* Whether no fault has come for a while: pieces may be larger. */
bool fill_is_quiet(const struct session *s);

/* A fault at `page`: its window is wanted. */
void fill_around(struct session *s, uint64_t page);
/* The guest came for a canary. */
void fill_canary_hit(struct session *s, uint64_t page);
/* Canaries for which nobody came in time; returns ms until the next, 0: there is none. */
unsigned fill_age(struct session *s, uint64_t now_ns);
/*
 * One piece.  With `may_block` it leaves the session (armed) to read the
 * memfile and enters it again, unarmed or not.
 */
enum fill_step fill_piece(struct session *s, struct hand *hand, bool may_block);

#endif
