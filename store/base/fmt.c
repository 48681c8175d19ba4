/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/fmt.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define EXACT_BYTES_MAX (10 * 1024 - 1)

char *fmt_size(char out[FMT_SIZE_LEN], uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	double v = (double)bytes / 1024;
	size_t i = 0;

	if (bytes <= EXACT_BYTES_MAX) {
		(void)snprintf(out, FMT_SIZE_LEN, "%u B", (unsigned)bytes);
		return out;
	}
	for (; v >= 1023.95 && units[i + 1]; i++)
		v /= 1024;
	(void)snprintf(out, FMT_SIZE_LEN, "%.1f %ciB", v, units[i]);
	return out;
}

char *fmt_duration(char out[FMT_SIZE_LEN], double seconds)
{
	unsigned long long s;

	if (!(seconds > 0))
		seconds = 0;
	if (seconds > 1e12)
		seconds = 1e12;
	s = (unsigned long long)(seconds + 0.5);
	if (seconds < 0.09995)
		(void)snprintf(out, FMT_SIZE_LEN, "%.1f ms", seconds * 1e3);
	else if (seconds < 0.9995)
		(void)snprintf(out, FMT_SIZE_LEN, "%.0f ms", seconds * 1e3);
	else if (seconds < 59.95)
		(void)snprintf(out, FMT_SIZE_LEN, "%.1f s", seconds);
	else if (s < 3600)
		(void)snprintf(out, FMT_SIZE_LEN, "%llu min %llu s", s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(out, FMT_SIZE_LEN, "%llu h %llu min", s / 3600, s / 60 % 60);
	else
		(void)snprintf(out, FMT_SIZE_LEN, "%llu d %llu h", s / 86400, s / 3600 % 24);
	return out;
}

char *fmt_time(char out[FMT_SIZE_LEN], int64_t unix_seconds)
{
	time_t t = (time_t)unix_seconds;
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(out, FMT_SIZE_LEN, "%Y-%m-%d %H:%M:%S", &tm))
		(void)snprintf(out, FMT_SIZE_LEN, "%lld", (long long)unix_seconds);
	return out;
}

/* The digits at the start of `text`; *ret_rest is what follows them. */
static int parse_digits(const char *text, uint64_t *ret, const char **ret_rest)
{
	uint64_t v = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	if (p == text)
		return -EINVAL;
	*ret = v;
	*ret_rest = p;
	return 0;
}

int fmt_parse_u64(const char *text, uint64_t *ret)
{
	const char *rest;
	uint64_t v;
	int rc = parse_digits(text, &v, &rest);

	if (rc < 0)
		return rc;
	if (*rest)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* "" and "B" are 1, "K" and "KiB" 1024, and so on; -EINVAL for others. */
static int size_shift(const char *unit)
{
	static const char letters[] = "KMGTPE";
	const char *letter;

	if (!*unit || !strcmp(unit, "B"))
		return 0;
	letter = strchr(letters, toupper((unsigned char)*unit));
	if (!letter || (unit[1] && strcmp(unit + 1, "iB") != 0))
		return -EINVAL;
	return (int)(letter - letters + 1) * 10;
}

int fmt_parse_size(const char *text, uint64_t *ret)
{
	const char *rest;
	uint64_t v;
	int rc = parse_digits(text, &v, &rest), shift;

	if (rc < 0)
		return rc;
	shift = size_shift(rest);
	if (shift < 0)
		return shift;
	if (__builtin_mul_overflow(v, UINT64_C(1) << shift, &v))
		return -ERANGE;
	*ret = v;
	return 0;
}

int fmt_parse_duration_ms(const char *text, uint64_t *ret)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000},
		{"h", 3600000}, {"d", 86400000}, {"w", 604800000},
	};
	const char *rest;
	uint64_t v;
	int rc = parse_digits(text, &v, &rest);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(rest, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(v, units[i].ms, &v))
			return -ERANGE;
		*ret = v;
		return 0;
	}
	return -EINVAL;
}

char *fmt_hex(char *out, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * len] = '\0';
	return out;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -EINVAL;
}

int fmt_unhex(void *out, size_t len, const char *text)
{
	unsigned char *p = out;

	if (strlen(text) != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < 2 * len; i++)
		if (hex_value(text[i]) < 0)
			return -EINVAL;
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
	return 0;
}
