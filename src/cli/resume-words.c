/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/resume-words.h"

#include <stdbool.h>
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

/* Of what looks like one of ours, in braces: its length; else 0. */
static size_t look(const char *text)
{
	size_t len = *text == '{' ? strspn(text + 1, "abcdefghijklmnopqrstuvwxyz_") : 0;

	return len && text[len + 1] == '}' ? len + 2 : 0;
}

static char *put(const char *text, const struct resume_word *words)
{
	char *ret = NULL;
	size_t len;
	FILE *out = open_memstream(&ret, &len);

	if (!out)
		return NULL;
	while (*text) {
		bool literal = *text == '{' && look(text + 1);
		const struct resume_word *word = *text == '{' ? find(text, words) : NULL;
		size_t n = literal ? 1 + look(text + 1) : word ? look(text) : 1;

		if (word)
			fputs(word->value, out);
		else
			fwrite(text + literal, 1, n - literal, out);
		text += n;
	}
	if (fclose(out) == 0)
		return ret;
	free(ret);
	return NULL;
}

static const char *unknown_in(const char *text, const struct resume_word *words)
{
	for (const char *at = text; *at; at++) {
		bool shells = at > text && at[-1] == '$', literal = *at == '{' && look(at + 1);

		if (literal)
			at += look(at + 1);
		else if (look(at) && !shells && !find(at, words))
			return at;
	}
	return NULL;
}

int resume_words_check(char *const *argv, const struct resume_word *words, struct err *err)
{
	char names[256] = "";
	size_t used = 0;

	for (const struct resume_word *w = words; w->name && used < sizeof(names); w++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s{%s}",
					 w == words ? "" : w[1].name ? ", " : " and ", w->name);
	for (; *argv; argv++) {
		const char *bad = unknown_in(*argv, words);

		if (bad)
			return err_set(err, -EINVAL, "there is no '%.*s': there are %s, and "
				       "{%.*s stands for the text itself",
				       (int)(look(bad) > 64 ? 64 : look(bad)), bad, names,
				       (int)(look(bad) > 64 ? 64 : look(bad)), bad);
	}
	return 0;
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
