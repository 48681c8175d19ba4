/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spread: how far a few measured numbers lie apart, and whether two lots of them differ by more
 * than that.
 */
#ifndef LAMINA_CLI_SPREAD_H
#define LAMINA_CLI_SPREAD_H

#include <stdbool.h>
#include <stddef.h>

#define SPREAD_LEAST 3		/* of fewer numbers nothing is said */

struct spread {
	double median, min, max;
};

/* `n` > 0.  -ENOMEM. */
int spread_of(const double *v, size_t n, struct spread *ret);

/*
 * The median of b less that of a, and the interval in which 95 % of such differences lie when both
 * are drawn anew from what was measured (a bootstrap, with the same random numbers each time).
 * `known`: there are SPREAD_LEAST of each, so that low and high say something.
 * `differ`: known, and zero is not in between.
 */
struct spread_difference {
	double difference, low, high;
	bool known, differ;
};

struct spread_lot {
	const double *v;
	size_t n;
};

/* Neither is empty.  -ENOMEM. */
int spread_compare(struct spread_lot a, struct spread_lot b, struct spread_difference *ret);

#endif
