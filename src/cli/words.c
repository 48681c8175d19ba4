/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- splitting ---- */

/* Copies a word from `*at` to `*to`, ended; false: a quote is open. */
static bool take_word(const char **at, char **to)
{
	char quote = 0;

	for (; **at && (quote || !strchr(" \t\n", **at)); (*at)++) {
		char c = **at;

		if (c == '\\' && quote != '\'' && (*at)[1])
			*(*to)++ = *++*at;
		else if (quote ? c == quote : c == '\'' || c == '"')
			quote = quote ? 0 : c;
		else
			*(*to)++ = c;
	}
	*(*to)++ = '\0';
	return !quote;
}

static int split(const char *line, struct words *words, struct err *err)
{
	char *to = words->text;

	for (const char *at = line + strspn(line, " \t\n"); *at; at += strspn(at, " \t\n")) {
		if (words->n == WORDS_MAX)
			return err_set(err, -EINVAL, "more than %u words", WORDS_MAX);
		words->v[words->n++] = to;
		if (!take_word(&at, &to))
			return err_set(err, -EINVAL, "a quote is open in '%s'", line);
	}
	return 0;
}

int words_split(const char *line, struct words *ret, struct err *err)
{
	struct words words = {.text = malloc(strlen(line) + WORDS_MAX + 1)};
	int rc = words.text ? split(line, &words, err)
			    : err_set(err, -ENOMEM, "out of memory");

	if (rc < 0)
		free(words.text);
	else
		*ret = words;
	return rc;
}

void words_fini(struct words *words)
{
	free(words->text);
	words->text = NULL;
	words->n = 0;
}

/* ---- filling ---- */

static void put_quoted(FILE *out, const char *word)
{
	fputc('\'', out);
	for (; *word; word++) {
		if (*word == '\'')
			fputs("'\\''", out);
		else
			fputc(*word, out);
	}
	fputc('\'', out);
}

/* How often %s was replaced; -1: there is another %. */
static int fill(FILE *out, const char *template, const char *word)
{
	int n = 0;

	for (const char *p = template; *p; p++) {
		if (*p != '%') {
			fputc(*p, out);
		} else if (*++p == 's') {
			put_quoted(out, word);
			n++;
		} else if (*p == '%') {
			fputc('%', out);
		} else {
			return -1;
		}
	}
	return n;
}

int words_fill(const char *template, const char *word, char **ret, struct err *err)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	int n;

	if (!out)
		return err_set(err, -ENOMEM, "out of memory");
	n = fill(out, template, word);
	if (fclose(out) != 0 || n != 1) {
		free(text);
		return n != 1 ? err_set(err, -EINVAL, "'%s' needs one %%s, for the guest's command",
					template) : err_set(err, -ENOMEM, "out of memory");
	}
	*ret = text;
	return 0;
}
