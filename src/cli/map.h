/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * map: a layer frame by frame: what it changed against its parent, and in
 * which packs its bytes are.  map-text.c and map-svg.c draw it.
 */
#ifndef LAMINA_CLI_MAP_H
#define LAMINA_CLI_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "store/base/err.h"
#include "store/layer.h"

struct store;

enum map_state {
	MAP_ZERO,	/* nothing but zeros, and so it was in the parent */
	MAP_SAME,	/* data, as in the parent */
	MAP_CHANGED,	/* at least one page differs from the parent's */
};

/* Page counts go up to 512. */
struct map_frame {
	uint8_t state;		/* enum map_state */
	uint16_t data;		/* pages that are not zero */
	uint16_t changed;	/* pages that differ from the parent */
	uint16_t fresh;		/* of these, new: see below */
	uint32_t fresh_bytes;	/* what those take in packs, about */
};

/*
 * A page is new if no layer that was committed before holds it, nor a frame
 * before this one; several copies of it in a frame are one.
 */
struct map_sum {
	uint64_t frames[MAP_CHANGED + 1];	/* by state */
	uint64_t data, changed, fresh;		/* pages */
	uint64_t fresh_bytes;
};

struct map_image {
	const struct image *image;	/* of the layer */
	struct map_frame *frame;	/* image->nframes of them */
	struct map_sum sum;
};

/* What a pack holds of the layer: each page once, as its part of its chunk. */
struct map_pack {
	uint32_t number;
	uint64_t pages;
	uint64_t bytes;
};

struct map {
	struct layer *layer;		/* referenced */
	bool compared;			/* false: no parent, or it has been removed */
	unsigned nimages;
	struct map_image image[IMAGES_MAX];
	struct map_pack *pack;		/* by number */
	size_t npacks;
};

/*
 * Reads the maps of the layer, its parent and all layers committed before it.
 * `only` names one image (-ENOENT if there is none), NULL: all.
 */
int map_load(struct store *store, struct layer *layer, const char *only, struct map *ret,
	     struct err *err);
void map_fini(struct map *map);

/* Eighths, 1 to 8, of a frame that differ; a single page is 1. */
unsigned map_eighths(const struct map_frame *f);

/* --- drawings --- */

enum map_style {
	MAP_LETTERS,	/* plain ASCII */
	MAP_BLOCKS,	/* block characters and colours: a UTF-8 terminal */
};

/* One cell a frame, 64 a row; rows of one kind are folded. */
void map_text(FILE *out, const struct map *map, enum map_style style);
/* One SVG document. */
void map_svg(FILE *out, const struct map *map);

/* "128 frames: 90 zero, 35 same, 3 changed; 17 pages changed, 12 of them new (9.1 KiB)". */
#define MAP_SUMMARY_LEN 200
char *map_summary(char out[MAP_SUMMARY_LEN], const struct map_image *mi);
uint64_t map_bytes(const struct map *map);	/* in all packs */

/* Cells are drawn in rows; rows in which all cells are zero, or all same, fold. */
#define MAP_ROW 64
struct map_rows {
	uint64_t first;		/* frame */
	uint64_t n;		/* frames; the last row may be short */
	bool folded;		/* several rows of one state */
	enum map_state state;	/* if folded */
};
/* The rows from frame `first` on: one, or as many as fold.  False at the end. */
bool map_next_rows(const struct map_image *mi, uint64_t first, struct map_rows *ret);

#endif
