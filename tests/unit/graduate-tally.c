/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/tally.h"
#include "tests/tap.h"

static struct tally t;

/* The text, as a string of the next call. */
static const char *text(void)
{
	static char out[1 << 16];
	struct buf buf = {0};

	tally_format(&t, "9.9", &buf);
	if (buf_error(&buf) || buf.len >= sizeof(out))
		bail("no text");
	memcpy(out, buf.data, buf.len);
	out[buf.len] = '\0';
	buf_fini(&buf);
	return out;
}

static void shows(const char *line)
{
	char whole[256];

	(void)snprintf(whole, sizeof(whole), "\nlamina_graduator_%s\n", line);
	ok(strstr(text(), whole) != NULL, "%s", line);
}

static void counted(const char *version, enum work_outcome outcome, double seconds)
{
	struct work_result r = {.version = (char *)version, .outcome = outcome,
				.seconds = seconds, .pages = 2, .bytes = 8192};

	tally_result(&t, &r);
}

static void test_nothing(void)
{
	t = (struct tally){0};
	shows("info{version=\"9.9\"} 1");
	shows("enabled 0");
	shows("scans_total 0");
	shows("silent_pagers 0");
	shows("ended_pagers 0");
	shows("decisions_total{reason=\"too_young\"} 0");
	shows("completion_seconds_bucket{le=\"+Inf\"} 0");
	ok(!strstr(text(), "\nlamina_graduator_pagers{"), "no version is known yet");
}

static void test_scans(void)
{
	struct scan_pager pagers[] = {
		{.version = (char *)"1.0", .sessions = 3}, {.version = (char *)"2.0"},
		{.version = (char *)"1.0", .sessions = 4}, {.code = -ETIMEDOUT},
		{.code = -ECONNREFUSED}, {.code = -ENOENT},
	};
	struct scan scan = {.pagers = pagers, .npagers = 6};

	t = (struct tally){0};
	tally_scan(&t, &scan);
	tally_scan(&t, &scan);
	shows("scans_total 2");
	shows("silent_pagers 1");
	shows("ended_pagers 2");
	shows("pagers{version=\"1.0\"} 2");
	shows("sessions{version=\"1.0\"} 7");
	shows("sessions{version=\"2.0\"} 0");
	scan.npagers = 0;
	tally_scan(&t, &scan);
	shows("silent_pagers 0");
	shows("ended_pagers 0");
	shows("pagers{version=\"1.0\"} 0");
	shows("sessions{version=\"1.0\"} 0");
}

static void test_decisions(void)
{
	const struct rules_decision v[] = {
		{.reason = RULES_TOO_YOUNG}, {.reason = RULES_GRADUATE},
		{.reason = RULES_TOO_YOUNG},
	};

	t = (struct tally){0};
	tally_decisions(&t, v, 3);
	tally_decisions(&t, v, 1);
	shows("decisions_total{reason=\"too_young\"} 3");
	shows("decisions_total{reason=\"graduate\"} 1");
}

static void test_results(void)
{
	t = (struct tally){0};
	counted("1.0", WORK_GRADUATED, 0.2);
	counted("1.0", WORK_MEMORY, 70);
	counted("1.0", WORK_GONE, 9999);
	shows("completions_total{result=\"graduated\",version=\"1.0\"} 1");
	shows("completions_total{result=\"memory\",version=\"1.0\"} 1");
	shows("completions_total{result=\"timeout\",version=\"1.0\"} 0");
	shows("failures_total{version=\"1.0\"} 1");
	shows("pages_total{version=\"1.0\"} 2");
	shows("bytes_total{version=\"1.0\"} 8192");
	shows("completion_seconds_bucket{le=\"0.1\"} 0");
	shows("completion_seconds_bucket{le=\"0.25\"} 1");
	shows("completion_seconds_bucket{le=\"120\"} 2");
	shows("completion_seconds_bucket{le=\"1800\"} 2");
	shows("completion_seconds_bucket{le=\"+Inf\"} 3");
	shows("completion_seconds_count 3");
	shows("completion_seconds_sum 10069.2");
}

static void test_versions(void)
{
	char name[32];

	t = (struct tally){0};
	for (int i = 0; i < TALLY_VERSIONS + 3; i++) {
		(void)snprintf(name, sizeof(name), "1.%d", i);
		counted(name, WORK_GRADUATED, 1);
	}
	counted("1.0", WORK_GRADUATED, 1);
	shows("completions_total{result=\"graduated\",version=\"1.0\"} 2");
	shows("completions_total{result=\"graduated\",version=\"1.31\"} 1");
	shows("completions_total{result=\"graduated\",version=\"other\"} 3");
	ok(!strstr(text(), "version=\"1.32\""), "what is too many has no series of its own");
	t = (struct tally){0};
	counted("a\"b\\c\nd", WORK_GRADUATED, 1);
	shows("pages_total{version=\"a\\\"b\\\\c?d\"} 2");
}

int main(void)
{
	test_nothing();
	test_scans();
	test_decisions();
	test_results();
	test_versions();
	return tap_done();
}
