/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/option.h"

#include <getopt.h>

#include "tests/tap.h"

static const struct option options[] = {
	{"alpha", no_argument, NULL, 'a'},
	{"alps", no_argument, NULL, 'A'},
	{"beta", required_argument, NULL, 'b'},
	{NULL, 0, NULL, 0},
};

/* Reads a command line of `a` and `b` (or NULL) until something is wrong with it. */
static int parse(const char *a, const char *b, struct err *err)
{
	char *argv[] = {(char *)"prog", (char *)a, (char *)b, NULL};
	int letter;

	optind = 0;
	opterr = 0;
	while ((letter = getopt_long(b ? 3 : 2, argv, ":aAb:", options, NULL)) != -1)
		if (letter == ':' || letter == '?')
			return option_bad(argv, letter, err);
	return 0;
}

int main(void)
{
	struct err err = {""};

	is_int(parse("-a", "--beta=x", &err), 0, "nothing is wrong");
	is_err(parse("-a", "-x", &err), &err, -EINVAL, "unknown option '-x'");
	is_err(parse("-axb", NULL, &err), &err, -EINVAL, "unknown option '-x'");
	is_err(parse("--nosuch", "x", &err), &err, -EINVAL,
	       "unknown or ambiguous option '--nosuch'");
	is_err(parse("--al", "x", &err), &err, -EINVAL, "unknown or ambiguous option '--al'");
	is_err(parse("--alpha=x", NULL, &err), &err, -EINVAL,
	       "unknown or ambiguous option '--alpha=x'");
	is_err(parse("-a", "-b", &err), &err, -EINVAL, "option '-b' needs an argument");
	is_err(parse("-a", "--beta", &err), &err, -EINVAL, "option '--beta' needs an argument");
	is_int(parse("--al", NULL, NULL), -EINVAL, "nobody has to want the sentence");
	return tap_done();
}
