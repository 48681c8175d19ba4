/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/map.h"
#include "src/cli/out.h"

#include "store/base/io.h"

#include <fcntl.h>

struct args {
	const char *image;
	const char *svg;
};

static const struct opt opts[] = {
	{OPT_TEXT, "image", 'i', OPT_TO(struct args, image), "NAME", "memfile rootfs state",
	 "this image only"},
	{OPT_TEXT, "svg", 0, OPT_TO(struct args, svg), "OUT", "@file",
	 "write a picture to OUT instead ('-': standard output)"},
	OPT_TABLE_END
};

static const char *const states[] = {
	[MAP_ZERO] = "zero", [MAP_SAME] = "same", [MAP_CHANGED] = "changed",
};

/* --- JSON: runs of frames that are alike, changed ones one by one --- */

static uint64_t alike(const struct map_image *mi, uint64_t first)
{
	uint64_t n = 1;

	if (mi->frame[first].state == MAP_CHANGED)
		return 1;
	while (first + n < mi->image->nframes &&
	       mi->frame[first + n].state == mi->frame[first].state)
		n++;
	return n;
}

static json_t *frames_json(const struct map_image *mi)
{
	json_t *list = json_array(), *item;
	uint64_t n;

	for (uint64_t at = 0; list && at < mi->image->nframes; at += n) {
		const struct map_frame *f = &mi->frame[at];

		n = alike(mi, at);
		item = json_pack("{s:I, s:I, s:s}", "frame", (json_int_t)at, "count", (json_int_t)n,
				 "state", states[f->state]);
		if (f->state == MAP_CHANGED)
			(void)json_object_update_new(
				item, json_pack("{s:i, s:i, s:i, s:I}", "pages_data", f->data,
						"pages_changed", f->changed, "pages_new", f->fresh,
						"new_bytes", (json_int_t)f->fresh_bytes));
		if (json_array_append_new(list, item) < 0)
			break;
	}
	return list;
}

static json_t *image_json(const struct map_image *mi)
{
	const struct map_sum *sum = &mi->sum;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
			 "image", mi->image->name, "size", (json_int_t)mi->image->size,
			 "frames_zero", (json_int_t)sum->frames[MAP_ZERO],
			 "frames_same", (json_int_t)sum->frames[MAP_SAME],
			 "frames_changed", (json_int_t)sum->frames[MAP_CHANGED],
			 "pages_data", (json_int_t)sum->data,
			 "pages_changed", (json_int_t)sum->changed,
			 "pages_new", (json_int_t)sum->fresh,
			 "new_bytes", (json_int_t)sum->fresh_bytes,
			 "frames", frames_json(mi));
}

static json_t *packs_json(const struct map *map)
{
	json_t *list = json_array();

	for (size_t i = 0; i < map->npacks; i++)
		if (json_array_append_new(list, json_pack("{s:I, s:I, s:I}", "pack",
							  (json_int_t)map->pack[i].number, "pages",
							  (json_int_t)map->pack[i].pages, "bytes",
							  (json_int_t)map->pack[i].bytes)) < 0)
			break;
	return list;
}

static int print_json(struct cli *cli, const struct map *map)
{
	json_t *images = json_array();

	for (unsigned i = 0; i < map->nimages; i++)
		if (json_array_append_new(images, image_json(&map->image[i])) < 0)
			break;
	return out_json(json_pack("{s:o, s:o, s:o, s:o}", "layer", out_id(&map->layer->id),
				  "parent", map->compared ? out_id(&map->layer->parent)
							  : json_null(),
				  "images", images, "packs", packs_json(map)),
			&cli->err);
}

/* --- SVG --- */

static int write_svg(struct cli *cli, const struct map *map, const char *path)
{
	char *data = NULL;
	size_t len = 0;
	struct stat st;
	FILE *memory;
	int rc;

	if (!strcmp(path, "-")) {
		map_svg(stdout, map);
		return 0;
	}
	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return err_set(&cli->err, -EEXIST, "'%s' exists and is not a regular file", path);
	memory = open_memstream(&data, &len);
	if (!memory)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	map_svg(memory, map);
	rc = fclose(memory) == 0 ? io_replace_file(AT_FDCWD, path, data, len) : -ENOMEM;
	free(data);
	return rc < 0 ? err_sys(&cli->err, rc, "cannot write '%s'", path) : 0;
}

static enum map_style style(void)
{
	if (!isatty(STDOUT_FILENO) || !setlocale(LC_CTYPE, "") ||
	    strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		return MAP_LETTERS;
	return MAP_BLOCKS;
}

static int print(struct cli *cli, const struct map *map)
{
	const struct args *args = cli->args;

	if (args->svg)
		return write_svg(cli, map, args->svg);
	if (cli->json)
		return print_json(cli, map);
	map_text(stdout, map, style());
	return 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct layer *layer = NULL;
	struct map map;
	int rc;

	(void)argc;
	if (args->svg && cli->json)
		return cli_usage(cli, "--svg and --json exclude each other");
	rc = cli_open(cli);
	if (rc == 0)
		rc = cli_layer_open(cli, argv[0], &layer);
	if (rc == 0)
		rc = map_load(cli->store, layer, args->image, &map, &cli->err);
	layer_unref(layer);
	if (rc < 0)
		return rc;
	rc = print(cli, &map);
	map_fini(&map);
	return rc;
}

const struct cmd cmd_map = {
	.name = "map",
	.operands = "LAYER",
	.purpose = "Draws a layer frame by frame: what it changed, and where its bytes are.",
	.task = "draw the map",
	.notes = "One cell is a frame of 2 MiB, 64 in a row; rows in which nothing happens are "
		 "folded. On a terminal that knows UTF-8 a changed frame is a block as high as "
		 "its changed part, orange if some of its pages are new, blue if all of them "
		 "are zero or were known elsewhere. Otherwise '.' is zero, '=' the same as in "
		 "the parent, 1 to 8 the eighths that changed with new pages, a to h without. "
		 "New is a page that no layer committed before holds, and its bytes are its "
		 "part of its chunk. Below stands what each pack holds of the layer.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = 1,
	.words = "@layer",
	.run = run,
};
