/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Colours are chosen to be legible on white and on black; there is no
 * background.  Quiet cells of a row are one path; a changed cell is filled
 * from below as far as it changed, new pages first, and says its figures when
 * pointed at.
 */
#include "src/cli/map.h"

#include <string.h>

#include "store/base/fmt.h"

#define CELL 10			/* a cell's width and height, and how far apart they stand */
#define CELL_HEIGHT 14
#define PITCH 12
#define ROW_PITCH 16
#define LEFT 76			/* room for a row's offset */
#define RIGHT 16
#define WIDTH (LEFT + MAP_ROW * PITCH + RIGHT)
#define FOLD 22			/* height of folded rows */
#define BAR 16
#define IMAGE_GAP 28
#define LEGEND_GAP 18

#define TEXT "#7d8590"
#define QUIET "#8b949e"
#define KNOWN "#3f8ae0"
#define FRESH "#f0883e"

struct svg {
	FILE *out;
	unsigned y;
};

static unsigned cell_x(uint64_t i)
{
	return LEFT + (unsigned)i * PITCH;
}

static void text(const struct svg *s, unsigned x, unsigned y, const char *class, const char *words)
{
	fprintf(s->out, "<text x=\"%u\" y=\"%u\" class=\"%s\">%s</text>\n", x, y, class, words);
}

/* --- frames --- */

/* A piece of a path. */
static void cell_path(const struct svg *s, unsigned x)
{
	fprintf(s->out, "M%u %uh%uv%uh-%uz", x, s->y, CELL, CELL_HEIGHT, CELL);
}

static void quiet_cells(const struct svg *s, const struct map_image *mi, const struct map_rows *r,
			enum map_state state)
{
	bool any = false;

	for (uint64_t i = 0; i < r->n; i++) {
		const struct map_frame *f = &mi->frame[r->first + i];
		/* What changed is drawn over a cell that shows what is there now. */
		bool data = f->state == MAP_SAME || (f->state == MAP_CHANGED && f->data);

		if (data != (state == MAP_SAME))
			continue;
		if (!any)
			fprintf(s->out, "<path class=\"%s\" d=\"", data ? "s" : "z");
		any = true;
		cell_path(s, cell_x(i));
	}
	if (any)
		fputs("\"/>\n", s->out);
}

static double height_of(unsigned pages)
{
	double h = (double)pages * CELL_HEIGHT / FRAME_PAGES;

	return pages && h < 1.5 ? 1.5 : h;
}

/* Fills a cell from `from` above its bottom. */
static void fill(const struct svg *s, const char *class, unsigned x, double from, double height)
{
	if (height > 0)
		fprintf(s->out, "<rect class=\"%s\" x=\"%u\" y=\"%.1f\" width=\"%u\" "
			"height=\"%.1f\"/>", class, x, s->y + CELL_HEIGHT - from - height, CELL,
			height);
}

static void changed_cell(const struct svg *s, const struct map_frame *f, uint64_t pgno, unsigned x)
{
	double fresh = height_of(f->fresh), known = height_of(f->changed - f->fresh);
	char at[FMT_SIZE_LEN], bytes[FMT_SIZE_LEN];

	if (fresh + known > CELL_HEIGHT)
		*(fresh > known ? &fresh : &known) = CELL_HEIGHT - (fresh > known ? known : fresh);
	fprintf(s->out, "<g><title>frame %llu at %s: %u pages changed, %u new (%s)</title>",
		(unsigned long long)pgno, fmt_size(at, pgno << FRAME_SHIFT), f->changed, f->fresh,
		fmt_size(bytes, f->fresh_bytes));
	fill(s, "k", x, fresh, known);
	fill(s, "n", x, 0, fresh);
	fputs("</g>\n", s->out);
}

static void row(struct svg *s, const struct map_image *mi, const struct map_rows *r)
{
	char label[FMT_SIZE_LEN];

	text(s, LEFT - 8, s->y + CELL_HEIGHT - 4, "o", fmt_size(label, r->first << FRAME_SHIFT));
	quiet_cells(s, mi, r, MAP_ZERO);
	quiet_cells(s, mi, r, MAP_SAME);
	for (uint64_t i = 0; i < r->n; i++)
		if (mi->frame[r->first + i].state == MAP_CHANGED)
			changed_cell(s, &mi->frame[r->first + i], r->first + i, cell_x(i));
	s->y += ROW_PITCH;
}

static void fold(struct svg *s, const struct map_rows *r)
{
	char label[FMT_SIZE_LEN], size[FMT_SIZE_LEN], words[64];

	text(s, LEFT - 8, s->y + 14, "o", fmt_size(label, r->first << FRAME_SHIFT));
	fprintf(s->out, "<rect class=\"%s\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\"/>\n",
		r->state == MAP_SAME ? "s" : "z", LEFT, s->y, MAP_ROW * PITCH - PITCH + CELL,
		FOLD - ROW_PITCH + CELL_HEIGHT);
	(void)snprintf(words, sizeof(words), "%s %s", fmt_size(size, r->n << FRAME_SHIFT),
		       r->state == MAP_SAME ? "same as in the parent" : "of zeros");
	text(s, LEFT + MAP_ROW * PITCH / 2, s->y + 14, "m", words);
	s->y += FOLD;
}

