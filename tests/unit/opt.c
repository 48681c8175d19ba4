/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/opt.h"

#include <string.h>

#include "tests/tap.h"

struct args {
	bool flag;
	bool other;
	const char *text;
	const char *maybe;
	unsigned count;
	double ratio;
	struct opt_words words;
};

struct globals {
	bool json;
	const char *store;
};

static const struct opt opts[] = {
	{OPT_FLAG, "flag", 'f', OPT_TO(struct args, flag), NULL, NULL, "a flag"},
	{OPT_FLAG, "other", 0, OPT_TO(struct args, other), NULL, NULL, "without a letter"},
	{OPT_TEXT, "text", 't', OPT_TO(struct args, text), "TEXT", NULL, "a text"},
	{OPT_MAYBE, "maybe", 'm', OPT_TO(struct args, maybe), "TEXT", NULL, "or none"},
	{OPT_COUNT, "count", 'c', OPT_TO(struct args, count), "N", NULL, "a number"},
	{OPT_RATIO, "ratio", 0, OPT_TO(struct args, ratio), "R", NULL, "a ratio"},
	{OPT_WORDS, "one", 'o', OPT_TO(struct args, words), "WORD", NULL, "a word"},
	{OPT_WORDS, "two", 0, OPT_TO(struct args, words), "WORD", NULL, "of the same list"},
	OPT_TABLE_END
};

static const struct opt globals[] = {
	{OPT_FLAG, "json", 'j', OPT_TO(struct globals, json), NULL, NULL, "JSON"},
	{OPT_TEXT, "store", 's', OPT_TO(struct globals, store), "DIR", NULL, "the store"},
	OPT_TABLE_END
};

static struct args args;
static struct globals global;
static struct err err;

/* getopt permutes its argument, so each parse gets a copy. */
static char *argv[32];

static int parse(bool stop, const char *const words[])
{
	const struct opt_parser p = {.set = {{opts, &args}, {globals, &global}}, .stop = stop};
	int argc = 1;

	argv[0] = (char *)"program";
	while (words[argc - 1] && argc < 31) {
		argv[argc] = (char *)words[argc - 1];
		argc++;
	}
	argv[argc] = NULL;
	opt_fini(&p.set[0]);
	args = (struct args){0};
	global = (struct globals){0};
	err.text[0] = '\0';
	return opt_parse(&p, argc, argv, &err);
}

#define PARSE(...) parse(false, (const char *const[]){__VA_ARGS__, NULL})

static void values(void)
{
	is_int(parse(false, (const char *const[]){NULL}), 1, "nothing");
	is_int(PARSE("-f", "--text", "x", "--count=7", "--ratio", "0.5"), 7,
	       "all kinds");
	ok(args.flag && !args.other, "a flag");
	is_str(args.text, "x", "a text");
	is_int(args.count, 7, "a number");
	ok(args.ratio > 0.49 && args.ratio < 0.51, "a ratio");
	is_int(PARSE("--text=a", "-tb", "-t", "c"), 5, "given three times");
	is_str(args.text, "c", "the last one counts");
	is_int(PARSE("-ft", "x"), 3, "letters together");
	ok(args.flag && !strcmp(args.text, "x"), "have their values");
	is_int(PARSE("--tex", "y"), 3, "a prefix of a name");
	is_str(args.text, "y", "is that name");
	is_int(PARSE("--text="), 2, "an empty argument");
	is_str(args.text, "", "is empty");
}

static void maybe(void)
{
	PARSE("-f");
	ok(!args.maybe, "not given: NULL");
	is_int(PARSE("--maybe", "x"), 2, "without argument: the next word is an operand");
	is_str(args.maybe, "", "and it is empty");
	PARSE("--maybe=a,b");
	is_str(args.maybe, "a,b", "with one");
	PARSE("-mx");
	is_str(args.maybe, "x", "behind a letter");
}

static void words(void)
{
	PARSE("--one", "a", "--two=b", "-o", "c");
	is_int(args.words.n, 3, "all are kept");
	is_str(args.words.v[1].text, "b", "in order");
	is_str(args.words.v[0].opt->name, "one", "with the option that gave it");
	is_str(args.words.v[1].opt->name, "two", "each");
	opt_fini(&(struct opt_set){opts, &args});
	is_int(args.words.n, 0, "and freed");
}

static void operands(void)
{
	is_int(PARSE("a", "--flag", "b", "-j"), 3, "operands go to the end");
	ok(args.flag && global.json, "options of both tables are found");
	is_str(argv[3], "a", "the first operand");
	is_str(argv[4], "b", "the second");
	is_int(PARSE("--", "--flag"), 2, "-- ends the options");
	ok(!args.flag, "what follows is none");
	is_int(parse(true, (const char *const[]){"-j", "ls", "-f", NULL}), 2, "stop at an operand");
	ok(global.json && !args.flag, "what is behind it is not parsed");
}

static void bad(void)
{
	is_err(PARSE("--nosuch"), &err, -EINVAL, "unknown or ambiguous option '--nosuch'");
	is_err(PARSE("--o"), &err, -EINVAL, "unknown or ambiguous option '--o'");
	is_err(PARSE("-x"), &err, -EINVAL, "unknown option '-x'");
	is_err(PARSE("-fx"), &err, -EINVAL, "unknown option '-x'");
	is_err(PARSE("--text"), &err, -EINVAL, "option '--text' wants TEXT");
	is_err(PARSE("-t"), &err, -EINVAL, "option '--text' wants TEXT");
	is_err(PARSE("-s"), &err, -EINVAL, "option '--store' wants DIR");
	is_err(PARSE("--flag=yes"), &err, -EINVAL, "option '--flag' takes no argument");
	is_err(PARSE("--json=yes"), &err, -EINVAL, "option '--json' takes no argument");
	is_err(PARSE("--count", "x"), &err, -EINVAL, "--count: 'x' is not a number above 0");
	is_err(PARSE("--count", "0"), &err, -EINVAL, "--count: '0' is not a number above 0");
	is_err(PARSE("--count", "-1"), &err, -EINVAL, "--count: '-1' is not a number above 0");
	is_err(PARSE("--count", "4294967296"), &err, -EINVAL,
	       "--count: '4294967296' is not a number above 0");
	for (size_t i = 0; i < 6; i++) {
		const char *const texts[] = {"0", "1.01", "-0.5", "nan", "0.5x", ""};

		is_err(PARSE("--ratio", texts[i]), &err, -EINVAL,
		       "--ratio: '%s' is not a ratio above 0, at most 1", texts[i]);
	}
	PARSE("--ratio", "1");
	ok(args.ratio > 0.99, "1 is one");
}

int main(void)
{
	values();
	maybe();
	words();
	operands();
	bad();
	is_str(opt_find(opts, "count")->help, "a number", "an option by its name");
	ok(!opt_find(opts, "tim"), "whole names only");
	ok(!opt_find(NULL, "x"), "no table, no option");
	opt_fini(&(struct opt_set){opts, &args});
	return tap_done();
}
