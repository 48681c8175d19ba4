/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "store/info.h"

static const struct table_col fields[] = {{"field", false}, {"value", false}};
static const struct table_col images[] = {
	{"image", false}, {"kind", false}, {"size", true}, {"frames", true}, {"data", true},
};

static void field(struct table *t, const char *name, const char *value)
{
	table_cell(t, "%s", name);
	table_cell(t, "%s", value ? value : "-");
}

static void add_names(struct table *t, const json_t *info, const char *list, const char *label)
{
	const json_t *name;
	size_t i;

	json_array_foreach(json_object_get(info, list), i, name)
		field(t, label, json_string_value(name));
}

static void add_attributes(struct table *t, json_t *info)
{
	const char *key;
	json_t *value;

	json_object_foreach(json_object_get(info, "attributes"), key, value)
		field(t, key, json_string_value(value));
}

static int print_fields(const struct layer *l, json_t *info)
{
	struct table t = TABLE(fields);
	char time[FMT_SIZE_LEN];

	field(&t, "layer", json_string_value(json_object_get(info, "layer")));
	field(&t, "parent", json_string_value(json_object_get(info, "parent")));
	field(&t, "created", fmt_time(time, l->created));
	add_names(&t, info, "tags", "tag");
	add_names(&t, info, "live", "live image");
	add_attributes(&t, info);
	return table_print(&t, stdout);
}

static void size_cell(const struct cli *cli, struct table *t, const json_t *v)
{
	char size[FMT_SIZE_LEN];

	table_cell(t, "%s", cli_size(cli, size, (uint64_t)json_integer_value(v)));
}

static int print_images(const struct cli *cli, const json_t *info)
{
	struct table t = TABLE(images);
	const json_t *image;
	size_t i;

	json_array_foreach(json_object_get(info, "images"), i, image) {
		table_cell(&t, "%s", json_string_value(json_object_get(image, "name")));
		table_cell(&t, "%s", json_string_value(json_object_get(image, "kind")));
		size_cell(cli, &t, json_object_get(image, "size"));
		table_cell(&t, "%lld", json_integer_value(json_object_get(image, "frames")));
		size_cell(cli, &t, json_object_get(image, "data_bytes"));
	}
	putchar('\n');
	return table_print(&t, stdout);
}

static int print(struct cli *cli, const struct layer *l, json_t *info)
{
	int rc;

	if (cli->json)
		return out_json(info, &cli->err);
	if (cli->quiet) {
		puts(json_string_value(json_object_get(info, "layer")));
		rc = 0;
	} else {
		rc = print_fields(l, info);
		if (rc == 0)
			rc = print_images(cli, info);
	}
	json_decref(info);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct layer *layer = NULL;
	json_t *info = NULL;
	int rc = cli_open(cli);

	(void)argc;
	if (rc == 0)
		rc = cli_layer_open(cli, argv[0], &layer);
	if (rc == 0)
		rc = info_layer(cli->store, layer, &info, &cli->err);
	if (rc == 0)
		rc = print(cli, layer, info);
	layer_unref(layer);
	return rc;
}

const struct cmd cmd_show = {
	.name = "show",
	.operands = "LAYER",
	.purpose = "Shows all that is known of a layer.",
	.task = "show the layer",
	.notes = "Its whole id, parent, tags, live images that stand on it, attributes (those "
		 "that begin with 'lamina.' "
		 "were written by commit), and of each image the size and how much of it is "
		 "not zero. The layer's Merkle root is checked first. With --json it prints "
		 "what info.json in the mount holds.",
	.min = 1,
	.max = 1,
	.words = "@layer",
	.run = run,
};
