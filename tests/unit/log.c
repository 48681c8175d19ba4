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

static void test_event(void)
{
	char *text;

	capture("event");
	log_init("prog", LOG_LEVEL_INFO);
	log_event(LOG_LEVEL_WARN, "moved", (struct log_field[]){
		LOG_STR("from", "a"), LOG_STR("to", NULL), LOG_INT("n", -3), LOG_REAL("s", 0.5),
		LOG_BOOL("far", false), {0}});
	log_event(LOG_LEVEL_DEBUG, "quiet", (struct log_field[]){{0}});
	text = captured("event");
	is_str(text, "prog: warning: moved: from a, n -3, s 0.5, far false\n", "an event in words");
	free(text);
}

/* What follows the time. */
static const char *json_of(const char *event, const struct log_field *fields)
{
	static char line[256];

	is_int(log_json(line, sizeof(line), "info", event, fields), strlen(line), "its length");
	ok(strncmp(line, "{\"time\":\"2", 10) == 0, "an object with the time");
	return strstr(line, "\"level\"");
}

static void test_json(void)
{
	char long_text[400], *text;

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	is_str(json_of("e", (struct log_field[]){LOG_STR("s", "a\"\\\n\x7f"), LOG_INT("n", 7),
						 LOG_REAL("r", 0.25), LOG_STR("none", NULL),
						 LOG_BOOL("y", true), LOG_BOOL("x", false), {0}}),
	       "\"level\":\"info\",\"event\":\"e\","
	       "\"s\":\"a\\\"\\\\\\u000a\\u007f\",\"n\":7,\"r\":0.25,\"y\":true,\"x\":false}",
	       "fields, quoted");
	is_str(json_of("e", (struct log_field[]){
			LOG_STR("s", "\xc3\xa9 \xff \xc3 \xed\xa0\x80"), {0}}),
	       "\"level\":\"info\",\"event\":\"e\",\"s\":\"\xc3\xa9 ? ? ???\"}", "only UTF-8");
	is_str(json_of("e", (struct log_field[]){
			LOG_STR("s", long_text), LOG_REAL("r", 1.0 / 0.0), {0}}),
	       "\"level\":\"info\",\"event\":\"e\",\"r\":null}", "what does not fit is left out");
	capture("json");
	log_as_json();
	log_error("b\"%d", 1);
	text = captured("json");
	ok(strstr(text, "\"level\":\"error\",\"event\":\"message\",\"message\":\"b\\\"1\"}\n"),
	   "a sentence as JSON");
	free(text);
}

int main(void)
{
	test_levels();
	test_long();
	test_event();
	test_json();
	test_syslog();
	return tap_done();
}
