/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/table.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fault.h"
#include "tests/tap.h"

static const struct table_col cols[] = {{"name", false}, {"size", true}, {"note", false}};

static char *text;

static int print(struct table *t)
{
	size_t size;
	FILE *out;
	int rc;

	free(text);
	out = open_memstream(&text, &size);
	rc = table_print(t, out);
	(void)fclose(out);
	return rc;
}

static void row(struct table *t, const char *name, int size, const char *note)
{
	table_cell(t, "%s", name);
	table_cell(t, "%d", size);
	table_cell(t, "%s", note);
}

static void layout(void)
{
	struct table t = TABLE(cols);

	print(&t);
	is_str(text, "name  size  note\n", "heads alone");
	row(&t, "a", 1, "x");
	row(&t, "longer", 123456, "");
	row(&t, "", 7, "last");
	print(&t);
	is_str(text, "name      size  note\n"
		     "a            1  x\n"
		     "longer  123456\n"
		     "             7  last\n", "columns are aligned and no line ends with blanks");
	is_int(t.n, 0, "the table is empty then");
	row(&t, "again", 2, "y");
	print(&t);
	is_str(text, "name   size  note\nagain     2  y\n", "and can be used again");
	table_cell(&t, "short");
	print(&t);
	is_str(text, "name   size  note\nshort\n", "a row may end early");
}

static void strangers(void)
{
	struct table t = TABLE(cols);
	char words[] = "a\tb\033[1mc\177d";
	char wide[] = "\xc3\xbc\xc2\x9b" "2J\xe2\x82\xac\xf0\x9f\x98\x80";
	char bytes[] = "\x9b" "2J\xff\xc3(\xe2\x82", end[] = "a\xc2";

	row(&t, "\xc3\xbc\xc3\xa4", 1, "two letters");
	row(&t, "abc", 2, "three\nlines\r");
	print(&t);
	is_str(text, "name  size  note\n"
		     "\xc3\xbc\xc3\xa4       1  two letters\n"
		     "abc      2  three?lines?\n", "letters are counted, control bytes shown as ?");
	is_str(table_clean(words), "a?b?[1mc?d", "escapes too");
	is_str(table_clean(wide), "\xc3\xbc??2J\xe2\x82\xac\xf0\x9f\x98\x80",
	       "control characters of two bytes too, and no others");
	is_str(table_clean(bytes), "?2J?" "?(??", "and what is no character");
	is_str(table_clean(end), "a?", "nor has an end");
}

static void no_memory(void)
{
	struct table t = TABLE(cols);
	int failed = 0, rc;

	for (unsigned long n = 1; n < 40; n++) {
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		for (int i = 0; i < 4; i++)
			row(&t, "a", i, "b");
		rc = table_print(&t, stderr);
		failed += rc == -ENOMEM;
		if (!fault_struck())
			break;
	}
	fault_disarm();
	ok(failed > 0, "every failed allocation is reported (%d)", failed);
	is_int(t.n, 0, "and nothing is left");
}

int main(void)
{
	layout();
	strangers();
	no_memory();
	free(text);
	return tap_done();
}
