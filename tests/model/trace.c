/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random traces of a small memfile, merged, against the sentence that says
 * what a merge is: the pages that at least half of the traces have, in order of
 * the mean of their ranks, ties by page.  SEED repeats a run, STEPS makes it longer.
 */
#include "store/base/trace.h"
#include "tests/tap.h"

#define PAGES 60u
#define TRACES 7u

static uint64_t state;

static uint64_t rnd(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
}

/* rank[p]: when page p was touched, or -1. */
struct model {
	int rank[PAGES];
	unsigned n;
};

/* Some of the pages, sometimes in the order in which they lie, in any order else. */
static void make(struct model *m)
{
	unsigned order[PAGES], percent = (unsigned)rnd(101);
	bool shuffled = rnd(3) > 0;

	m->n = 0;
	for (unsigned p = 0; p < PAGES; p++) {
		m->rank[p] = -1;
		order[p] = p;
	}
	for (unsigned i = PAGES - 1; shuffled && i > 0; i--) {
		unsigned k = (unsigned)rnd(i + 1), swap = order[i];

		order[i] = order[k];
		order[k] = swap;
	}
	for (unsigned i = 0; i < PAGES; i++)
		if (rnd(100) < percent)
			m->rank[order[i]] = (int)m->n++;
}

static void to_trace(const struct model *m, struct trace *t)
{
	trace_init(t, 4096, PAGES * 4096);
	for (unsigned r = 0; r < m->n; r++)
		for (unsigned p = 0; p < PAGES; p++)
			if (m->rank[p] == (int)r && trace_add(t, p, 1) < 0)
				bail("cannot add a page");
}

/* Which page comes next, and is not taken yet: by fractions, without rounding. */
static int next_page(const struct model *m, unsigned n, const bool *taken)
{
	long best_sum = 0, best_n = 0;
	int best = -1;

	for (unsigned p = 0; p < PAGES; p++) {
		long sum = 0, seen = 0;

		for (unsigned i = 0; i < n; i++) {
			sum += m[i].rank[p] >= 0 ? m[i].rank[p] : 0;
			seen += m[i].rank[p] >= 0;
		}
		if (taken[p] || !seen || 2 * seen < (long)n)
			continue;
		if (best < 0 || sum * best_n < best_sum * seen) {
			best = (int)p;
			best_sum = sum;
			best_n = seen;
		}
	}
	return best;
}

/* NULL, or what is wrong. */
static const char *compare(const struct model *m, unsigned n, const struct trace *got)
{
	bool taken[PAGES] = {false};
	uint64_t npages = 0;

	for (size_t i = 0; i < got->n; i++)
		for (uint64_t k = 0; k < got->v[i].count; k++) {
			int want = next_page(m, n, taken);

			if (want < 0)
				return "there is a page too many";
			if ((uint64_t)want != got->v[i].first + k)
				return "another page comes next";
			taken[want] = true;
			npages++;
		}
	if (next_page(m, n, taken) >= 0)
		return "a page is missing";
	return npages == got->npages ? NULL : "pages are counted wrong";
}

static const char *step(void)
{
	struct model m[TRACES];
	struct trace v[TRACES], got = {0};
	unsigned n = 1 + (unsigned)rnd(TRACES);
	const char *wrong;
	struct err err;

	for (unsigned i = 0; i < n; i++) {
		make(&m[i]);
		to_trace(&m[i], &v[i]);
	}
	wrong = trace_merge(v, n, &got, &err) < 0 ? "it fails" : compare(m, n, &got);
	for (unsigned i = 0; i < n; i++)
		trace_fini(&v[i]);
	trace_fini(&got);
	return wrong;
}

int main(void)
{
	const char *steps = getenv("STEPS"), *wrong = NULL;
	unsigned long n = steps ? strtoul(steps, NULL, 0) : 1000, i = 0;

	state = tap_seed((uint64_t)getpid() * 2654435761u + 1) | 1;
	while (i < n && !(wrong = step()))
		i++;
	if (!ok(!wrong, "%lu merges of random traces", n))
		tap_diag("merge %lu: %s", i, wrong);
	return tap_done();
}
