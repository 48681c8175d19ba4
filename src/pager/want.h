/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * want: the pages of a session that guests wait for, in the order in which they
 * asked.  A page stands in the list once, however many threads wait for it: what
 * installs it wakes them all.
 */
#ifndef LAMINA_PAGER_WANT_H
#define LAMINA_PAGER_WANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than vCPUs and a kernel on their behalf can wait for at once. */
#define WANTS_MAX 32768

enum want_step {
	WANT_READY,	/* for any thread to take */
	WANT_READING,	/* a thread is at it */
	WANT_PARKED,	/* not before due_ns */
};

struct want {
	uint64_t page;
	uint64_t asked_ns;
	uint64_t due_ns;
	uint32_t tries;		/* reads that failed */
	enum want_step step;
};

struct wants {
	struct want *v;
	size_t n;
	size_t cap;
};

void wants_fini(struct wants *w);
/* By page, or NULL.  Pointers hold until the next add or drop. */
struct want *wants_find(struct wants *w, uint64_t page);
/* -ENOMEM, also when there are WANTS_MAX. */
int wants_add(struct wants *w, uint64_t page, uint64_t asked_ns);
void wants_drop(struct wants *w, uint64_t page);
/* Whether any is not parked. */
bool wants_pressing(const struct wants *w);
/* The oldest that is ready, or NULL. */
struct want *wants_ready(struct wants *w);
/* Parked ones whose time has come become ready; returns when the next is due, 0: none. */
uint64_t wants_unpark(struct wants *w, uint64_t now_ns);

#endif
