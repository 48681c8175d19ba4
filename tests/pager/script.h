/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * script: commands, one a line or between semicolons, of words.  'single
 * quotes' keep blanks, semicolons and '#' (a comment) in a word.
 */
#ifndef LAMINA_TESTS_PAGER_SCRIPT_H
#define LAMINA_TESTS_PAGER_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SCRIPT_WORDS 32

struct words {
	char *word[SCRIPT_WORDS];
	unsigned n;
	unsigned next;		/* the first that is not used up */
};

struct script {
	FILE *in;		/* NULL: `rest` is all there is */
	char *line;		/* malloc'd */
	size_t cap;
	char *rest;		/* of the line */
};

void script_open(struct script *s, FILE *in);
/* `text` is copied. */
void script_text(struct script *s, const char *text);
void script_close(struct script *s);
/* The next command that has a word; good until the next call.  False at the end. */
bool script_next(struct script *s, struct words *ret);

/* The next word, or NULL. */
const char *words_next(struct words *w);
/* The next word, or number; dies where there is none. */
const char *words_need(struct words *w, const char *what);
uint64_t words_number(struct words *w, const char *what);
/* Uses the next word up if it is this one. */
bool words_is(struct words *w, const char *word);
/* Dies when words are left over. */
void words_end(const struct words *w);

#endif
