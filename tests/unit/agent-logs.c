/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/logs.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/tap.h"

static struct logs_line line;
static uint64_t lost;

static void begin(enum logs_level level, const char *kernel)
{
	logs_fini();
	if (logs_init(level, kernel) < 0)
		bail("no log");
}

static void test_order(void)
{
	begin(LOGS_DEBUG, NULL);
	ok(!logs_next(0, &line, &lost), "at first there is nothing");
	logs_add(LOGS_DEBUG, "one %d", 1);
	logs_add(LOGS_ERROR, "two");
	ok(logs_next(0, &line, &lost), "a line");
	is_int(line.seq, 1, "the first");
	is_str(line.text, "one 1", "its text");
	is_int(line.level, LOGS_DEBUG, "its level");
	ok(line.time > 1e9, "its time");
	ok(logs_next(1, &line, &lost) && line.seq == 2, "the one behind it");
	is_int(lost, 0, "with nothing between");
	ok(!logs_next(2, &line, &lost), "and nothing behind that");
	ok(logs_next(700, &line, &lost) && line.seq == 1,
	   "who knows lines that are yet to come is given all");
}

static void test_loss(void)
{
	begin(LOGS_DEBUG, NULL);
	for (int i = 1; i <= LOGS_LINES; i++)
		logs_add(LOGS_INFO, "line %d", i);
	ok(logs_next(0, &line, &lost) && line.seq == 1 && lost == 0,
	   "a full ring has lost nothing");
	for (int i = 1; i <= 10; i++)
		logs_add(LOGS_INFO, "more %d", i);
	ok(logs_next(0, &line, &lost), "ten lines later");
	is_int(line.seq, 11, "there is the eleventh");
	is_str(line.text, "line 11", "as it was");
	is_int(lost, 10, "and ten are lost");
	ok(logs_next(7, &line, &lost) && line.seq == 11 && lost == 3,
	   "of which one who had seven lost three");
	ok(logs_next(10, &line, &lost) && line.seq == 11 && lost == 0, "and one who had ten none");
	ok(logs_next(LOGS_LINES + 9, &line, &lost) && !strcmp(line.text, "more 10"), "the newest");
}

static void test_text(void)
{
	char longer[LOGS_TEXT * 2];
	json_t *json;
	char *text;

	begin(LOGS_INFO, NULL);
	logs_add(LOGS_DEBUG, "unwanted");
	ok(!logs_next(0, &line, &lost), "what is below the level is not kept");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	logs_add(LOGS_INFO, "%s", longer);
	ok(logs_next(0, &line, &lost) && strlen(line.text) == LOGS_TEXT - 1, "a long line is cut");
	logs_add(LOGS_WARNING, "a\nb\x1b[31m \"\xff");
	ok(logs_next(1, &line, &lost), "a line of bytes");
	is_str(line.text, "a b [31m \"\xff", "is one line, without control characters");
	json = logs_json(&line);
	ok(json, "and JSON");
	text = json_dumps(json_object_get(json, "text"), JSON_ENCODE_ANY);
	is_str(text, "\"a b [31m \\\"?\"", "without what is no UTF-8");
	is_str(json_string_value(json_object_get(json, "level")), "warning", "with its level");
	is_int(json_integer_value(json_object_get(json, "seq")), 2, "and its number");
	free(text);
	json_decref(json);
}

static void test_kernel(void)
{
	const char *path = tap_path("kmsg");
	char text[1024] = "";
	FILE *file = fopen(path, "w");

	fclose(file);
	begin(LOGS_ERROR, path);
	logs_add(LOGS_INFO, "fine");
	logs_add(LOGS_ERROR, "broken\nin two");
	logs_fini();
	file = fopen(path, "r");
	is_int(fread(text, 1, sizeof(text) - 1, file) > 0, 1, "the kernel was told");
	is_str(text, "<27>lamina-agent: broken in two\n", "of the error alone");
	fclose(file);
	begin(LOGS_DEBUG, path);
	logs_add(LOGS_DEBUG, "alpha");
	logs_add(LOGS_INFO, "beta");
	logs_add(LOGS_WARNING, "three");
	file = fopen(path, "r");
	memset(text, 0, sizeof(text));
	is_int(fread(text, 1, sizeof(text) - 1, file) > 0, 1, "and later");
	ok(strstr(text, "\n<28>lamina-agent: three\n"), "of a warning");
	ok(!strstr(text, "alpha") && !strstr(text, "beta"), "of nothing less");
	fclose(file);
	logs_fini();
	is_int(logs_init(LOGS_DEBUG, tap_path("none/kmsg")), -ENOENT, "a log that is not there");
	logs_add(LOGS_ERROR, "still kept");
	ok(logs_next(0, &line, &lost), "is not needed");
}

static void test_levels(void)
{
	enum logs_level level = LOGS_DEBUG;

	is_int(logs_parse_level("warning", &level), 0, "a level by its word");
	is_int(level, LOGS_WARNING, "is that one");
	is_int(logs_parse_level("warn", &level), -EINVAL, "another word is none");
	is_int(level, LOGS_WARNING, "and changes nothing");
}

static atomic_int told;

static void tell(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void *chatter(void *arg)
{
	for (int i = 0; i < 1000; i++)
		logs_add(LOGS_DEBUG, "%s %d", (const char *)arg, i);
	return NULL;
}

/*
 * Whatever is read while others write is whole, in order, and nothing is missing but what is
 * lost.
 */
static void test_threads(void)
{
	static char name[] = "abcdefgh";
	pthread_t threads[4];
	uint64_t seq = 0, missed = 0, got = 0;
	bool whole = true;

	begin(LOGS_DEBUG, NULL);
	logs_on_added(tell, &told);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, chatter, name))
			bail("no thread");
	while (got + missed < 4000) {
		if (!logs_next(seq, &line, &lost))
			continue;
		whole = whole && line.seq == seq + lost + 1 && !strncmp(line.text, name, 8);
		seq = line.seq;
		missed += lost;
		got++;
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ok(whole, "four threads write, one reads: every line is whole, in order");
	is_int(seq, 4000, "up to the last");
	is_int(atomic_load(&told), 4000, "each was told of");
	logs_on_added(NULL, NULL);
	logs_add(LOGS_INFO, "alone");
	is_int(atomic_load(&told), 4000, "until nobody wants to know");
}

int main(void)
{
	test_order();
	test_loss();
	test_text();
	test_kernel();
	test_levels();
	test_threads();
	logs_fini();
	return tap_done();
}
