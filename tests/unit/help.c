/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/help.h"

#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

struct args {
	bool flag;
	const char *text;
};

static const struct opt opts[] = {
	{OPT_FLAG, "flag", 'f', OPT_TO(struct args, flag), NULL, NULL, "one line"},
	{OPT_TEXT, "no-letter", 0, OPT_TO(struct args, text), "X", NULL,
	 "some words that go on and on until they need a second line, and then a bit further"},
	{OPT_MAYBE, "maybe-this-name-is-long", 0, OPT_TO(struct args, text), "ARGUMENT", NULL,
	 "below"},
	OPT_TABLE_END
};

static const struct opt globals[] = {
	{OPT_FLAG, "all", 'a', OPT_TO(struct args, flag), NULL, NULL, "for all"},
	OPT_TABLE_END
};

static const struct cmd plain = {.name = "plain", .purpose = "Does nothing."};
static const struct cmd full = {
	.name = "full",
	.operands = "A B...",
	.purpose = "Has all that a command can have, and a purpose that is longer than a line is "
		   "wide.",
	.notes = "First paragraph.\n\nSecond paragraph.",
	.opts = opts,
};

static const struct cmd other = {.name = "other", .purpose = "Ends.", .exits = "Exit status: 77."};

static char *text;

static const char *of_command(const struct cmd *cmd)
{
	size_t size;
	FILE *out;

	free(text);
	out = open_memstream(&text, &size);
	help_command(out, cmd, globals);
	(void)fclose(out);
	return text;
}

static size_t widest(const char *t)
{
	size_t widest = 0, len;

	for (; *t; t += len + 1) {
		len = strcspn(t, "\n");
		widest = len > widest ? len : widest;
	}
	return widest;
}

int main(void)
{
	struct cmd wide = plain;
	const struct cmd *const all[] = {&plain, &full, &wide, NULL};
	size_t size;
	FILE *out;

	of_command(&other);
	ok(strstr(text, "\nExit status: 77.\n") && !strstr(text, "damage"),
	   "exit statuses of its own");
	of_command(&plain);
	ok(strstr(text, "Usage: lamina plain\nDoes nothing.\n\nGlobal options:\n") == text,
	   "a command without options");
	of_command(&full);
	ok(strstr(text, "Usage: lamina full [OPTION]... A B...\n") == text, "usage");
	ok(strstr(text, "\n  -f, --flag              one line\n"), "a letter and a name");
	ok(strstr(text, "\n      --no-letter X       some words"), "no letter, an argument");
	ok(strstr(text, "\n                          line, and then a bit further\n"),
	   "the second line stands under the first");
	ok(strstr(text, "\n      --maybe-this-name-is-long[=ARGUMENT]\n"
			"                          below\n"), "a long name has a line of its own");
	ok(strstr(text, "\nFirst paragraph.\n\nSecond paragraph.\n\nExit status: 0 done"),
	   "paragraphs");
	ok(widest(text) <= 80, "no line is wider than 80");
	ok(!strstr(text, " \n"), "none ends with a blank");

	free(text);
	wide.name = "twelve-long-";
	out = open_memstream(&text, &size);
	help_program(out, all, globals);
	(void)fclose(out);
	ok(strstr(text, "\nCommands:\n  plain       Does nothing.\n  full        Has all"),
	   "the program lists its commands");
	ok(strstr(text, "\n  twelve-long-\n              Does nothing.\n"),
	   "a long name has a line of its own");
	ok(strstr(text, "\n  -a, --all               for all\n"), "and its options");
	ok(widest(text) <= 80, "no line is wider than 80");
	free(text);
	return tap_done();
}
