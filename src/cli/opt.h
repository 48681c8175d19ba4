/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * opt: command-line options from one table.
 *
 * A table says all there is to know of a command's options; getopt_long, the
 * text of --help and the shell's completion are made from it.  Values go into
 * a struct of the command's, each at its offset and of its kind's type:
 *
 *	struct args { bool dry_run; const char *tag; };
 *	static const struct opt opts[] = {
 *		{OPT_FLAG, "dry-run", 'n', OPT_TO(struct args, dry_run),
 *		 .help = "count only, write nothing"},
 *		{OPT_TEXT, "tag", 't', OPT_TO(struct args, tag), "TAG", "@tag",
 *		 "point TAG at the new layer"},
 *		OPT_TABLE_END
 *	};
 *
 * Texts are borrowed from argv.
 */
#ifndef LAMINA_CLI_OPT_H
#define LAMINA_CLI_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "store/base/err.h"

enum opt_kind {
	OPT_END,
	OPT_FLAG,	/* bool */
	OPT_TEXT,	/* const char *; the last one given counts */
	OPT_MAYBE,	/* const char *; the argument may be left out: "" */
	OPT_COUNT,	/* unsigned, above 0: 0 is one that was not given */
	OPT_RATIO,	/* double, above 0 up to 1 */
	OPT_WORDS,	/* struct opt_words; every one given, in order */
};

struct opt {
	enum opt_kind kind;
	const char *name;
	char letter;		/* or 0 */
	size_t to;
	const char *arg;	/* what its argument is called; NULL for a flag */
	/* How the argument is completed: "@file", "@dir", "@layer", "@tag",
	 * "@session", "@guest", "@live", "@image-file" (NAME=FILE), a list of words, or
	 * NULL: not at all. */
	const char *words;
	const char *help;
};

#define OPT_TO(type, field) offsetof(type, field)
#define OPT_TABLE_END {.kind = OPT_END}

/* Of several options that share one list, in the order they were given. */
struct opt_word {
	const struct opt *opt;
	const char *text;
};

struct opt_words {
	struct opt_word *v;
	size_t n;
	size_t cap;
};

/* A table and where its values go. */
struct opt_set {
	const struct opt *opts;
	void *to;
};

#define OPT_SETS 2
#define OPT_MAX 48	/* options of all sets together */

struct opt_parser {
	struct opt_set set[OPT_SETS];	/* one without a table is skipped */
	bool stop;			/* at the first operand; else operands go to the end */
};

/*
 * Parses argv[1] and on.  Returns the index of the first operand, or -EINVAL
 * (-ENOMEM) with a sentence that names the option.
 */
int opt_parse(const struct opt_parser *p, int argc, char **argv, struct err *err);

/* Frees the lists of a set's values. */
void opt_fini(const struct opt_set *set);

/* Finds an option by its name, or NULL. */
const struct opt *opt_find(const struct opt *opts, const char *name);

#endif
