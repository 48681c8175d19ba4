/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/log.h"
#include "store/base/io.h"
#include "tests/tap.h"

#include <fcntl.h>

/* Sends stderr to a new file. */
static void capture(const char *name)
{
	int fd = open(tap_path(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		bail("cannot capture stderr");
	close(fd);
}

static char *captured(const char *name)
{
	char *text;

	if (io_read_file(AT_FDCWD, tap_path(name), 1 << 16, &text, NULL) < 0)
		bail("cannot read what was captured");
	return text;
}

static void test_levels(void)
{
	char *text;

	capture("levels");
	log_init("prog", LOG_LEVEL_INFO);
	log_error("a %d", 1);
	log_warn("b");
	log_info("c");
	log_debug("d");
	log_init("prog", LOG_LEVEL_DEBUG);
	log_debug("e");
	text = captured("levels");
	is_str(text, "prog: error: a 1\nprog: warning: b\nprog: c\nprog: debug: e\n",
	       "lines by level");
	free(text);
}

static void test_long(void)
{
	char line[5000], *text;

	capture("long");
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	log_info("%s", line);
	text = captured("long");
	ok(strlen(text) < 1200, "a long line is cut");
	ok(strchr(text, '\n') == text + strlen(text) - 1, "and is one line");
	free(text);
}

static void test_syslog(void)
{
	char *text;

	capture("syslog");
	log_to_syslog();
	log_info("to syslog");
	text = captured("syslog");
	is_str(text, "", "nothing goes to stderr any more");
	free(text);
}

int main(void)
{
	test_levels();
	test_long();
	test_syslog();
	return tap_done();
}
