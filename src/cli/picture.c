/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A panel for each image (pages that changed) and one for the time that the guest stood still; in
 * it a row for each workload and configuration, all on one scale that begins at zero and has its
 * ticks under them.  Colours are legible on white and on black.
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
#define PANEL_GAP 38
#define AXIS 22				/* a scale and what is written at it */
#define HEAD 24
#define LABEL_LEN 110			/* bytes that fit into a line */
#define TICKS 8				/* about so many on a scale */
#define MILLISECONDS 1000.0

struct row {
	struct measure_key key;
	unsigned configuration;
	double *v;			/* malloc'd */
	size_t n;
	struct spread spread;
};

/* Of a panel: from 0 to `end`, ticks each `step`. */
struct scale {
	double end, step;
	int decimals;			/* of what is written at them */
	double factor;			/* pixels of a unit */
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

/* As many as fit, with "..." behind them where some do not. */
static void line(struct drawing *d, unsigned x, const char *class, const char *words)
{
	char cut[LABEL_LEN + 4];
	size_t len = strlen(words);

	if (len > LABEL_LEN) {
		for (len = LABEL_LEN; len && ((unsigned char)words[len] & 0xc0) == 0x80; len--)
			;
		(void)snprintf(cut, sizeof(cut), "%.*s...", (int)len, words);
		words = cut;
	}
	text(d, x, class, words);
	d->y += ROW;
}

/* In what its scale has: pages, milliseconds. */
static double unit_of(const struct row *row)
{
	return row->key.image ? 1 : MILLISECONDS;
}

/* A step of 1, 2 or 5 times a power of ten.  Of pages there are no halves. */
static struct scale scale_of(double max, bool whole)
{
	static const double factor[] = {2, 2.5, 2};	/* 1, 2, 5, 10 ... */
	struct scale s = {.step = whole ? 1 : 0.001, .decimals = whole ? 0 : 3};
	int at = 0;

	for (; s.step * TICKS < max; at++) {
		s.step *= factor[at % 3];
		if (at % 3 == 2 && s.decimals)
			s.decimals--;
	}
	do
		s.end += s.step;
	while (s.end < max);
	s.factor = SPAN / s.end;
	return s;
}

static void draw_row(struct drawing *d, const struct row *row, const struct scale *scale)
{
	const char *name = row->key.workload->name, *class = row->configuration ? "b" : "a";
	double factor = scale->factor * unit_of(row);
	char words[64];

	d->y += ROW;
	(void)snprintf(words, sizeof(words), "%s%s%s", name,
		       d->picture->configurations > 1 ? " " : "",
		       d->picture->configurations > 1 ? class : "");
	text(d, LEFT - 8, "o", words);
	fprintf(d->out, "<path class=\"l\" d=\"M%u %uh%u\"/>\n", LEFT, d->y - 4, SPAN);
	for (size_t i = 0; i < row->n; i++)
		fprintf(d->out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%u\" r=\"4\"/>", class,
			LEFT + row->v[i] * factor, d->y - 4);
	fprintf(d->out, "\n<path class=\"m%s\" d=\"M%.1f %uv12\"/>\n", class,
		LEFT + row->spread.median * factor, d->y - 10);
	(void)snprintf(words, sizeof(words), "%.*f", row->key.image ? 0 : 1,
		       row->spread.median * unit_of(row));
	text(d, LEFT + SPAN + 12, "t", words);
}

/* Under the rows, which are `height` high: a line up through them at each tick. */
static void draw_axis(struct drawing *d, const struct scale *s, unsigned height, const char *unit)
{
	d->y += 8;
	fprintf(d->out, "<path class=\"x\" d=\"M%u %uh%u\"/>\n", LEFT, d->y, SPAN);
	for (unsigned i = 0; i * s->step < s->end + s->step / 2; i++) {
		double x = LEFT + i * s->step * s->factor;

		fprintf(d->out, "<path class=\"g\" d=\"M%.1f %uv-%u\"/>"
			"<path class=\"x\" d=\"M%.1f %uv4\"/>"
			"<text x=\"%.1f\" y=\"%u\" class=\"n\">%.*f</text>\n",
			x, d->y, height, x, d->y, x, d->y + 16, s->decimals, i * s->step);
	}
	d->y += 16;
	text(d, LEFT - 16, "o", unit);
	d->y += AXIS - 8 - 16;
}

static void draw_panel(struct drawing *d, size_t first)
{
	const struct row *head = &d->rows.v[first];
	struct scale scale;
	double max = 0;
	char words[128];
	unsigned top;

	d->y += PANEL_GAP;
	if (head->key.image)
		(void)snprintf(words, sizeof(words), "%s: pages of 4 KiB that changed",
			       head->key.image);
	else
		(void)snprintf(words, sizeof(words), "How long the guest stood still");
	text(d, LEFT, "h", words);
	text(d, LEFT + SPAN + 12, "t", "median");
	for (size_t i = first; i < d->rows.n; i++)
		if (same_panel(head, &d->rows.v[i]) && d->rows.v[i].spread.max > max)
			max = d->rows.v[i].spread.max;
	scale = scale_of(max * unit_of(head), head->key.image != NULL);
	top = d->y;
	for (size_t i = first; i < d->rows.n; i++)
		if (same_panel(head, &d->rows.v[i]))
			draw_row(d, &d->rows.v[i], &scale);
	draw_axis(d, &scale, d->y - top, head->key.image ? "pages" : "ms");
}

static unsigned height_of(const struct drawing *d)
{
	unsigned height = HEAD + (d->picture->configurations + 2) * ROW + 12;

	for (size_t i = 0; i < d->rows.n; i++)
		height += ROW + (begins_panel(d, i) ? PANEL_GAP + AXIS : 0);
	return height;
}

static void begin(struct drawing *d)
{
	unsigned height = height_of(d);

	fprintf(d->out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
		"viewBox=\"0 0 %u %u\">\n"
		"<style>\n"
		"text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:11px;fill:#6e7781}\n"
		".h{font-size:13px;font-weight:600}.o{text-anchor:end}.n{text-anchor:middle}\n"
		".l{stroke:#8b949e;stroke-opacity:.3}.g{stroke:#8b949e;stroke-opacity:.15}\n"
		".x{stroke:#8b949e}.a{fill:#3f8ae0;fill-opacity:.6}\n"
		".b{fill:#f0883e;fill-opacity:.6}.ma{stroke:#3f8ae0;stroke-width:2}\n"
		".mb{stroke:#f0883e;stroke-width:2}.mk{stroke:#6e7781;stroke-width:2}\n"
		"</style>\n", WIDTH, height, WIDTH, height);
}

static void legend(struct drawing *d)
{
	d->y = HEAD;
	line(d, 16, "h", d->picture->title);
	for (unsigned i = 0; i < d->picture->configurations; i++) {
		fprintf(d->out, "<circle class=\"%c\" cx=\"20\" cy=\"%u\" r=\"4\"/>\n",
			'a' + (int)i, d->y - 4);
		line(d, 32, "t", d->picture->label[i]);
	}
	fprintf(d->out, "<path class=\"mk\" d=\"M20 %uv12\"/>\n", d->y - 10);
	text(d, 32, "t", "their median");
}

int picture_svg(FILE *out, const struct picture *picture)
{
	struct drawing d = {.out = out, .picture = picture};
	int rc = measure_each(picture->set, on_key, &d);

	if (rc == 0) {
		begin(&d);
		legend(&d);
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
