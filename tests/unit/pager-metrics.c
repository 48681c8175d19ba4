/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/metrics.h"

#include "tests/tap.h"

static struct state_head *new_head(enum state_phase phase)
{
	struct state_head *head = calloc(1, sizeof(*head));

	if (!head)
		bail("no memory");
	atomic_store(&head->phase, phase);
	return head;
}

/* A guest of `npages` pages of 4 KiB. */
static struct state_head *serving(uint64_t npages)
{
	struct state_head *head = new_head(STATE_SERVING);

	head->nregions = 1;
	head->regions[0] = (struct region){.size = npages * 4096, .page_size = 4096};
	head->npages = npages;
	head->handoff_ms = 1;
	return head;
}

/* ---- pages ---- */

static void test_table(void)
{
	size_t n = 0;

	for (const struct metrics_counter *c = metrics_counters; c->name; c++, n++)
		if (c->at != n * sizeof(uint64_t))
			break;
	is_int(n, METRICS_COUNTERS, "the table has the counters in their order");
	is_int(sizeof(struct state_counters), METRICS_COUNTERS * sizeof(uint64_t),
	       "and all of them");
}

static void test_pages(void)
{
	struct state_head *head = serving(1000);
	struct metrics_pages p = metrics_pages(head);

	ok(p.total == 1000 && p.missing == 1000 && p.bytes == 4096000 && !p.present_bytes,
	   "at the handoff all pages are missing");
	head->count.demand = 10;
	head->count.ahead = 80;
	head->count.replayed = 10;
	head->count.present = 70;
	head->count.zeroed = 300;
	head->count.removed = 200;
	head->count.dropped = 40;
	p = metrics_pages(head);
	is_int(p.present, 60, "present: what was installed, less what was removed of it");
	is_int(p.zero, 30, "zero, without those that were zeroed again");
	is_int(p.removed, 200, "removed");
	is_int(p.missing, 740, "missing: the rest");
	is_int(p.present_bytes, 60 * 4096, "in bytes");
	free(head);
}

static void test_pages_before(void)
{
	struct state_head *head = serving(1000);
	struct metrics_pages p;

	atomic_store(&head->phase, STATE_WAITING);
	p = metrics_pages(head);
	ok(!p.total && !p.bytes && !p.missing, "one that waits has no pages");
	atomic_store(&head->phase, STATE_FAILED);
	head->handoff_ms = 0;
	p = metrics_pages(head);
	ok(!p.total && !p.bytes && !p.missing, "nor has one that failed at its handoff");
	free(head);
}

static void test_pages_odd(void)
{
	struct state_head *head = serving(100);
	struct metrics_pages p;

	head->count.demand = 500;
	head->count.removed = 30;
	p = metrics_pages(head);
	ok(p.present == 70 && p.zero == 70 && p.removed == 30 && p.missing == 0,
	   "counters that are too large do not make more pages");
	head->count.dropped = UINT64_MAX;
	head->count.removed = UINT64_MAX;
	p = metrics_pages(head);
	head->count.present = UINT64_MAX;
	p = metrics_pages(head);
	ok(p.present == 0 && p.zero == 0 && p.removed == 100 && p.missing == 0,
	   "nor less than none");
	free(head);
}

/* ---- sums ---- */

static void test_sums(void)
{
	static struct metrics m, past;
	struct state_head *a = serving(1000), *b = serving(500), *c = new_head(STATE_GONE);

	a->count.faults = 3;
	b->count.faults = 4;
	c->count.faults = 5;
	c->count.read_bytes = 4096;
	hist_add(&a->latency, 5000);
	hist_add(&c->latency, 70000);
	atomic_store(&b->phase, STATE_COMPLETING);
	metrics_add(&m, a);
	metrics_add(&m, b);
	metrics_add_past(&past, c);
	ok(m.sessions[STATE_SERVING] == 1 && m.sessions[STATE_COMPLETING] == 1, "phases");
	is_int(m.bytes, 1500 * 4096, "the memory that is served");
	is_int(m.count[0], 7, "counters are summed");
	metrics_merge(&m, &past);
	is_int(m.count[0], 12, "with those of sessions that were forgotten");
	is_int(m.sessions[STATE_GONE], 0, "which are no sessions any more");
	is_int(hist_at_most(&m.latency, UINT64_MAX), 2, "and their latencies");
	metrics_add(&m, c);
	is_int(m.sessions[STATE_GONE], 1, "one that has ended is counted as that");
	is_int(m.bytes, 1500 * 4096, "and its memory is not");
	free(a);
	free(b);
	free(c);
}

/* ---- the text ---- */

static const uint64_t completions[METRICS_RESULTS] = {
	[METRICS_GRADUATED] = 5,
	[METRICS_TIMEOUT] = 7,
};

static struct metrics_pager pager = {.completing = 3, .completions = completions,
				     .version = "1.2.3", .started = 1795279360.5, .draining = true,
				     .connections = 7};

