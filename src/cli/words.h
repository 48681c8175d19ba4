/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* words: a line of options as a shell would split it, and words as a shell would take them. */
#ifndef LAMINA_CLI_WORDS_H
#define LAMINA_CLI_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "store/base/err.h"

#define WORDS_MAX 64

struct words {
	char *text;		/* that all of them are in */
	char *v[WORDS_MAX];
	size_t n;
};

/*
 * Splits at blanks; '...' and "..." keep what is in them as it is, and \ the character behind it
 * where it is not in '...'.  Nothing else is special.  -EINVAL: a quote is open, or there are too
 * many words.
 */
int words_split(const char *line, struct words *ret, struct err *err);
void words_fini(struct words *words);

/*
 * `template` with its one %s replaced by `word`, quoted for a shell, and %% by %; malloc'd.
 * -EINVAL: there is not one %s.
 */
int words_fill(const char *template, const char *word, char **ret, struct err *err);

#endif
