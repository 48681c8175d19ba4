/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/lines.h"

#include <fcntl.h>

#include "tests/tap.h"

static struct lines lines;

static void write_text(const char *text, size_t len)
{
	int fd = open(tap_path("text"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		bail("cannot write a text");
	close(fd);
	is_int(lines_open(AT_FDCWD, tap_path("text"), &lines), 0, "a text of %zu bytes", len);
}

static void next_is(const char *want)
{
	char *line;
	int rc = lines_next(&lines, &line);

	is_int(rc, want ? 1 : 0, want ? "there is a line" : "that was all");
	if (want && rc == 1)
		is_str(line, want, "'%.40s'", want);
}

static void test_lines(void)
{
	write_text("one\n\nthree\nlast", 15);
	next_is("one");
	next_is("");
	next_is("three");
	next_is("last");
	next_is(NULL);
	next_is(NULL);
	lines_close(&lines);
	write_text("", 0);
	next_is(NULL);
	lines_close(&lines);
	write_text("x\n", 2);
	next_is("x");
	next_is(NULL);
	lines_close(&lines);
}

/* `extra` bytes more than are kept, with a line before and one behind it. */
static void test_long(long extra)
{
	size_t len = (size_t)(LINES_MAX + extra);
	char *text = malloc(len + 16), *line;

	memcpy(text, "a\n", 2);
	memset(text + 2, 'x', len);
	memcpy(text + 2 + len, "\nend\n", 5);
	write_text(text, len + 7);
	next_is("a");
	is_int(lines_next(&lines, &line), 1, "a line of %zu bytes", len);
	is_int(strlen(line), len < LINES_MAX ? len : LINES_MAX, "is kept as far as it fits");
	is_int(strspn(line, "x"), strlen(line), "as it is");
	next_is("end");
	next_is(NULL);
	lines_close(&lines);
	free(text);
}

static void test_long_last(void)
{
	char *text = malloc(3 * LINES_MAX), *line;

	memset(text, 'x', 3 * LINES_MAX);
	write_text(text, 3 * LINES_MAX);
	is_int(lines_next(&lines, &line), 1, "a long line without end");
	is_int(strlen(line), LINES_MAX, "is cut");
	next_is(NULL);
	next_is(NULL);
	lines_close(&lines);
	free(text);
}

static void test_many(void)
{
	size_t n = 5000, len = 0;
	char *text = malloc(n * 8), *line;
	bool good = true;

	for (size_t i = 0; i < n; i++)
		len += (size_t)sprintf(text + len, "%zu\n", i);
	write_text(text, len);
	for (size_t i = 0; i < n && good; i++)
		good = lines_next(&lines, &line) == 1 && strtoul(line, NULL, 10) == i;
	ok(good, "each of many lines, once, in order");
	next_is(NULL);
	lines_close(&lines);
	free(text);
}

static void test_errors(void)
{
	char *line;

	is_int(lines_open(AT_FDCWD, tap_path("none"), &lines), -ENOENT, "no such file");
	is_int(lines_open(AT_FDCWD, tap_tmpdir(), &lines), 0, "a directory opens");
	is_int(lines_next(&lines, &line), -EISDIR, "and is not read");
	lines_close(&lines);
}

int main(void)
{
	test_lines();
	test_long(-1);
	test_long(0);
	test_long(1);
	test_long(LINES_MAX);
	test_long(3 * LINES_MAX + 5);
	test_long_last();
	test_many();
	test_errors();
	return tap_done();
}
