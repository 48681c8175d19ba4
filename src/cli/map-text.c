/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/map.h"

#include "store/base/fmt.h"

#define LABEL 10		/* columns of a row's offset */
#define BAR 40
#define PACKS_SHOWN 16		/* more are counted, not listed */

/* How a style looks. */
struct look {
	const char *zero, *same;
	const char *known[9];	/* by eighths: nothing of what changed is new */
	const char *fresh[9];	/* some of it is */
	const char *quiet, *blue, *orange, *plain;	/* colours */
	const char *bar;
};

static const struct look letters = {
	.zero = ".", .same = "=",
	.known = {"", "a", "b", "c", "d", "e", "f", "g", "h"},
	.fresh = {"", "1", "2", "3", "4", "5", "6", "7", "8"},
	.quiet = "", .blue = "", .orange = "", .plain = "",
	.bar = "#",
};

static const struct look blocks = {
	.zero = "·", .same = "░",
	.known = {"", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	.fresh = {"", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	.quiet = "\033[90m", .blue = "\033[94m", .orange = "\033[38;5;208m",
	.plain = "\033[0m",
	.bar = "█",
};

static const char *colour_of(const struct look *look, const struct map_frame *f)
{
	if (f->state != MAP_CHANGED)
		return look->quiet;
	return f->fresh ? look->orange : look->blue;
}

static const char *sign_of(const struct look *look, const struct map_frame *f)
{
	if (f->state != MAP_CHANGED)
		return f->state == MAP_ZERO ? look->zero : look->same;
	return (f->fresh ? look->fresh : look->known)[map_eighths(f)];
}

static void rows(FILE *out, const struct look *look, const struct map_image *mi,
		 const struct map_rows *r)
{
	const struct map_frame *f = &mi->frame[r->first];
	uint64_t shown = r->folded ? MAP_ROW : r->n;
	char label[FMT_SIZE_LEN];
	const char *colour = "";

	fprintf(out, "%*s  ", LABEL, fmt_size(label, r->first << FRAME_SHIFT));
	for (; shown > 0; shown--, f++) {
		if (colour != colour_of(look, f))
			fputs(colour_of(look, f), out);
		colour = colour_of(look, f);
		fputs(sign_of(look, f), out);
	}
	fprintf(out, "%s\n", look->plain);
	if (r->folded)
		fprintf(out, "%*s  (%llu more rows like this)\n", LABEL, "",
			(unsigned long long)(r->n / MAP_ROW - 1));
}

static void image(FILE *out, const struct look *look, const struct map_image *mi)
{
	char size[FMT_SIZE_LEN], summary[MAP_SUMMARY_LEN];
	struct map_rows r;

	fprintf(out, "\n%s, %s\n%s\n", mi->image->name, fmt_size(size, mi->image->size),
		map_summary(summary, mi));
	for (uint64_t at = 0; map_next_rows(mi, at, &r); at += r.n)
		rows(out, look, mi, &r);
}

static void legend(FILE *out, const struct look *look)
{
	fprintf(out, "\na cell is a frame of 2 MiB: %s%s%s zero  %s%s%s same as in the parent\n",
		look->quiet, look->zero, look->plain, look->quiet, look->same, look->plain);
	fprintf(out, "changed, eighths of it: %s", look->orange);
	for (int i = 1; i <= 8; i++)
		fputs(look->fresh[i], out);
	fprintf(out, "%s with new pages  %s", look->plain, look->blue);
	for (int i = 1; i <= 8; i++)
		fputs(look->known[i], out);
	fprintf(out, "%s all known or zero\n", look->plain);
}

static void packs(FILE *out, const struct look *look, const struct map *map)
{
	uint64_t all = map_bytes(map);
	char size[FMT_SIZE_LEN];

	if (!map->npacks)
		return;
	fprintf(out, "\n%s in %zu pack%s:\n", fmt_size(size, all), map->npacks,
		map->npacks == 1 ? "" : "s");
	for (size_t i = 0; i < map->npacks && i < PACKS_SHOWN; i++) {
		const struct map_pack *p = &map->pack[i];
		unsigned width = (unsigned)((double)p->bytes / (double)all * BAR + 0.5);

		fprintf(out, "%08x  %10s  %s", p->number, fmt_size(size, p->bytes), look->blue);
		for (unsigned k = 0; k < width; k++)
			fputs(look->bar, out);
		fprintf(out, "%s\n", look->plain);
	}
	if (map->npacks > PACKS_SHOWN)
		fprintf(out, "and %zu packs more\n", map->npacks - PACKS_SHOWN);
}

void map_text(FILE *out, const struct map *map, enum map_style style)
{
	const struct look *look = style == MAP_BLOCKS ? &blocks : &letters;
	char id[13], parent[13];

	fprintf(out, "layer %s", fmt_hex(id, map->layer->id.b, 6));
	if (map->compared)
		fprintf(out, " against its parent %s\n",
			fmt_hex(parent, map->layer->parent.b, 6));
	else
		fprintf(out, "%s: all of it counts as changed\n", map->layer->has_parent ?
			", whose parent has been removed" : " has no parent");
	for (unsigned i = 0; i < map->nimages; i++)
		image(out, look, &map->image[i]);
	legend(out, look);
	packs(out, look, map);
}
