/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bucket i begins at 2^(8 + i / 8) ns plus i % 8 eighths of that.  The first
 * takes all that is shorter, too, the last all that is longer.
 *
 * No lock: the fields of one sample are added one after the other, so a reader may
 * see some of them.  A quantile is therefore of the buckets' own sum, not of `count`.
 */
#include "src/pager/hist.h"

#include <stddef.h>

#define FIRST_BIT 8
#define FRACTION_BITS 3

static unsigned bucket_of(uint64_t ns)
{
	unsigned bit, i;

	if (ns >> FIRST_BIT == 0)
		return 0;
	bit = 63 - (unsigned)__builtin_clzll(ns);
	i = ((bit - FIRST_BIT) << FRACTION_BITS) +
	    (unsigned)(ns >> (bit - FRACTION_BITS) & ((1u << FRACTION_BITS) - 1));
	return i < HIST_BUCKETS ? i : HIST_BUCKETS - 1;
}

/* The first value that is behind bucket `i`. */
uint64_t hist_edge(unsigned i)
{
	unsigned bit = FIRST_BIT + ((i + 1) >> FRACTION_BITS);
	uint64_t part = (i + 1) & ((1u << FRACTION_BITS) - 1);

	return (UINT64_C(1) << bit) + (part << (bit - FRACTION_BITS));
}

static uint64_t get(const _Atomic uint64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void add(_Atomic uint64_t *n, uint64_t more)
{
	if (more)
		atomic_fetch_add_explicit(n, more, memory_order_relaxed);
}

void hist_add(struct hist *h, uint64_t ns)
{
	add(&h->bucket[bucket_of(ns)], 1);
	add(&h->count, 1);
	add(&h->sum_ns, ns);
}

/* The rank, from 1, of the quantile `q` of `n` values. */
static uint64_t rank_of(double q, uint64_t n)
{
	double at = q * (double)n;
	uint64_t rank;

	if (!(at > 1))
		return 1;
	if (at >= (double)n)
		return n;
	rank = (uint64_t)at;
	return (double)rank < at ? rank + 1 : rank;
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t n[HIST_BUCKETS], total = 0, seen = 0, rank;
	unsigned i;

	for (i = 0; i < HIST_BUCKETS; i++)
		total += n[i] = get(&h->bucket[i]);
	if (total == 0)
		return 0;
	rank = rank_of(q, total);
	for (i = 0; i < HIST_BUCKETS - 1; i++) {
		seen += n[i];
		if (seen >= rank)
			break;
	}
	return hist_edge(i);
}

void hist_merge(struct hist *to, const struct hist *from, const struct hist *base)
{
	for (size_t i = 0; i < HIST_BUCKETS; i++)
		add(&to->bucket[i], get(&from->bucket[i]) - (base ? get(&base->bucket[i]) : 0));
	add(&to->count, get(&from->count) - (base ? get(&base->count) : 0));
	add(&to->sum_ns, get(&from->sum_ns) - (base ? get(&base->sum_ns) : 0));
}

uint64_t hist_at_most(const struct hist *h, uint64_t ns)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < HIST_BUCKETS && hist_edge(i) <= ns; i++)
		n += get(&h->bucket[i]);
	return n;
}
