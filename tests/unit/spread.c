/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/spread.h"

#include "tests/fault.h"
#include "tests/tap.h"

static void is_spread(const double *v, size_t n, struct spread want, const char *name)
{
	struct spread got;

	is_int(spread_of(v, n, &got), 0, "%s", name);
	ok(got.median == want.median, "its median is %g", want.median);
	ok(got.min == want.min && got.max == want.max, "it is from %g to %g", want.min, want.max);
}

static void test_spread(void)
{
	double odd[] = {7, 1, 3}, even[] = {4, 1, 3, 2}, one[] = {5};
	double copy[] = {7, 1, 3};

	is_spread(odd, 3, (struct spread){3, 1, 7}, "three numbers");
	is_mem(odd, copy, sizeof(odd), "are left as they are");
	is_spread(even, 4, (struct spread){2.5, 1, 4}, "four");
	is_spread(one, 1, (struct spread){5, 5, 5}, "one");
}

static struct spread_difference compare(const double *a, size_t na, const double *b, size_t nb)
{
	struct spread_difference d = {0};

	is_int(spread_compare((struct spread_lot){a, na}, (struct spread_lot){b, nb}, &d), 0,
	       "%zu and %zu numbers are compared", na, nb);
	return d;
}

static void test_compare(void)
{
	static const double low[] = {10, 11, 12, 10, 11}, high[] = {20, 21, 22, 20, 21};
	static const double wide[] = {1, 30, 11, 9, 14};
	struct spread_difference d = compare(low, 5, high, 5), back, same;

	ok(d.difference == 10, "the medians are 10 apart");
	ok(d.known && d.differ, "that is a difference");
	ok(d.low >= 8 && d.low <= 10 && d.high >= 10 && d.high <= 12, "of about 10: %g to %g",
	   d.low, d.high);
	back = compare(high, 5, low, 5);
	ok(back.difference == -10 && back.differ && back.high < 0,
	   "the other way round it is less");
	same = compare(low, 5, low, 5);
	ok(same.difference == 0 && same.known && !same.differ, "of the same there is none");
	d = compare(low, 5, wide, 5);
	ok(d.known && !d.differ && d.low < 0 && d.high > 0, "numbers far apart tell nothing");
	d = compare(low, 2, high, 5);
	ok(!d.known && !d.differ && d.difference > 0, "nor do two");
	back = compare(low, 5, wide, 5);
	d = compare(low, 5, wide, 5);
	ok(d.low == back.low && d.high == back.high, "the same numbers have the same interval");
	d = compare(low, 3, high, 5);
	ok(d.known && d.differ, "lots may have different lengths");
	d = compare(high, 5, low, 3);
	ok(d.known && d.differ, "both ways");
}

static void test_memory(void)
{
	static const double v[] = {1, 2, 3};
	struct spread_difference d;
	int rc = -ENOMEM;

	for (unsigned long i = 1; rc == -ENOMEM && i < 10; i++) {
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		rc = spread_compare((struct spread_lot){v, 3}, (struct spread_lot){v, 3}, &d);
		fault_disarm();
	}
	is_int(rc, 0, "without memory there is no answer, with it there is");
}

int main(void)
{
	test_spread();
	test_compare();
	test_memory();
	return tap_done();
}
