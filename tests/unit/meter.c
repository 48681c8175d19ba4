/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/meter.h"

#include <fcntl.h>
#include <stdlib.h>

#include "tests/tap.h"

static const char *line(struct meter_line l)
{
	static char text[160];

	l.what = "work";
	meter_format(text, sizeof(text), &l);
	return text;
}

static void words(void)
{
	const uint64_t mib = 1 << 20;

	is_str(line((struct meter_line){.done = 4096}), "work  4096 B", "nothing but what is done");
	is_str(line((struct meter_line){.seconds = 10}), "work", "nor that");
	is_str(line((struct meter_line){.done = 4096, .total = 8192}),
	       "work  4096 B of 8192 B  50 %", "of a total");
	is_str(line((struct meter_line){.done = 100 * mib, .total = 300 * mib, .seconds = 10}),
	       "work  100.0 MiB of 300.0 MiB  33 %  10.0 MiB/s  20.0 s left", "rate and time left");
	is_str(line((struct meter_line){.first = 50 * mib, .done = 100 * mib, .total = 300 * mib,
					.seconds = 10}),
	       "work  100.0 MiB of 300.0 MiB  33 %  5.0 MiB/s  40.0 s left",
	       "the rate is that of what was done since");
	is_str(line((struct meter_line){.done = 300 * mib, .total = 300 * mib, .seconds = 10}),
	       "work  300.0 MiB of 300.0 MiB  100 %  30.0 MiB/s", "nothing left");
	is_str(line((struct meter_line){.done = mib, .total = 2 * mib, .seconds = 0.1}),
	       "work  1.0 MiB of 2.0 MiB  50 %", "no rate of a moment");
	is_str(line((struct meter_line){.done = mib, .seconds = 1}), "work  1.0 MiB  1.0 MiB/s",
	       "no total, no time left");
	is_str(line((struct meter_line){.unit = PROGRESS_COUNT, .done = 3, .total = 9,
					 .seconds = 1}),
	       "work  3 of 9  33 %  3/s  2.0 s left", "things instead of bytes");
}

static void narrow(void)
{
	const struct meter_line l = {.what = "a long word for this work", .done = 1, .total = 2};
	char text[12];

	meter_format(text, sizeof(text), &l);
	is_str(text, "a long word", "a short buffer is not overrun");
}

/* What reaches stderr while `on` is as given. */
static size_t written(bool on)
{
	struct meter m = {.on = on};
	int saved = dup(STDERR_FILENO);
	int fd = open(tap_path("stderr"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	off_t len;

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		bail("cannot redirect");
	for (uint64_t i = 0; i < 1000; i++)
		meter_show(&m, "work", PROGRESS_BYTES, i, 1000);
	meter_end(&m);
	meter_end(&m);
	(void)fflush(stderr);
	len = lseek(fd, 0, SEEK_END);
	(void)dup2(saved, STDERR_FILENO);
	close(saved);
	close(fd);
	return (size_t)len;
}

static void where(void)
{
	struct meter m = {0};
	int saved = dup(STDERR_FILENO), fd = open("/dev/null", O_WRONLY);
	size_t n;

	(void)dup2(fd, STDERR_FILENO);
	meter_begin(&m);
	(void)dup2(saved, STDERR_FILENO);
	close(saved);
	close(fd);
	ok(!m.on, "not on a terminal: off");
	is_int(written(false), 0, "off: nothing is written");
	n = written(true);
	ok(n > 0 && n < 2000, "on: seldom redrawn (%zu bytes)", n);
}

int main(void)
{
	words();
	narrow();
	where();
	return tap_done();
}
