/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/meter.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/base/clock.h"
#include "store/base/fmt.h"

#define REDRAW_SECONDS 0.1
/* Rates of a shorter time than this are noise. */
#define RATE_SECONDS 0.5

void meter_begin(struct meter *m)
{
	m->on = isatty(STDERR_FILENO) == 1;
}

static size_t add(char *out, size_t size, size_t len, const char *gap, const char *text)
{
	int n = snprintf(out + len, size - len, "%s%s", gap, text);

	if (n < 0 || (size_t)n >= size - len)
		return size - 1;
	return len + (size_t)n;
}

static char *amount(const struct meter_line *l, char out[FMT_SIZE_LEN], uint64_t n)
{
	if (l->unit == PROGRESS_BYTES)
		return fmt_size(out, n);
	(void)snprintf(out, FMT_SIZE_LEN, "%llu", (unsigned long long)n);
	return out;
}

static size_t add_rate(char *out, size_t size, size_t len, const struct meter_line *l)
{
	double rate = (double)(l->done - l->first) / l->seconds;
	char text[FMT_SIZE_LEN];

	len = add(out, size, len, "  ", amount(l, text, (uint64_t)rate));
	len = add(out, size, len, "", "/s");
	if (l->total <= l->done || rate < 1)
		return len;
	len = add(out, size, len, "  ",
		  fmt_duration(text, (double)(l->total - l->done) / rate));
	return add(out, size, len, " ", "left");
}

void meter_format(char *out, size_t size, const struct meter_line *l)
{
	char text[FMT_SIZE_LEN], percent[16];
	size_t len = add(out, size, 0, "", l->what);

	if (!l->done && !l->total)
		return;
	len = add(out, size, len, "  ", amount(l, text, l->done));
	if (l->total) {
		len = add(out, size, len, " of ", amount(l, text, l->total));
		(void)snprintf(percent, sizeof(percent), "%u %%",
			       (unsigned)(100.0 * (double)l->done / (double)l->total));
		len = add(out, size, len, "  ", percent);
	}
	if (l->seconds >= RATE_SECONDS && l->done > l->first)
		(void)add_rate(out, size, len, l);
}

void meter_show(struct meter *m, const char *what, enum progress_unit unit, uint64_t done,
		uint64_t total)
{
	double t = m->on ? clock_s() : 0;
	bool begins = strncmp(m->what, what, sizeof(m->what) - 1) != 0;
	struct meter_line line;
	char text[160];

	if (!m->on || (m->shown && !begins && t - m->drawn < REDRAW_SECONDS))
		return;
	if (begins || done < m->first) {
		(void)snprintf(m->what, sizeof(m->what), "%s", what);
		m->first = done;
		m->began = t;
	}
	line = (struct meter_line){m->what, unit, m->first, done, total, t - m->began};
	meter_format(text, sizeof(text), &line);
	fprintf(stderr, "\r%.79s\033[K", text);
	(void)fflush(stderr);
	m->shown = true;
	m->drawn = t;
}

void meter_word(struct meter *m, const char *word)
{
	if (!m->on)
		return;
	fprintf(stderr, "\r%.70s ...\033[K", word);
	(void)fflush(stderr);
	m->shown = true;
	m->drawn = 0;
}

void meter_end(struct meter *m)
{
	if (m->shown)
		fputs("\r\033[K", stderr);
	m->shown = false;
}
