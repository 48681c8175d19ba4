/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * resume-words: {placeholders} in the words of a command.
 */
#ifndef LAMINA_CLI_RESUME_WORDS_H
#define LAMINA_CLI_RESUME_WORDS_H

#include "store/base/err.h"

struct resume_word {
	const char *name;	/* NULL: the last one */
	const char *value;
};

/* -EINVAL: a word has a "{name}" that is none of `words`, which the sentence lists. */
int resume_words_check(char *const *argv, const struct resume_word *words, struct err *err);

/*
 * A copy of the NULL-terminated `argv` in which each "{name}" is its value, and "{{name}"
 * is "{name}"; braces around anything else stay, as do a shell's "${other}".  NULL: out of memory.
 */
char **resume_words_put(char *const *argv, const struct resume_word *words);
void resume_words_free(char **argv);	/* NULL is fine */

#endif
