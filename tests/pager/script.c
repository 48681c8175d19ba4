/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/pager/script.h"

#include <stdlib.h>
#include <string.h>

#include "tests/pager/tool.h"

void script_open(struct script *s, FILE *in)
{
	memset(s, 0, sizeof(*s));
	s->in = in;
}

void script_text(struct script *s, const char *text)
{
	memset(s, 0, sizeof(*s));
	s->line = strdup(text);
	if (!s->line)
		tool_fail("the script");
	s->rest = s->line;
}

void script_close(struct script *s)
{
	free(s->line);
	memset(s, 0, sizeof(*s));
}

static void word_begins(struct words *w, char *at)
{
	if (w->n == SCRIPT_WORDS)
		tool_die(TOOL_FAILED, "more than %u words", SCRIPT_WORDS);
	w->word[w->n++] = at;
}

/* One command, in place; what follows it is left in s->rest. */
static void split(struct script *s, struct words *ret)
{
	char *in, *out = s->rest, c;
	bool quoted = false, inside = false;

	memset(ret, 0, sizeof(*ret));
	for (in = out; (c = *in); in++) {
		if (!quoted && c == '#') {
			in += strcspn(in, "\n");
			c = *in;
		}
		if (!quoted && strchr(";\n", c))
			break;
		if (!quoted && strchr(" \t\r", c)) {
			if (inside)
				*out++ = '\0';
			inside = false;
			continue;
		}
		if (!inside)
			word_begins(ret, out);
		inside = true;
		if (c == '\'')
			quoted = !quoted;
		else
			*out++ = c;
	}
	if (quoted)
		tool_die(TOOL_FAILED, "a quote is open");
	if (inside)
		*out = '\0';
	s->rest = c ? in + 1 : NULL;
}

static bool refill(struct script *s)
{
	if (!s->in || getline(&s->line, &s->cap, s->in) < 0)
		return false;
	s->rest = s->line;
	return true;
}

bool script_next(struct script *s, struct words *ret)
{
	for (;;) {
		if (!s->rest && !refill(s))
			return false;
		split(s, ret);
		if (ret->n)
			return true;
	}
}

const char *words_next(struct words *w)
{
	return w->next < w->n ? w->word[w->next++] : NULL;
}

const char *words_need(struct words *w, const char *what)
{
	const char *word = words_next(w);

	if (!word)
		tool_die(TOOL_FAILED, "%s is missing", what);
	return word;
}

uint64_t words_number(struct words *w, const char *what)
{
	return tool_number(words_need(w, what));
}

bool words_is(struct words *w, const char *word)
{
	if (w->next == w->n || strcmp(w->word[w->next], word) != 0)
		return false;
	w->next++;
	return true;
}

void words_end(const struct words *w)
{
	if (w->next < w->n)
		tool_die(TOOL_FAILED, "what is '%s'?", w->word[w->next]);
}