static void image(struct svg *s, const struct map_image *mi)
{
	char size[FMT_SIZE_LEN], summary[MAP_SUMMARY_LEN], words[128];
	struct map_rows r;

	s->y += IMAGE_GAP;
	(void)snprintf(words, sizeof(words), "%s, %s", mi->image->name,
		       fmt_size(size, mi->image->size));
	text(s, LEFT, s->y, "h", words);
	s->y += 15;
	text(s, LEFT, s->y, "t", map_summary(summary, mi));
	s->y += 9;
	for (uint64_t at = 0; map_next_rows(mi, at, &r); at += r.n) {
		if (r.folded)
			fold(s, &r);
		else
			row(s, mi, &r);
	}
}

/* --- legend and packs --- */

/* One entry: a cell of class `class` with `f` in it (or NULL); where the next begins. */
static unsigned legend_entry(const struct svg *s, unsigned x, const char *class,
			     const struct map_frame *f, const char *words)
{
	fprintf(s->out, "<path class=\"%s\" d=\"", class);
	cell_path(s, x);
	fputs("\"/>\n", s->out);
	if (f)
		changed_cell(s, f, 0, x);
	text(s, x + CELL + 6, s->y + CELL_HEIGHT - 3, "t", words);
	return x + CELL + 6 + (unsigned)strlen(words) * 6 + 18;
}

static void legend(struct svg *s)
{
	static const struct map_frame known = {.changed = 256};
	static const struct map_frame fresh = {.changed = 384, .fresh = 160};
	unsigned x = LEFT;

	s->y += LEGEND_GAP;
	x = legend_entry(s, x, "z", NULL, "zero");
	x = legend_entry(s, x, "s", NULL, "same as in the parent");
	x = legend_entry(s, x, "s", &known, "changed, known elsewhere or zero");
	x = legend_entry(s, x, "s", &fresh, "of these, new");
	text(s, x, s->y + CELL_HEIGHT - 3, "t", "a cell is 2 MiB");
	s->y += CELL_HEIGHT;
}

static void packs(struct svg *s, const struct map *map)
{
	double all = (double)map_bytes(map), at = LEFT;
	char size[FMT_SIZE_LEN], words[96];

	if (!map->npacks)
		return;
	s->y += 24;
	(void)snprintf(words, sizeof(words), "%s, in %zu pack%s",
		       fmt_size(size, map_bytes(map)), map->npacks, map->npacks == 1 ? "" : "s");
	text(s, LEFT, s->y, "t", words);
	s->y += 7;
	for (size_t i = 0; i < map->npacks; i++) {
		const struct map_pack *p = &map->pack[i];
		double w = (double)p->bytes / all * (MAP_ROW * PITCH - 2);

		fprintf(s->out, "<g><title>pack %08x: %s</title><rect class=\"p%zu\" x=\"%.1f\" "
			"y=\"%u\" width=\"%.1f\" height=\"%u\"/></g>\n", p->number,
			fmt_size(size, p->bytes), i % 2, at, s->y, w > 1 ? w - 1 : w, BAR);
		(void)snprintf(words, sizeof(words), "%x", p->number);
		if (w > 9 * (double)strlen(words))
			text(s, (unsigned)(at + w / 2), s->y + BAR - 4, "b", words);
		at += w;
	}
	s->y += BAR;
}

/* --- the document --- */

static unsigned rows_height(const struct map_image *mi)
{
	struct map_rows r;
	unsigned height = IMAGE_GAP + 24;

	for (uint64_t at = 0; map_next_rows(mi, at, &r); at += r.n)
		height += r.folded ? FOLD : ROW_PITCH;
	return height;
}

static unsigned height_of_all(const struct map *map)
{
	unsigned height = 22 + LEGEND_GAP + CELL_HEIGHT + (map->npacks ? 31 + BAR : 0) + 12;

	for (unsigned i = 0; i < map->nimages; i++)
		height += rows_height(&map->image[i]);
	return height;
}

static void head(const struct svg *s, unsigned height)
{
	fprintf(s->out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
		"viewBox=\"0 0 %u %u\">\n"
		"<style>\n"
		"text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:11px;fill:%s}\n"
		".h{font-size:14px;font-weight:600}.o{text-anchor:end;font-size:9px}\n"
		".m{text-anchor:middle;font-size:10px}\n"
		".b{text-anchor:middle;font-size:9px;fill:#fff}\n"
		".z{fill:%s;fill-opacity:.12}.s{fill:%s;fill-opacity:.45}\n"
		".k{fill:%s}.n{fill:%s}.p0{fill:#57606a}.p1{fill:#7d8590}\n"
		"</style>\n",
		WIDTH, height, WIDTH, height, TEXT, QUIET, QUIET, KNOWN, FRESH);
}

void map_svg(FILE *out, const struct map *map)
{
	struct svg s = {.out = out, .y = 22};
	char id[13], parent[13], words[96];

	head(&s, height_of_all(map));
	(void)snprintf(words, sizeof(words), "layer %s%s%s", fmt_hex(id, map->layer->id.b, 6),
		       map->compared ? " against its parent " : ", no parent to compare with",
		       map->compared ? fmt_hex(parent, map->layer->parent.b, 6) : "");
	text(&s, LEFT, s.y, "h", words);
	for (unsigned i = 0; i < map->nimages; i++)
		image(&s, &map->image[i]);
	legend(&s);
	packs(&s, map);
	fputs("</svg>\n", out);
}
