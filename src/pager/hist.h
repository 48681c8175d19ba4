/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hist: how long things took, in nanoseconds, within 12.5 % (eight buckets a
 * power of two, from 256 ns to over an hour).  Adding and reading may happen
 * at once on any threads; a hist lives in shared memory and outlives a worker.
 * All zeros is an empty one.
 */
#ifndef LAMINA_PAGER_HIST_H
#define LAMINA_PAGER_HIST_H

#include <stdatomic.h>
#include <stdint.h>

#define HIST_BUCKETS 280

struct hist {
	_Atomic uint64_t sum_ns;
	_Atomic uint64_t count;
	_Atomic uint64_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t ns);
/* The upper edge of the bucket that holds the quantile `q` (0 to 1); 0 when empty. */
uint64_t hist_quantile(const struct hist *h, double q);
/* The upper edge of a bucket: its values are below it. */
uint64_t hist_edge(unsigned bucket);
/* Adds what `from` counted since `base` was a copy of it (base may be NULL: all). */
void hist_merge(struct hist *to, const struct hist *from, const struct hist *base);
/*
 * How many were at most `ns` (for Prometheus' cumulative buckets): those in
 * buckets that end there or before.  Above 256 a power of two is such an end.
 */
uint64_t hist_at_most(const struct hist *h, uint64_t ns);

#endif
