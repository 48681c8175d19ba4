/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/fmt.h"
#include "tests/tap.h"

static void test_size(void)
{
	static const struct {
		uint64_t bytes;
		const char *want;
	} cases[] = {
		{0, "0 B"}, {4096, "4096 B"}, {10239, "10239 B"}, {10240, "10.0 KiB"},
		{18664653, "17.8 MiB"}, {1048575, "1.0 MiB"}, {UINT64_C(1) << 40, "1.0 TiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	char out[FMT_SIZE_LEN];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_str(fmt_size(out, cases[i].bytes), cases[i].want, "size %s", cases[i].want);
}

static void test_duration(void)
{
	static const struct {
		double seconds;
		const char *want;
	} cases[] = {
		{-1, "0.0 ms"}, {0.0004, "0.4 ms"}, {0.0169, "16.9 ms"}, {0.09997, "100 ms"},
		{0.35, "350 ms"}, {0.9996, "1.0 s"}, {3.2, "3.2 s"}, {59.97, "1 min 0 s"},
		{130, "2 min 10 s"}, {3725, "1 h 2 min"}, {356400, "4 d 3 h"},
		{1e300, "11574074 d 1 h"},
	};
	char out[FMT_SIZE_LEN];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_str(fmt_duration(out, cases[i].seconds), cases[i].want, "duration %s",
		       cases[i].want);
}

static void test_time(void)
{
	char out[FMT_SIZE_LEN];

	setenv("TZ", "UTC", 1);
	is_str(fmt_time(out, 1795253339), "2026-11-21 09:28:59", "a time");
	is_str(fmt_time(out, 0), "1970-01-01 00:00:00", "the first time");
	is_str(fmt_time(out, INT64_MAX), "9223372036854775807", "a time without a calendar");
}

/* What a parser makes of `text`: its value, or the errno. */
static void check_parse(int (*parse)(const char *, uint64_t *), const char *text, int want_rc,
			uint64_t want)
{
	uint64_t v = 12345;
	int rc = parse(text, &v);

	is_int(rc, want_rc, "'%s' gives %s", text, want_rc ? strerror(-want_rc) : "a number");
	is_int(v, want_rc ? 12345 : want, "and the output is %s", want_rc ? "untouched" : "it");
}

static void test_parse_size(void)
{
	check_parse(fmt_parse_size, "0", 0, 0);
	check_parse(fmt_parse_size, "4096", 0, 4096);
	check_parse(fmt_parse_size, "4096B", 0, 4096);
	check_parse(fmt_parse_size, "64K", 0, 65536);
	check_parse(fmt_parse_size, "64k", 0, 65536);
	check_parse(fmt_parse_size, "64KiB", 0, 65536);
	check_parse(fmt_parse_size, "2M", 0, 2 << 20);
	check_parse(fmt_parse_size, "1G", 0, 1 << 30);
	check_parse(fmt_parse_size, "1TiB", 0, UINT64_C(1) << 40);
	check_parse(fmt_parse_size, "15E", 0, UINT64_C(15) << 60);
	check_parse(fmt_parse_size, "16E", -ERANGE, 0);
	check_parse(fmt_parse_size, "18446744073709551616", -ERANGE, 0);
	check_parse(fmt_parse_size, "", -EINVAL, 0);
	check_parse(fmt_parse_size, "K", -EINVAL, 0);
	check_parse(fmt_parse_size, "-1", -EINVAL, 0);
	check_parse(fmt_parse_size, " 1", -EINVAL, 0);
	check_parse(fmt_parse_size, "1.5G", -EINVAL, 0);
	check_parse(fmt_parse_size, "64KB", -EINVAL, 0);
	check_parse(fmt_parse_size, "64K ", -EINVAL, 0);
}

static void test_parse_duration(void)
{
	check_parse(fmt_parse_duration_ms, "500ms", 0, 500);
	check_parse(fmt_parse_duration_ms, "30s", 0, 30000);
	check_parse(fmt_parse_duration_ms, "10m", 0, 600000);
	check_parse(fmt_parse_duration_ms, "2h", 0, 7200000);
	check_parse(fmt_parse_duration_ms, "7d", 0, 604800000);
	check_parse(fmt_parse_duration_ms, "90", 0, 90000);
	check_parse(fmt_parse_duration_ms, "", -EINVAL, 0);
	check_parse(fmt_parse_duration_ms, "1y", -EINVAL, 0);
	check_parse(fmt_parse_duration_ms, "m", -EINVAL, 0);
	check_parse(fmt_parse_duration_ms, "999999999999999999d", -ERANGE, 0);
}

static void test_parse_u64(void)
{
	check_parse(fmt_parse_u64, "18446744073709551615", 0, UINT64_MAX);
	check_parse(fmt_parse_u64, "18446744073709551616", -ERANGE, 0);
	check_parse(fmt_parse_u64, "007", 0, 7);
	check_parse(fmt_parse_u64, "7x", -EINVAL, 0);
	check_parse(fmt_parse_u64, "+7", -EINVAL, 0);
	check_parse(fmt_parse_u64, "", -EINVAL, 0);
}

static void test_hex(void)
{
	static const unsigned char bytes[] = {0x00, 0x9a, 0xff};
	unsigned char back[3] = {1, 2, 3};
	char out[7];

	is_str(fmt_hex(out, bytes, 3), "009aff", "hex");
	is_str(fmt_hex(out, bytes, 0), "", "hex of nothing");
	is_int(fmt_unhex(back, 3, "009aFF"), 0, "unhex, either case");
	is_mem(back, bytes, 3, "gives the bytes");
	is_int(fmt_unhex(back, 3, "009af"), -EINVAL, "too short");
	is_int(fmt_unhex(back, 3, "009aff0"), -EINVAL, "too long");
	is_int(fmt_unhex(back, 3, "ffffxg"), -EINVAL, "not hex");
	is_mem(back, bytes, 3, "and the output is untouched");
}

int main(void)
{
	test_size();
	test_duration();
	test_time();
	test_parse_size();
	test_parse_duration();
	test_parse_u64();
	test_hex();
	return tap_done();
}
