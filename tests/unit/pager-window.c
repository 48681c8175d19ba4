/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The window against simulated guests: a touch costs time, a fault fetches the
 * window around it at once and leaves out canaries, at most WATCHED of them.
 */
#include "src/pager/window.h"
#include "tests/tap.h"

#define PAGE 4096u
#define NPAGES (512u * 128)	/* 256 MiB */
#define STRETCH_PAGES (WINDOW_STRETCH / PAGE)
#define WATCHED 256

struct canary {
	uint64_t page;
	uint64_t since_us;
};

struct guest {
	struct window w;
	uint64_t now_us;
	uint64_t random;
	bool present[NPAGES];
	struct canary canary[WATCHED];
	unsigned ncanaries;
	unsigned faults;
	unsigned fetched;
};

static struct guest g;
static uint64_t seed;

static uint64_t next_random(uint64_t below)
{
	g.random ^= g.random << 13;
	g.random ^= g.random >> 7;
	g.random ^= g.random << 17;
	return g.random % below;
}

static void start(enum window_mode mode, uint64_t len)
{
	g = (struct guest){.random = seed};
	window_init(&g.w, mode, len, g.random);
}

/* ---- the guest's pager ---- */

static void drop_canary(unsigned i, bool used)
{
	g.canary[i] = g.canary[--g.ncanaries];
	window_outcome(&g.w, used);
}

static void age(void)
{
	for (unsigned i = g.ncanaries; i-- > 0;)
		if (g.now_us - g.canary[i].since_us >= WINDOW_PATIENCE_MS * UINT64_C(1000))
			drop_canary(i, false);
}

static void came_for(uint64_t page)
{
	for (unsigned i = g.ncanaries; i-- > 0;)
		if (g.canary[i].page == page)
			drop_canary(i, true);
}

static void fetch_stretch(uint64_t first, unsigned n)
{
	int left_out = -1;

	if (g.ncanaries < WATCHED)
		left_out = window_canary(&g.w, first * PAGE, n);
	for (unsigned i = 0; i < n; i++) {
		if (g.present[first + i])
			continue;
		if ((int)i == left_out) {
			g.canary[g.ncanaries++] = (struct canary){first + i, g.now_us};
		} else {
			g.present[first + i] = true;
			g.fetched++;
		}
	}
}

static void fault(uint64_t page)
{
	struct window_span span = window_around(&g.w, page * PAGE, (uint64_t)NPAGES * PAGE);
	uint64_t first = span.off / PAGE, end = first + span.len / PAGE;

	g.faults++;
	came_for(page);
	g.present[page] = true;
	for (; first < end; first += STRETCH_PAGES)
		fetch_stretch(first, end - first < STRETCH_PAGES ? (unsigned)(end - first)
								 : (unsigned)STRETCH_PAGES);
}

static void touch(uint64_t page, unsigned cost_us)
{
	g.now_us += cost_us;
	age();
	if (!g.present[page])
		fault(page);
}

/* ---- what it does ---- */

static void touch_all(uint64_t from, uint64_t to)
{
	static uint64_t order[NPAGES];
	uint64_t n = to - from;

	for (uint64_t i = 0; i < n; i++)
		order[i] = from + i;
	for (uint64_t i = n; i > 1; i--) {
		uint64_t j = next_random(i), page = order[i - 1];

		order[i - 1] = order[j];
		order[j] = page;
	}
	for (uint64_t i = 0; i < n; i++)
		touch(order[i], 2);
}

/* One page in 50, now here and now there. */
static void touch_few(uint64_t from, uint64_t to)
{
	for (uint64_t i = 0; i < (to - from) / 50; i++)
		touch(from + next_random(to - from), 5000);
}

static void test_dense(void)
{
	start(WINDOW_ADAPTIVE, WINDOW_MAX);
	touch_all(0, NPAGES);
	is_int(g.w.len, WINDOW_MAX, "a guest that touches all gets its 2 MiB");
	ok(g.faults < NPAGES / 10, "%u faults for %u pages", g.faults, NPAGES);
	ok(window_used_permille(&g.w) > 900, "%d of 1000 were of use", window_used_permille(&g.w));
}

static void test_sparse(void)
{
	start(WINDOW_ADAPTIVE, WINDOW_MAX);
	touch_few(0, NPAGES);
	is_int(g.w.len, WINDOW_MIN, "one that touches one page in 50 stays at 64 KiB");
	ok(window_used_permille(&g.w) < 100, "%d of 1000 were of use",
	   window_used_permille(&g.w));
}

static void test_change(void)
{
	unsigned before;

	start(WINDOW_ADAPTIVE, WINDOW_MAX);
	touch_few(0, NPAGES / 2);
	is_int(g.w.len, WINDOW_MIN, "few pages: 64 KiB");
	before = g.faults;
	touch_all(NPAGES / 2, NPAGES);
	is_int(g.w.len, WINDOW_MAX, "then all of them: 2 MiB");
	ok(g.faults - before < NPAGES / 2 / 10, "%u faults for %u pages", g.faults - before,
	   NPAGES / 2);
	memset(g.present, 0, sizeof(g.present));
	touch_few(0, NPAGES / 2);
	is_int(g.w.len, WINDOW_MIN, "then few again: 64 KiB");
}

static void test_smaller_max(void)
{
	start(WINDOW_ADAPTIVE, UINT64_C(512) << 10);
	touch_all(0, NPAGES);
	is_int(g.w.len, 512 << 10, "it does not grow above its largest");
}

