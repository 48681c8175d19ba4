/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The drawings; that the figures are right is seen in tests/cli/map.sh. */
#include "src/cli/map.h"

#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

#define FRAMES 600

static struct map_frame frames[FRAMES];
static struct map_pack packs[] = {{1, 100, 3000}, {7, 10, 1000}, {0x1a, 1, 6}};
static struct image image = {.name = "memfile", .size = (uint64_t)FRAMES * FRAME_SIZE - 5,
			     .nframes = FRAMES};
static struct layer layer = {.refs = 1, .id = {{0xab}}, .parent = {{0xcd}}, .has_parent = true};
static struct map map = {.layer = &layer, .compared = true, .nimages = 1, .pack = packs,
			 .npacks = 3};

static char *text;

static void eighths(void)
{
	static const unsigned pages[][2] = {
		{1, 1}, {64, 1}, {65, 2}, {128, 2}, {448, 7}, {449, 8}, {512, 8},
	};

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		struct map_frame f = {.changed = (uint16_t)pages[i][0]};

		is_int(map_eighths(&f), pages[i][1], "%u pages", pages[i][0]);
	}
}

static void folding(void)
{
	struct map_image mi = {.image = &image, .frame = frames};
	struct map_rows r;
	uint64_t at = 0, rows = 0;

	ok(map_next_rows(&mi, 0, &r) && r.folded && r.n == 576 && r.state == MAP_ZERO,
	   "all whole rows of zeros are one");
	ok(map_next_rows(&mi, 576, &r) && !r.folded && r.n == 24, "the last row is short");
	ok(!map_next_rows(&mi, 600, &r), "and the last");
	frames[130].state = MAP_SAME;
	ok(map_next_rows(&mi, 0, &r) && r.folded && r.n == 128, "up to a row that is not");
	ok(map_next_rows(&mi, 128, &r) && !r.folded && r.n == 64, "which stands alone");
	for (int i = 0; i < 64; i++)
		frames[256 + i].state = MAP_SAME;
	for (; map_next_rows(&mi, at, &r); at += r.n)
		rows++;
	is_int(at, FRAMES, "rows cover all frames");
	is_int(rows, 6, "zeros, mixed, zeros alone, same, zeros, the rest");
}

static void fill(void)
{
	memset(frames, 0, sizeof(frames));
	for (int i = 0; i < 64; i++)
		frames[i] = (struct map_frame){.state = MAP_SAME, .data = 512};
	for (int i = 1; i <= 8; i++) {
		frames[63 + i] = (struct map_frame){MAP_CHANGED, 512, (uint16_t)(64 * i),
						    (uint16_t)(32 * i), 4096};
		frames[71 + i] = (struct map_frame){MAP_CHANGED, 512, (uint16_t)(64 * i), 0, 0};
	}
	map.image[0] = (struct map_image){
		.image = &image, .frame = frames,
		.sum = {.frames = {520, 64, 16}, .changed = 4608, .fresh = 1152,
			.fresh_bytes = 32768},
	};
}

static void draw(void (*fn)(FILE *out))
{
	size_t size;
	FILE *out;

	free(text);
	out = open_memstream(&text, &size);
	fn(out);
	(void)fclose(out);
}

static void letters(FILE *out)
{
	map_text(out, &map, MAP_LETTERS);
}

static void blocks(FILE *out)
{
	map_text(out, &map, MAP_BLOCKS);
}

static void svg(FILE *out)
{
	map_svg(out, &map);
}

static void texts(void)
{
	draw(letters);
	ok(strstr(text, "layer ab0000000000 against its parent cd0000000000\n") == text, "a title");
	ok(strstr(text, "\nmemfile, 1.2 GiB\n600 frames: 520 zero, 64 same, 16 changed; "
			"4608 pages changed, 1152 of them new (32.0 KiB)\n"), "figures");
	ok(strstr(text, "\n 128.0 MiB  12345678abcdefgh................................"
			"................\n"), "eighths, new and known");
	ok(strstr(text, "\n 256.0 MiB  ........"), "offsets");
	ok(strstr(text, "(6 more rows like this)\n"), "folded rows");
	ok(strstr(text, "\n4006 B in 3 packs:\n00000001      3000 B  "
			"##############################\n"), "packs");
	ok(strstr(text, "\n0000001a         6 B\n") || strstr(text, "\n0000001a         6 B  \n"),
	   "a pack with next to nothing");
	ok(!strchr(text, '\033'), "no colours");

	draw(blocks);
	ok(strstr(text, "\033[38;5;208m▁▂▃▄▅▆▇█"
			"\033[94m▁▂▃▄▅▆▇█\033[90m··"), "blocks and colours");
	layer.has_parent = map.compared = false;
	draw(letters);
	ok(strstr(text, "layer ab0000000000 has no parent: all of it counts as changed\n") == text,
	   "no parent");
	layer.has_parent = map.compared = true;
}

static int count(const char *needle)
{
	int n = 0;

	for (const char *p = text; (p = strstr(p, needle)); p++)
		n++;
	return n;
}

static void pictures(void)
{
	unsigned width = 0, height = 0, y, most = 0;

	draw(svg);
	is_int(sscanf(text, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\"",
		      &width, &height), 2, "an SVG with a size");
	for (const char *p = text; (p = strstr(p, " y=\"")); p++)
		if (sscanf(p, " y=\"%u", &y) == 1 && y > most)
			most = y;
	ok(most < height && height < most + 60, "as high as its contents (%u, %u)", most, height);
	is_int(count("<title>frame "), 16 + 2, "a title on each changed cell, and in the legend");
	ok(strstr(text, "<title>frame 64 at 128.0 MiB: 64 pages changed, 32 new (4096 B)</title>"),
	   "with its figures");
	is_int(count("<title>pack "), 3, "a bar for each pack");
	is_int(count("<g>"), count("</g>"), "groups are closed");
	is_int(count("<text"), count("</text>"), "texts are closed");
	ok(strstr(text, "of zeros</text>"), "folded rows say what they are");
	ok(!strcmp(text + strlen(text) - 7, "</svg>\n"), "it ends");
}

int main(int argc, char **argv)
{
	(void)argv;
	eighths();
	folding();
	fill();
	texts();
	pictures();
	if (argc > 1)
		fputs(text, stderr);	/* to look at it */
	free(text);
	return tap_done();
}
