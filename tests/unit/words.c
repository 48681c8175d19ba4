/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/words.h"

#include "tests/fault.h"
#include "tests/tap.h"

static struct err err;

/* The words of `line` with | in between. */
static const char *split(const char *line)
{
	static char text[512];
	struct words words;
	size_t len = 0;

	if (words_split(line, &words, &err) < 0)
		return NULL;
	*text = '\0';
	for (size_t i = 0; i < words.n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i ? "|" : "",
					words.v[i]);
	words_fini(&words);
	return text;
}

static void test_split(void)
{
	char many[3 * WORDS_MAX + 8] = "";

	is_str(split(""), "", "no words");
	is_str(split("  \t\n"), "", "blanks alone");
	is_str(split("--collapse"), "--collapse", "one");
	is_str(split(" -a  b\tc\n"), "-a|b|c", "three");
	is_str(split("--reclaim '{\"sync\": 1}' x"), "--reclaim|{\"sync\": 1}|x", "what is quoted");
	is_str(split("\"a 'b' c\" 'd \"e\"'"), "a 'b' c|d \"e\"", "quotes in quotes");
	is_str(split("a'b c'd"), "ab cd", "a part");
	is_str(split("'' x \"\""), "|x|", "empty ones");
	is_str(split("a\\ b \"c\\\"d\" 'e\\f'"), "a b|c\"d|e\\f", "the character behind a \\");
	is_str(split("$HOME `x` *"), "$HOME|`x`|*", "nothing else is special");
	is_str(split("x\\"), "x\\", "a \\ at the end");
	is_str(split("'open"), NULL, "an open quote");
	is_str(err.text, "a quote is open in ''open'", "is said");
	for (size_t i = 0; i < WORDS_MAX; i++)
		strcat(many, "w ");
	ok(split(many), "as many as there may be");
	strcat(many, "w");
	is_str(split(many), NULL, "one more");
	is_str(err.text, "more than 64 words", "is said");
}

static const char *fill(const char *template, const char *word)
{
	static char text[256];
	char *got;

	if (words_fill(template, word, &got, &err) < 0)
		return NULL;
	(void)snprintf(text, sizeof(text), "%s", got);
	free(got);
	return text;
}

static void test_fill(void)
{
	is_str(fill("ssh web %s", "echo x"), "ssh web 'echo x'", "a word is quoted");
	is_str(fill("%s", "it's"), "'it'\\''s'", "also one with a quote");
	is_str(fill("a%%b %s c", ""), "a%b '' c", "%% is one");
	is_str(fill("ssh web", "x"), NULL, "none");
	is_str(err.text, "'ssh web' needs one %s, for the guest's command", "is said");
	is_str(fill("%s %s", "x"), NULL, "two");
	is_str(fill("%d %s", "x"), NULL, "another %%");
	is_str(fill("%s %", "x"), NULL, "a %% at the end");
}

static void test_shell(void)
{
	char *command;
	FILE *out;
	char got[64] = "";

	is_int(words_fill("printf %%s %s", "a 'b' \"c\" $d `e` \\", &command, &err), 0,
	       "for a shell");
	out = popen(command, "r");
	ok(out && fgets(got, sizeof(got), out), "which takes it");
	is_str(got, "a 'b' \"c\" $d `e` \\", "as it was");
	if (out)
		pclose(out);
	free(command);
}

static void test_memory(void)
{
	struct words words;

	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_err(words_split("a", &words, &err), &err, -ENOMEM, "out of memory");
	fault_disarm();
}

int main(void)
{
	test_split();
	test_fill();
	test_shell();
	test_memory();
	return tap_done();
}