static char *format(const struct metrics *m)
{
	struct buf b = {0};

	metrics_format(m, &pager, &b);
	buf_u8(&b, '\0');
	if (buf_error(&b) < 0)
		bail("no memory");
	return (char *)b.data;
}

/* The value of the line that begins with `series` and a blank. */
static double value_of(const char *text, const char *series)
{
	size_t len = strlen(series);

	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, series, len) == 0 && p[len] == ' ')
			return strtod(p + len, NULL);
	}
	return -1;
}

static bool is_sample(const char *line, const char *family)
{
	const char *p = line + strspn(line, "abcdefghijklmnopqrstuvwxyz_");
	char *end;

	if (strncmp(line, family, strlen(family)) != 0)
		return false;
	if (*p == '{')
		p = strchr(p, '}') ? strchr(p, '}') + 1 : p;
	if (*p != ' ')
		return false;
	(void)strtod(p + 1, &end);
	return end > p + 1 && !*end;
}

/* HELP, TYPE, samples of that name, and again.  The line that is wrong, or NULL. */
static const char *first_wrong(char *text)
{
	char family[128] = "", name[128], kind[32];
	int step = 0;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (sscanf(line, "# HELP %127s", name) == 1) {
			if (step == 1)
				return line;
			strcpy(family, name);
			step = 1;
		} else if (sscanf(line, "# TYPE %127s %31s", name, kind) == 2) {
			if (step != 1 || strcmp(name, family) != 0)
				return line;
			step = 2;
		} else if (step < 2 || !is_sample(line, family)) {
			return line;
		}
	}
	return NULL;
}

static void test_format(void)
{
	static struct metrics m;
	struct state_head *head = serving(1000);
	char *text;

	head->count.demand = 250;
	head->count.faults = UINT64_C(9007199254740993);	/* not to be said by a double */
	metrics_add(&m, head);
	text = format(&m);
	ok(strstr(text, "lamina_pager_faults_total 9007199254740993\n"), "counters are exact");
	ok(strstr(text, "lamina_pager_info{version=\"1.2.3\"} 1\n"), "the version");
	ok(strstr(text, "lamina_pager_start_time_seconds 1795279360.5\n"), "the start");
	ok(strstr(text, "lamina_pager_completing 3\n"), "who waits for a graduation");
	ok(strstr(text, "lamina_pager_completions_total{result=\"graduated\"} 5\n") &&
	   strstr(text, "lamina_pager_completions_total{result=\"timeout\"} 7\n") &&
	   strstr(text, "lamina_pager_completions_total{result=\"busy\"} 0\n"),
	   "what they came to, by result");
	is_int(value_of(text, "lamina_pager_draining"), 1, "draining");
	is_int(value_of(text, "lamina_pager_api_connections"), 7, "connections");
	is_int(value_of(text, "lamina_pager_sessions{state=\"serving\"}"), 1, "one serves");
	is_int(value_of(text, "lamina_pager_sessions{state=\"graduated\"}"), 0,
	       "states without a session are there, too");
	is_int(value_of(text, "lamina_pager_memory_bytes"), 4096000, "memory");
	is_int(value_of(text, "lamina_pager_present_bytes"), 250 * 4096, "what is present of it");
	ok(!strstr(text, "workers"), "how many workers there were is of one session only");
	is_str(first_wrong(text), NULL, "the text is in order");
	free(text);
	free(head);
}

static void test_histogram(void)
{
	static struct metrics m;
	uint64_t last = 0, before = 0;
	bool ascends = true;
	char *text, *p;
	unsigned n = 0;

	hist_add(&m.latency, 500);
	hist_add(&m.latency, 1500);
	hist_add(&m.latency, 1500);
	hist_add(&m.latency, UINT64_C(3600) * 1000000000);
	text = format(&m);
	is_int(value_of(text, "lamina_pager_fault_seconds_bucket{le=\"0.000001024\"}"), 1,
	       "up to a microsecond");
	is_int(value_of(text, "lamina_pager_fault_seconds_bucket{le=\"0.000002048\"}"), 3,
	       "buckets add up");
	is_int(value_of(text, "lamina_pager_fault_seconds_bucket{le=\"17.179869184\"}"), 3,
	       "an hour is beyond the last");
	is_int(value_of(text, "lamina_pager_fault_seconds_bucket{le=\"+Inf\"}"), 4,
	       "but not beyond all");
	is_int(value_of(text, "lamina_pager_fault_seconds_count"), 4, "the count");
	ok(value_of(text, "lamina_pager_fault_seconds_sum") > 3600, "the sum, in seconds");
	for (p = text; (p = strstr(p, "_bucket{")); p++, n++, before = last) {
		last = strtoull(strchr(p, ' '), NULL, 10);
		ascends = ascends && last >= before;
	}
	ok(ascends && n > 20 && n < 40, "%u buckets, none below the one before", n);
	free(text);
}

int main(void)
{
	test_table();
	test_pages();
	test_pages_before();
	test_pages_odd();
	test_sums();
	test_format();
	test_histogram();
	return tap_done();
}