static void test_fixed(void)
{
	start(WINDOW_FIXED, UINT64_C(128) << 10);
	for (unsigned i = 0; i < 1000; i++)
		window_outcome(&g.w, i % 2 == 0);
	is_int(g.w.len, 128 << 10, "a fixed window stays");
	is_int(window_canary(&g.w, 0, 64), -1, "and leaves out nothing");
}

static void test_off(void)
{
	start(WINDOW_OFF, WINDOW_MAX);
	for (unsigned i = 0; i < 1000; i++)
		window_outcome(&g.w, true);
	is_int(window_around(&g.w, 5 * PAGE, 1 << 30).len, 0, "no window: nothing is fetched");
	is_int(window_canary(&g.w, 0, 64), -1, "and nothing left out");
	touch_all(0, 1000);
	is_int(g.faults, 1000, "each page faults");
}

/* ---- the pieces ---- */

static void span_is(uint64_t len, uint64_t off, uint64_t size, struct window_span want)
{
	struct window w;
	struct window_span got;
	bool good;

	window_init(&w, WINDOW_FIXED, len, 1);
	got = window_around(&w, off, size);
	good = got.len == want.len && (got.len == 0 || got.off == want.off);
	ok(good, "%llu KiB around %#llx of %#llx", (unsigned long long)len >> 10,
	   (unsigned long long)off, (unsigned long long)size);
	if (!good)
		tap_diag("got %#llx + %#llx", (unsigned long long)got.off,
			 (unsigned long long)got.len);
}

static void test_around(void)
{
	const uint64_t m = 1 << 20, k = 1 << 10;

	span_is(2 * m, 0, 16 * m, (struct window_span){0, 2 * m});
	span_is(2 * m, 2 * m - PAGE, 16 * m, (struct window_span){0, 2 * m});
	span_is(2 * m, 2 * m, 16 * m, (struct window_span){2 * m, 2 * m});
	span_is(2 * m, 3 * m, 3 * m + PAGE, (struct window_span){2 * m, m + PAGE});
	span_is(64 * k, 3 * m, 16 * m, (struct window_span){3 * m, 64 * k});
	span_is(64 * k, 0, PAGE, (struct window_span){0, PAGE});
	span_is(64 * k, PAGE, PAGE, (struct window_span){0, 0});
	span_is(2 * m, UINT64_MAX - PAGE + 1, UINT64_MAX,
		(struct window_span){UINT64_MAX - 2 * m + 1, 2 * m - 1});
}

static void test_canary(void)
{
	unsigned hits[16] = {0}, least = UINT32_MAX;
	bool inside = true;
	struct window w, v;

	window_init(&w, WINDOW_ADAPTIVE, WINDOW_MAX, 0);
	for (unsigned i = 0; i < 16000; i++) {
		int page = window_canary(&w, 0, 16);

		inside = inside && page >= 0 && page < 16;
		if (inside)
			hits[page]++;
	}
	for (unsigned i = 0; i < 16; i++)
		least = hits[i] < least ? hits[i] : least;
	ok(inside, "a canary is one of the pages");
	ok(least > 800, "each is chosen about as often: at least %u of 16000", least);
	is_int(window_canary(&w, 0, 1), -1, "none of a single page");
	is_int(window_canary(&w, 0, 0), -1, "none of no page");
	window_init(&w, WINDOW_ADAPTIVE, WINDOW_MAX, 9);
	window_init(&v, WINDOW_ADAPTIVE, WINDOW_MAX, 9);
	is_int(window_canary(&w, 4096, 64), window_canary(&v, 4096, 64), "a seed repeats it");
}

static void test_outcomes(void)
{
	struct window w;

	window_init(&w, WINDOW_ADAPTIVE, WINDOW_MAX, 1);
	is_int(window_used_permille(&w), -1, "nothing is known at first");
	window_outcome(&w, true);
	is_int(window_used_permille(&w), 1000, "one that was used");
	window_outcome(&w, false);
	window_outcome(&w, false);
	window_outcome(&w, false);
	is_int(window_used_permille(&w), 250, "one of four");
	is_int(w.len, WINDOW_START, "it starts small: nothing speaks for more");
	for (unsigned i = 0; i < 10000; i++)
		window_outcome(&w, true);
	for (unsigned i = 0; i < 10000; i++)
		window_outcome(&w, i % 3 == 0);
	is_int(w.len, WINDOW_MAX, "a third used: it stays");
	for (unsigned i = 0; i < 10000; i++)
		window_outcome(&w, i % 5 == 0);
	is_int(w.len, WINDOW_MIN, "a fifth used: it shrinks");
	for (unsigned i = 0; i < 10000; i++)
		window_outcome(&w, true);
	is_int(w.len, WINDOW_MAX, "all used: it grows");
	for (unsigned i = 0; i < 10000; i++)
		window_outcome(&w, false);
	is_int(w.len, WINDOW_MIN, "none used: down to 64 KiB and no further");
	for (unsigned i = 0; i < 10000; i++)
		window_outcome(&w, i % 3 == 0);
	is_int(w.len, WINDOW_MIN, "a third used: it stays there, too");
	for (unsigned i = 0; i < 10000; i++)
		window_outcome(&w, true);
	is_int(w.len, WINDOW_MAX, "all used: up to 2 MiB and no further");
}

int main(void)
{
	seed = tap_seed(4711) | 1;
	test_around();
	test_canary();
	test_outcomes();
	test_dense();
	test_sparse();
	test_change();
	test_smaller_max();
	test_fixed();
	test_off();
	return tap_done();
}
