/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/vec.h"

#define GAP 2

/* vec.h's macros want these names. */
struct cells {
	char **v;
	size_t n;
	size_t cap;
};

/* Bytes of the UTF-8 character that begins here; 0: none does. */
static size_t char_len(const unsigned char *p)
{
	size_t len = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 :
		     *p >= 0xf0 && *p < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

static bool is_control(const unsigned char *p)
{
	return *p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0);
}

/* A byte that is no UTF-8 may be a control character to a terminal that wants none. */
char *table_clean(char *text)
{
	unsigned char *p = (unsigned char *)text;

	while (*p) {
		size_t len = char_len(p);

		if (len == 0 || is_control(p)) {
			len = len ? len : 1;
			memset(p, '?', len);
		}
		p += len;
	}
	return text;
}

void table_cell(struct table *t, const char *fmt, ...)
{
	struct cells cells = {t->cells, t->n, t->cap};
	va_list ap;
	char *text;
	int rc;

	va_start(ap, fmt);
	rc = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (rc < 0) {
		t->error = -ENOMEM;
		return;
	}
	if (vec_push(&cells, table_clean(text)) < 0) {
		free(text);
		t->error = -ENOMEM;
	}
	t->cells = cells.v;
	t->n = cells.n;
	t->cap = cells.cap;
}

/* Columns that a terminal needs: UTF-8 continuation bytes take none. */
static size_t width_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static size_t col_width(const struct table *t, size_t col)
{
	size_t width = width_of(t->cols[col].head), w;

	for (size_t i = col; i < t->n; i += t->ncols) {
		w = width_of(t->cells[i]);
		if (w > width)
			width = w;
	}
	return width;
}

struct line {
	FILE *out;
	size_t pending;		/* blanks owed, so that no line ends with them */
};

static void put(struct line *line, const struct table_col *col, const char *text, size_t width)
{
	size_t blanks = width - width_of(text);

	if (col->right)
		line->pending += blanks;
	if (*text) {
		fprintf(line->out, "%*s%s", (int)line->pending, "", text);
		line->pending = 0;
	}
	line->pending += GAP + (col->right ? 0 : blanks);
}

static void print_rows(const struct table *t, const size_t *widths, FILE *out)
{
	struct line line = {out, 0};

	for (size_t c = 0; c < t->ncols; c++)
		put(&line, &t->cols[c], t->cols[c].head, widths[c]);
	for (size_t i = 0; i < t->n; i++) {
		if (i % t->ncols == 0) {
			fputc('\n', out);
			line.pending = 0;
		}
		put(&line, &t->cols[i % t->ncols], t->cells[i], widths[i % t->ncols]);
	}
	fputc('\n', out);
}

int table_print(struct table *t, FILE *out)
{
	size_t *widths = calloc(t->ncols, sizeof(*widths));
	int rc = widths ? t->error : -ENOMEM;

	for (size_t c = 0; rc == 0 && c < t->ncols; c++)
		widths[c] = col_width(t, c);
	if (rc == 0)
		print_rows(t, widths, out);
	free(widths);
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){.cols = t->cols, .ncols = t->ncols};
	return rc;
}
