/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table: columns for people.  Cells are gathered row by row, then printed
 * under their heads, each column as wide as its widest cell.  The error of a
 * failed allocation sticks and table_print() returns it.
 */
#ifndef LAMINA_CLI_TABLE_H
#define LAMINA_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table_col {
	const char *head;
	bool right;		/* numbers stand to the right */
};

struct table {
	const struct table_col *cols;	/* borrowed */
	size_t ncols;
	char **cells;
	size_t n;
	size_t cap;
	int error;
};

#define TABLE(columns) \
	{.cols = (columns), .ncols = sizeof(columns) / sizeof((columns)[0])}

/*
 * The next cell.  Bytes that would move the cursor are shown as '?': a cell
 * may hold what somebody else wrote.
 */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints and empties the table.  A last row that is not full ends early.  -ENOMEM. */
int table_print(struct table *t, FILE *out);

/*
 * Puts '?' for control characters (of one byte and of two) and for what is no UTF-8, in place;
 * returns `text`.
 */
char *table_clean(char *text);

#endif
