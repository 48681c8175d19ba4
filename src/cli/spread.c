/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/spread.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DRAWS 2000
#define SEED 0x9e3779b97f4a7c15u

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

int spread_of(const double *v, size_t n, struct spread *ret)
{
	double *copy = malloc(n * sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	memcpy(copy, v, n * sizeof(*copy));
	ret->median = median(copy, n);
	ret->min = copy[0];
	ret->max = copy[n - 1];
	free(copy);
	return 0;
}

/* xorshift64* */
static uint64_t next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1du;
}

static double drawn_median(struct spread_lot lot, double *scratch, uint64_t *state)
{
	for (size_t i = 0; i < lot.n; i++)
		scratch[i] = lot.v[(next(state) >> 32) % lot.n];
	return median(scratch, lot.n);
}

static void draw(struct spread_lot a, struct spread_lot b, double *scratch,
		 struct spread_difference *ret)
{
	double *differences = scratch + (a.n > b.n ? a.n : b.n);
	uint64_t state = SEED;

	for (size_t i = 0; i < DRAWS; i++) {
		double of_a = drawn_median(a, scratch, &state);

		differences[i] = drawn_median(b, scratch, &state) - of_a;
	}
	qsort(differences, DRAWS, sizeof(*differences), by_value);
	ret->low = differences[DRAWS / 40];
	ret->high = differences[DRAWS - 1 - DRAWS / 40];
}

int spread_compare(struct spread_lot a, struct spread_lot b, struct spread_difference *ret)
{
	size_t longest = a.n > b.n ? a.n : b.n;
	double *scratch = malloc((longest + DRAWS) * sizeof(*scratch));
	struct spread of_a, of_b;
	int rc = scratch ? spread_of(a.v, a.n, &of_a) : -ENOMEM;

	if (rc == 0)
		rc = spread_of(b.v, b.n, &of_b);
	if (rc == 0) {
		*ret = (struct spread_difference){.difference = of_b.median - of_a.median};
		ret->known = a.n >= SPREAD_LEAST && b.n >= SPREAD_LEAST;
	}
	if (rc == 0 && ret->known) {
		draw(a, b, scratch, ret);
		ret->differ = ret->low > 0 || ret->high < 0;
	}
	free(scratch);
	return rc;
}
