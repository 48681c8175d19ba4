/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/out.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/tap.h"

static struct err err;

/* Runs `fn` in a child whose stdout is `path`; its exit status. */
static int child(int (*fn)(void), const char *path)
{
	pid_t pid;
	int status, fd;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		(void)dup2(fd, STDOUT_FILENO);
		_exit(fn());
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		bail("cannot fork");
	return WEXITSTATUS(status);
}

static const char *printed(int (*fn)(void))
{
	static char text[4096];
	FILE *f;
	size_t n;

	is_int(child(fn, tap_path("out")), 0, "it is printed");
	f = fopen(tap_path("out"), "r");
	n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	text[n] = '\0';
	if (f)
		(void)fclose(f);
	return text;
}

static int value(void)
{
	int rc = out_json(json_pack("{s:i, s:[s], s:n}", "z", 1, "a", "x\ny", "m"), &err);

	return rc || out_close();
}

/* As the pager's times come, and a number for which 15 digits are too few. */
static int numbers(void)
{
	int rc = out_json(json_pack("{s:f, s:f}", "t", 1795289310.123, "x", 0.1), &err);

	rc = rc ? rc : out_json(json_pack("[f, {s:[f]}]", 0.5, "deep", 1.0 / 3), &err);
	return rc || out_close();
}

static int array(void)
{
	struct out_array a;
	int rc;

	out_array_begin(&a, 0);
	rc = out_array_add(&a, json_pack("{s:i}", "n", 1), &err);
	rc = rc ? rc : out_array_add(&a, json_integer(2), &err);
	out_array_next(&a);
	printf("3");
	out_array_end(&a);
	return rc || out_close();
}

static int nested(void)
{
	struct out_array a;

	printf("{\n  \"list\": ");
	out_array_begin(&a, 1);
	(void)out_array_add(&a, json_pack("[i]", 1), &err);
	out_array_end(&a);
	printf(",\n  \"none\": ");
	out_array_begin(&a, 1);
	out_array_end(&a);
	printf("\n}\n");
	return out_close();
}

static int a_little(void)
{
	puts("x");
	return -out_close();
}

static int a_lot(void)
{
	for (int i = 0; i < 100000; i++)
		puts("more than any buffer holds");
	return -out_close();
}

static int nothing(void)
{
	return -out_close();
}

int main(void)
{
	struct digest id = {{0xab, 0xcd}};
	json_t *hex = out_id(&id);

	is_str(printed(value),
	       "{\n  \"z\": 1,\n  \"a\": [\n    \"x\\ny\"\n  ],\n  \"m\": null\n}\n",
	       "keys stay in their order, two blanks a level");
	is_str(printed(numbers),
	       "{\n  \"t\": 1795289310.123,\n  \"x\": 0.1\n}\n"
	       "[\n  0.5,\n  {\n    \"deep\": [\n      0.3333333333333333\n    ]\n  }\n]\n",
	       "numbers have all their digits, and no more");
	is_str(printed(array), "[\n  {\n    \"n\": 1\n  },\n  2,\n  3\n]", "an array, bit by bit");
	is_str(printed(nested),
	       "{\n  \"list\": [\n    [\n      1\n    ]\n  ],\n  \"none\": []\n}\n",
	       "and within an object");
	is_err(out_json(NULL, &err), &err, -ENOMEM, "cannot make JSON: out of memory");
	ok(!strncmp(json_string_value(hex), "abcd0000", 8), "an id");
	is_int(json_string_length(hex), 64, "is 64 digits");
	json_decref(hex);

	is_int(child(a_little, "/dev/full"), ENOSPC, "a full stdout is found at the end");
	is_int(child(a_lot, "/dev/full"), ENOSPC, "and when it was found long before");
	is_int(child(nothing, "/dev/full"), 0, "who prints nothing does not care");
	return tap_done();
}
