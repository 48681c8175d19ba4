/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What lamina-fuse logs of damage, and how often (fuse/damage.h). */
#include "fuse/damage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/base/log.h"
#include "tests/tap.h"

/* What was logged since the last call, as lines. */
static char *logged(int *ret_lines)
{
	static char *text;
	size_t len;

	free(text);
	if (io_read_file(AT_FDCWD, tap_path("log"), 1 << 20, &text, &len) < 0)
		bail("cannot read the log");
	*ret_lines = 0;
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		++*ret_lines;
	if (ftruncate(STDERR_FILENO, 0) < 0)
		bail("cannot empty the log");
	return text;
}

static void test_one_line(struct damage *d)
{
	static const char place[] = "chunk 1:40 in pack 00000001: checksum differs";
	char text[256], *got;
	int lines;

	for (int page = 0; page < 16; page++) {
		(void)snprintf(text, sizeof(text), "layer 0123456789ab image 'memfile' page %d: %s",
			       page, place);
		damage_log(d, text);
	}
	got = logged(&lines);
	is_int(lines, 1, "the pages of one chunk are one line");
	is_str(got, "t: error: layer 0123456789ab image 'memfile' page 0: "
	       "chunk 1:40 in pack 00000001: checksum differs\n", "which is the first sentence");
	(void)snprintf(text, sizeof(text), "layer ba9876543210 image 'rootfs' page 7: %s", place);
	damage_log(d, text);
	(void)logged(&lines);
	is_int(lines, 0, "the same chunk in another layer is no news");
	damage_log(d, "layer 0123456789ab image 'memfile' page 0: "
		   "chunk 1:41 in pack 00000001: checksum differs");
	damage_log(d, "cannot read pack 00000002: Input/output error");
	damage_log(d, "cannot read pack 00000002: Input/output error");
	damage_log(d, "cannot read pack 00000003: Input/output error");
	(void)logged(&lines);
	is_int(lines, 3, "other places are, whatever is damaged there");
}

static void flood(struct damage *d, int first, int n)
{
	char text[128];

	for (int i = first; i < first + n; i++) {
		(void)snprintf(text, sizeof(text), "page 1: chunk 9:%d: checksum differs", i);
		damage_log(d, text);
	}
}

static void test_limit(struct damage *d)
{
	const char *got;
	int lines;

	flood(d, 0, 3 * DAMAGE_LINES);
	(void)logged(&lines);
	is_int(lines, DAMAGE_LINES, "not more than so many lines in a period");
	d->period -= DAMAGE_PERIOD;
	damage_log(d, "page 1: chunk 10:1: checksum differs");
	got = logged(&lines);
	is_int(lines, 2, "the next one speaks again");
	ok(strstr(got, "t: error: 40 more damaged places were not logged\n") == got,
	   "and first says how many it kept back");
	d->period -= DAMAGE_PERIOD;
	damage_log(d, "page 1: chunk 10:2: checksum differs");
	(void)logged(&lines);
	is_int(lines, 1, "only once");
}

static void test_memory(struct damage *d)
{
	int lines;

	flood(d, 1000, DAMAGE_REMEMBERED + 1);
	d->period -= DAMAGE_PERIOD;
	(void)logged(&lines);
	flood(d, 1000, 1);
	(void)logged(&lines);
	ok(lines >= 1, "what was long ago is told again");
	flood(d, 1000 + DAMAGE_REMEMBERED, 1);
	(void)logged(&lines);
	is_int(lines, 0, "what was lately is not");
}

static void run(void (*test)(struct damage *d))
{
	struct damage d;

	damage_init(&d);
	test(&d);
	damage_fini(&d);
}

int main(void)
{
	int fd = open(tap_path("log"), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		bail("cannot make a log");
	log_init("t", LOG_LEVEL_INFO);
	run(test_one_line);
	run(test_limit);
	run(test_memory);
	return tap_done();
}
