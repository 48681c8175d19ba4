/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/pager-rates.h"

#include <math.h>

#include "src/cli/pager.h"
#include "tests/tap.h"

static json_t *parse(const char *text)
{
	json_error_t error;
	json_t *json = json_loads(text, 0, &error);

	if (!json)
		bail("%s: %s", text, error.text);
	return json;
}

static bool near(double a, double b)
{
	return fabs(a - b) < 1e-6;
}

/* ---- histograms ---- */

static struct pager_hist hist;

static void add(const char *now, const char *before)
{
	json_t *n = parse(now), *b = before ? parse(before) : NULL;

	pager_hist_add(&hist, n, b);
	json_decref(n);
	json_decref(b);
}

static void test_hist(void)
{
	hist.n = 0;
	ok(near(pager_hist_quantile(&hist, 0.5), 0), "nothing took no time");
	add("[[1.5, 10], [4, 5], [8, 1]]", "[[1.5, 10], [8, 0]]");
	is_int(hist.n, 2, "what was there before does not count");
	ok(near(pager_hist_quantile(&hist, 0.5), 4), "the median of 4 4 4 4 4 8");
	ok(near(pager_hist_quantile(&hist, 0.99), 8), "and the slowest");
	add("[[2, 100], [8, 1]]", NULL);
	is_int(hist.n, 3, "another one is added in its order");
	ok(near(pager_hist_quantile(&hist, 0.5), 2), "and counts");
	ok(near(pager_hist_quantile(&hist, 1), 8), "the largest stays");
	hist.n = 0;
	add("[[1, 5]]", "[[1, 7]]");
	is_int(hist.n, 0, "less than before is nothing");
}

static void test_hist_rubbish(void)
{
	hist.n = 0;
	add("[1, null, [2], [\"a\", {}], [3, 4, 5]]", "{}");
	ok(near(pager_hist_quantile(&hist, 0.5), 3), "what is no bucket is passed over");
	hist.n = 0;
	for (int i = 0; i < 2 * PAGER_EDGES; i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "[[%d, 1]]", i + 1);
		add(text, NULL);
	}
	is_int(hist.n, PAGER_EDGES, "there is an end to them");
}

/* ---- sessions ---- */

static const char before_text[] =
	"[{\"number\": 1, \"id\": \"a\","
	" \"counters\": {\"faults\": 100, \"ahead\": 50, \"replayed\": 1},"
	"  \"histogram\": [[2, 100]]},"
	" {\"number\": 2, \"id\": \"closed\", \"counters\": {\"faults\": 9}},"
	" {\"number\": 4, \"id\": \"b\", \"counters\": {\"faults\": 7}, \"histogram\": [[9, 7]]}]";

static const char now_text[] =
	"[{\"number\": 1, \"id\": \"a\","
	" \"counters\": {\"faults\": 120, \"ahead\": 60, \"replayed\": 11},"
	"  \"histogram\": [[2, 100], [4, 19], [64, 1]]},"
	" {\"number\": 3, \"id\": \"over\", \"ended_seconds\": 7.5,"
	" \"counters\": {\"faults\": 1000}},"
	" {\"number\": 4, \"id\": \"b\", \"ended_seconds\": null, \"counters\": {\"faults\": 7},"
	"  \"histogram\": [[9, 7]]},"
	" {\"number\": 5, \"id\": \"new\", \"counters\": {\"faults\": 400},"
	" \"histogram\": [[2, 400]]}]";

static void test_rates(void)
{
	json_t *before = parse(before_text), *now = parse(now_text);
	struct pager_rates r;

	if (pager_rates(now, before, 2, &r) < 0)
		bail("no memory");
	is_int(r.n, 3, "sessions that have ended are not shown");
	is_str(pager_text(r.v[0].session, "id"), "new", "the busiest first");
	ok(near(r.v[0].faults, 200), "a new one has faulted since it is there");
	is_str(pager_text(r.v[1].session, "id"), "a", "then the next");
	ok(near(r.v[1].faults, 10), "faults a second");
	ok(near(r.v[1].ahead, 10), "pages ahead, by windows and traces");
	ok(near(r.v[1].p50_us, 4) && near(r.v[1].p99_us, 64), "latencies of the interval alone");
	is_str(pager_text(r.v[2].session, "id"), "b", "one that is quiet comes last");
	ok(near(r.v[2].faults, 0) && near(r.v[2].p50_us, 0), "and has none");
	ok(near(r.all.faults, 210) && near(r.all.p50_us, 2), "all together");
	pager_rates_fini(&r);
	json_decref(before);
	json_decref(now);
}

/* Numbers are each pager's own. */
static void test_rates_pagers(void)
{
	json_t *before = parse(
		"[{\"number\": 1, \"pager\": \"/a\", \"counters\": {\"faults\": 100}},"
		" {\"number\": 1, \"pager\": \"/b\", \"counters\": {\"faults\": 10}}]");
	json_t *now = parse(
		"[{\"number\": 1, \"pager\": \"/b\", \"id\": \"y\","
		"  \"counters\": {\"faults\": 15}},"
		" {\"number\": 2, \"pager\": \"/b\", \"id\": \"z\","
		"  \"counters\": {\"faults\": 2}},"
		" {\"number\": 1, \"pager\": \"/a\", \"id\": \"x\","
		"  \"counters\": {\"faults\": 103}}]");
	struct pager_rates r;

	if (pager_rates(now, before, 1, &r) < 0)
		bail("no memory");
	is_str(pager_text(r.v[0].session, "id"), "y", "of two pagers, in another order");
	ok(near(r.v[0].faults, 5), "each session is compared with itself");
	ok(near(r.v[1].faults, 3) && near(r.v[2].faults, 2), "and the others");
	pager_rates_fini(&r);
	json_decref(before);
	json_decref(now);
}

static void test_rates_empty(void)
{
	json_t *none = json_array();
	struct pager_rates r;

	is_int(pager_rates(none, NULL, 1, &r), 0, "no sessions at all");
	is_int(r.n, 0, "give no rows");
	pager_rates_fini(&r);
	json_decref(none);
}

/* ---- answers ---- */

static void test_answer(void)
{
	json_t *json = parse("{\"a\": {\"b\": {\"c\": 7}}, \"t\": \"text\", \"n\": null}");
	char text[PAGER_CELL];

	ok(near(pager_number(json, "a.b.c"), 7), "a member of a member of a member");
	ok(!pager_at(json, "a.x.c") && !pager_at(json, "t.x") && !pager_at(NULL, "a"),
	   "one that is not there");
	is_str(pager_text(json, "t"), "text", "a text");
	is_str(pager_text(json, "n"), "-", "null is none");
	is_str(pager_micros(text, 0), "-", "no time");
	is_str(pager_micros(text, 7.68), "7.7 us", "microseconds");
	is_str(pager_micros(text, 12345), "12.3 ms", "milliseconds");
	is_str(pager_micros(text, 2500000), "2.5 s", "seconds");
	json_decref(json);
}

int main(void)
{
	test_hist();
	test_hist_rubbish();
	test_rates();
	test_rates_pagers();
	test_rates_empty();
	test_answer();
	return tap_done();
}
