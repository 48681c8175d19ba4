/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/resume-words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one that `text` begins with, in braces. */
static const struct resume_word *find(const char *text, const struct resume_word *words)
{
	for (; words->name; words++) {
		size_t len = strlen(words->name);

		if (!strncmp(text + 1, words->name, len) && text[len + 1] == '}')
			return words;
	}
	return NULL;
}

static char *put(const char *text, const struct resume_word *words)
{
	char *ret = NULL;
	size_t len;
	FILE *out = open_memstream(&ret, &len);

	if (!out)
		return NULL;
	while (*text) {
		const struct resume_word *word = *text == '{' ? find(text, words) : NULL;

		if (word)
			fputs(word->value, out);
		else
			fputc(*text, out);
		text += word ? strlen(word->name) + 2 : 1;
	}
	if (fclose(out) == 0)
		return ret;
	free(ret);
	return NULL;
}

char **resume_words_put(char *const *argv, const struct resume_word *words)
{
	size_t n = 0;
	char **ret;

	while (argv[n])
		n++;
	ret = calloc(n + 1, sizeof(*ret));
	for (size_t i = 0; ret && i < n; i++) {
		ret[i] = put(argv[i], words);
		if (!ret[i]) {
			resume_words_free(ret);
			return NULL;
		}
	}
	return ret;
}

void resume_words_free(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}
