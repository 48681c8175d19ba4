/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A panel for each image (pages that changed) and one for the time that the guest stood still; in
 * it a row for each workload and configuration, all on one scale that begins at zero.  Colours are
 * legible on white and on black.
 */
#include "src/cli/picture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/vec.h"

#define LEFT 96
#define SPAN 560			/* of the scale */
#define RIGHT 110			/* room for figures behind it */
#define WIDTH (LEFT + SPAN + RIGHT)
#define ROW 18
#define PANEL_GAP 34
#define HEAD 24
#define MILLISECONDS 1000.0

struct row {
	struct measure_key key;
	unsigned configuration;
	double *v;			/* malloc'd */
	size_t n;
	struct spread spread;
};

struct drawing {
	FILE *out;
	const struct picture *picture;
	VEC(struct row) rows;		/* those of a panel beside each other */
	unsigned y;
};

/* ---- gathering ---- */

static int add_row(struct drawing *d, const struct measure_key *key, unsigned configuration)
{
	struct row row = {.key = *key, .configuration = configuration};
	int rc = measure_gather(d->picture->set, key, configuration, &row.v, &row.n);

	if (rc == 0 && row.n)
		rc = spread_of(row.v, row.n, &row.spread);
	if (rc == 0 && row.n && vec_push(&d->rows, row) == 0)
		return 0;
	free(row.v);
	return rc < 0 ? rc : row.n ? -ENOMEM : 0;
}

static int on_key(void *ctx, const struct measure_key *key)
{
	struct drawing *d = ctx;
	int rc = 0;

	if (key->figure != MEASURE_CHANGED && key->figure != MEASURE_PAUSED)
		return 0;
	for (unsigned i = 0; rc == 0 && i < d->picture->configurations; i++)
		rc = add_row(d, key, i);
	return rc;
}

static bool same_panel(const struct row *a, const struct row *b)
{
	if (!a->key.image || !b->key.image)
		return a->key.image == b->key.image;
	return !strcmp(a->key.image, b->key.image);
}

static bool begins_panel(const struct drawing *d, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (same_panel(&d->rows.v[i], &d->rows.v[at]))
			return false;
	return true;
}

/* ---- drawing ---- */

static void put_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '<' || c == '>' || c == '&' || c == '"')
			fprintf(out, "&#%u;", c);
		else
			fputc(c < 0x20 || c == 0x7f ? '?' : c, out);
	}
}

static void text(const struct drawing *d, unsigned x, const char *class, const char *words)
{
	fprintf(d->out, "<text x=\"%u\" y=\"%u\" class=\"%s\">", x, d->y, class);
	put_escaped(d->out, words);
	fputs("</text>\n", d->out);
}

static double factor_of(const struct row *row)
{
	return row->key.image ? 1 : MILLISECONDS;
}

static void draw_row(struct drawing *d, const struct row *row, double scale)
{
	const char *name = row->key.workload->name, *class = row->configuration ? "b" : "a";
	double middle = LEFT + row->spread.median * scale;
	char words[64];

	d->y += ROW;
	(void)snprintf(words, sizeof(words), "%s%s%s", name,
		       d->picture->configurations > 1 ? " " : "",
		       d->picture->configurations > 1 ? class : "");
	text(d, LEFT - 8, "o", words);
	fprintf(d->out, "<path class=\"l\" d=\"M%u %uh%u\"/>\n", LEFT, d->y - 4, SPAN);
	for (size_t i = 0; i < row->n; i++)
		fprintf(d->out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%u\" r=\"4\"/>", class,
			LEFT + row->v[i] * scale, d->y - 4);
	fprintf(d->out, "\n<path class=\"m%s\" d=\"M%.1f %uv12\"/>\n", class, middle, d->y - 10);
	(void)snprintf(words, sizeof(words), "%.*f", row->key.image ? 0 : 1,
		       row->spread.median * factor_of(row));
	text(d, LEFT + SPAN + 10, "t", words);
}

static void draw_panel(struct drawing *d, size_t first)
{
	const struct row *head = &d->rows.v[first];
	double max = 0;
	char words[128];

	d->y += PANEL_GAP;
	if (head->key.image)
		(void)snprintf(words, sizeof(words), "%s: pages changed", head->key.image);
	else
		(void)snprintf(words, sizeof(words), "the guest stood still, in ms");
	text(d, LEFT, "h", words);
	for (size_t i = first; i < d->rows.n; i++)
		if (same_panel(head, &d->rows.v[i]) && d->rows.v[i].spread.max > max)
			max = d->rows.v[i].spread.max;
	for (size_t i = first; i < d->rows.n; i++)
		if (same_panel(head, &d->rows.v[i]))
			draw_row(d, &d->rows.v[i], max > 0 ? SPAN / max : 0);
}

static unsigned height_of(const struct drawing *d)
{
	unsigned height = HEAD + d->picture->configurations * ROW + 24;

	for (size_t i = 0; i < d->rows.n; i++)
		height += ROW + (begins_panel(d, i) ? PANEL_GAP : 0);
	return height;
}

static void begin(struct drawing *d)
{
	unsigned height = height_of(d);

	fprintf(d->out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
		"viewBox=\"0 0 %u %u\">\n"
		"<style>\n"
		"text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:11px;fill:#7d8590}\n"
		".h{font-size:13px;font-weight:600}.o{text-anchor:end}\n"
		".l{stroke:#8b949e;stroke-opacity:.3}.a{fill:#3f8ae0;fill-opacity:.6}\n"
		".b{fill:#f0883e;fill-opacity:.6}.ma{stroke:#3f8ae0;stroke-width:2}\n"
		".mb{stroke:#f0883e;stroke-width:2}\n"
		"</style>\n", WIDTH, height, WIDTH, height);
	d->y = HEAD;
	for (unsigned i = 0; i < d->picture->configurations; i++) {
		fprintf(d->out, "<circle class=\"%c\" cx=\"%u\" cy=\"%u\" r=\"4\"/>\n",
			'a' + (int)i, LEFT + 4, d->y - 4);
		text(d, LEFT + 14, "t", d->picture->label[i]);
		d->y += ROW;
	}
}

int picture_svg(FILE *out, const struct picture *picture)
{
	struct drawing d = {.out = out, .picture = picture};
	int rc = measure_each(picture->set, on_key, &d);

	if (rc == 0) {
		begin(&d);
		for (size_t i = 0; i < d.rows.n; i++)
			if (begins_panel(&d, i))
				draw_panel(&d, i);
		fputs("</svg>\n", out);
	}
	for (size_t i = 0; i < d.rows.n; i++)
		free(d.rows.v[i].v);
	vec_fini(&d.rows);
	return rc;
}
