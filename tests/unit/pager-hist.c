/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>

#include "src/pager/hist.h"
#include "tests/tap.h"

static void test_empty(void)
{
	static struct hist h;

	is_int(hist_quantile(&h, 0.5), 0, "the median of nothing");
	is_int(hist_at_most(&h, UINT64_MAX), 0, "and how many there are");
}

/* The quantile of one value is its bucket's end: above it, by an eighth at most. */
static void test_edges(void)
{
	bool above = true, close_by = true;
	uint64_t last = 0;

	for (uint64_t ns = 256; ns < UINT64_C(1) << 43; ns += ns / 37 + 1) {
		struct hist h = {0};
		uint64_t end;

		hist_add(&h, ns);
		end = hist_quantile(&h, 0.5);
		above = above && end > ns && end >= last;
		close_by = close_by && end - ns <= ns / 8;
		last = end;
	}
	ok(above, "a quantile is never below the value");
	ok(close_by, "nor above it by more than 12.5 %%");
	ok(last > UINT64_C(3600) * 1000000000, "an hour is within");
}

static void test_ends(void)
{
	struct hist h = {0};

	hist_add(&h, 0);
	hist_add(&h, 255);
	is_int(hist_quantile(&h, 1), 288, "what is very short counts as the shortest");
	is_int(hist_edge(0), 288, "whose edge that is");
	hist_add(&h, UINT64_MAX);
	is_int(hist_quantile(&h, 1), INT64_C(1) << 43, "what is very long as the longest");
	is_int(hist_edge(HIST_BUCKETS - 1), INT64_C(1) << 43, "whose edge that is");
	is_int(hist_at_most(&h, UINT64_MAX), 3, "all are there");
	is_int(h.count, 3, "and counted");
}

static void test_quantiles(void)
{
	struct hist h = {0};

	for (unsigned i = 0; i < 98; i++)
		hist_add(&h, 1000);
	hist_add(&h, 100000);
	hist_add(&h, 10000000);
	is_int(hist_quantile(&h, 0), 1024, "the shortest");
	is_int(hist_quantile(&h, 0.5), 1024, "the median");
	is_int(hist_quantile(&h, 0.98), 1024, "98 of 100");
	is_int(hist_quantile(&h, 0.981), 106496, "the 99th of 100");
	is_int(hist_quantile(&h, 0.99), 106496, "p99");
	is_int(hist_quantile(&h, 1), 10485760, "the longest");
	is_int(hist_quantile(&h, 7), 10485760, "more than all is all");
	is_int(hist_quantile(&h, -1), 1024, "less than none is the first");
	is_int(h.sum_ns, 98 * 1000 + 100000 + 10000000, "the sum is exact");
	is_int(hist_at_most(&h, 512), 0, "none within 512 ns");
	is_int(hist_at_most(&h, 1023), 0, "a bucket that is cut does not count");
	is_int(hist_at_most(&h, 1024), 98, "98 within 1024 ns");
	is_int(hist_at_most(&h, 131072), 99, "99 within 131 us");
	is_int(hist_at_most(&h, hist_quantile(&h, 1)), 100, "all within the longest");
}

static void test_merge(void)
{
	static struct hist sum, a, base;

	hist_add(&a, 1000);
	hist_merge(&sum, &a, NULL);
	hist_merge(&base, &a, NULL);
	hist_add(&a, 1000);
	hist_add(&a, 5000);
	hist_merge(&sum, &a, &base);
	is_int(sum.count, 3, "what came since is added once");
	is_int(sum.sum_ns, 7000, "with its sum");
	is_int(hist_at_most(&sum, 1024), 2, "in its buckets");
	is_int(hist_at_most(&sum, 8192), 3, "all of it");
	hist_merge(&sum, &a, &a);
	is_int(sum.count, 3, "nothing came: nothing is added");
}

static void *add_many(void *arg)
{
	for (unsigned i = 0; i < 10000; i++)
		hist_add(arg, i);
	return NULL;
}

static void test_threads(void)
{
	static struct hist h;
	pthread_t t[4];

	for (unsigned i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, add_many, &h) != 0)
			bail("no thread");
	(void)hist_quantile(&h, 0.99);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	is_int(h.count, 40000, "no sample of four threads is lost");
	is_int(hist_at_most(&h, UINT64_MAX), 40000, "nor in its bucket");
	is_int(h.sum_ns, 4 * (INT64_C(9999) * 10000 / 2), "nor in the sum");
}

int main(void)
{
	test_empty();
	test_edges();
	test_ends();
	test_quantiles();
	test_merge();
	test_threads();
	return tap_done();
}
