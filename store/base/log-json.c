/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is logged may come from anywhere: bytes that are no UTF-8 become '?', so
 * that a line is JSON whatever a file is called.
 */
#include "store/base/log.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* What has been written always leaves room for what closes the object. */
struct out {
	char *at;
	char *end;
	bool full;
};

static void put_bytes(struct out *o, const char *text, size_t len)
{
	if (o->full || len > (size_t)(o->end - o->at)) {
		o->full = true;
		return;
	}
	memcpy(o->at, text, len);
	o->at += len;
}

static void put(struct out *o, const char *text)
{
	put_bytes(o, text, strlen(text));
}

/* Bytes of the character that `p` begins with; 0: it is none. */
static size_t utf8_len(const unsigned char *p)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
	uint32_t c = *p & (0xffu >> (len + 1));

	if (*p < 0xc2 || *p > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : len;
}

static size_t put_char(struct out *o, const char *text)
{
	unsigned char c = (unsigned char)*text;
	char escaped[8];
	size_t len = 1;

	if (c == '"' || c == '\\') {
		put_bytes(o, (const char[]){'\\', (char)c}, 2);
	} else if (c < 0x20 || c == 0x7f) {
		(void)snprintf(escaped, sizeof(escaped), "\\u%04x", c);
		put(o, escaped);
	} else if (c < 0x80) {
		put_bytes(o, text, 1);
	} else {
		len = utf8_len((const unsigned char *)text);
		put_bytes(o, len ? text : "?", len ? len : 1);
	}
	return len ? len : 1;
}

static void put_string(struct out *o, const char *text)
{
	put(o, "\"");
	while (*text && !o->full)
		text += put_char(o, text);
	put(o, "\"");
}

static void put_number(struct out *o, const struct log_field *f)
{
	char number[32];

	if (f->kind == LOG_KIND_INT)
		(void)snprintf(number, sizeof(number), "%" PRId64, f->integer);
	else if (f->kind == LOG_KIND_BOOL)
		(void)snprintf(number, sizeof(number), "%s", f->integer ? "true" : "false");
	else if (isfinite(f->real))
		(void)snprintf(number, sizeof(number), "%.9g", f->real);
	else
		(void)snprintf(number, sizeof(number), "null");
	put(o, number);
}

static void put_field(struct out *o, const struct log_field *f)
{
	struct out before = *o;

	if (f->kind == LOG_KIND_STR && !f->text)
		return;
	put(o, ",");
	put_string(o, f->name);
	put(o, ":");
	if (f->kind == LOG_KIND_STR)
		put_string(o, f->text);
	else
		put_number(o, f);
	if (o->full)
		*o = before;
}

/* "2026-11-21T19:30:00.123Z" */
static void now_text(char *out, size_t size)
{
	struct timespec now;
	struct tm tm;
	char second[32];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (!gmtime_r(&now.tv_sec, &tm) ||
	    !strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &tm))
		second[0] = '\0';
	(void)snprintf(out, size, "%s.%03dZ", second, (int)(now.tv_nsec / 1000000));
}

size_t log_json(char *out, size_t size, const char *level, const char *event,
		const struct log_field *fields)
{
	struct out o = {.at = out, .end = out + size - 2};
	char now[48];

	now_text(now, sizeof(now));
	put(&o, "{\"time\":");
	put_string(&o, now);
	put_field(&o, &(struct log_field)LOG_STR("level", level));
	put_field(&o, &(struct log_field)LOG_STR("event", event));
	for (; fields->kind != LOG_KIND_END; fields++)
		put_field(&o, fields);
	*o.at++ = '}';
	*o.at = '\0';
	return (size_t)(o.at - out);
}
