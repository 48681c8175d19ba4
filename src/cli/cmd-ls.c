/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "src/cli/tags.h"
#include "store/attrs.h"
#include "store/base/buf.h"
#include "store/decide.h"
#include "store/info.h"

#define OURS "lamina."		/* attributes that commit wrote */

struct list {
	struct cli *cli;
	struct tags tags;
	struct table table;
	struct out_array json;
};

static const struct table_col cols[] = {
	{"layer", false}, {"created", false}, {"parent", false}, {"tags", false},
	{"images", false}, {"stored", true}, {"meta", false},
};

static void put(struct buf *b, const char *text)
{
	buf_bytes(b, text, strlen(text));
}

/* Ends the text and takes it out of the buffer; NULL without memory. */
static char *text_of(struct buf *b)
{
	buf_u8(b, '\0');
	if (buf_error(b) == 0)
		return (char *)b->data;
	buf_fini(b);
	return NULL;
}

static char *images_text(const struct cli *cli, const struct layer *l)
{
	char size[FMT_SIZE_LEN];
	struct buf b = {0};

	for (unsigned i = 0; i < l->nimages; i++) {
		put(&b, i ? ", " : "");
		put(&b, l->image[i].name);
		put(&b, " ");
		put(&b, cli_size(cli, size, l->image[i].size));
	}
	return text_of(&b);
}

static char *meta_text(const struct attrs *attrs)
{
	struct buf b = {0};

	for (size_t i = 0; i < attrs->n; i++) {
		if (!strncmp(attrs->v[i].key, OURS, strlen(OURS)))
			continue;
		put(&b, b.len ? " " : "");
		put(&b, attrs->v[i].key);
		put(&b, "=");
		put(&b, attrs->v[i].value);
	}
	return text_of(&b);
}

static bool stored_bytes(const struct attrs *attrs, uint64_t *ret)
{
	const char *text = attrs_get(attrs, "lamina.stored_bytes");

	return text && fmt_parse_u64(text, ret) == 0;
}

static int add_row(struct list *list, const struct layer *l, const struct attrs *attrs)
{
	char time[FMT_SIZE_LEN], id[CLI_ID_LEN], parent[CLI_ID_LEN], size[FMT_SIZE_LEN];
	char *tags = tags_text(&list->tags, &l->id);
	char *images = images_text(list->cli, l), *meta = meta_text(attrs);
	struct table *t = &list->table;
	uint64_t stored;
	bool good = tags && images && meta;

	if (good) {
		table_cell(t, "%s", cli_id(id, &l->id));
		table_cell(t, "%s", fmt_time(time, l->created));
		table_cell(t, "%s", l->has_parent ? cli_id(parent, &l->parent) : "-");
		table_cell(t, "%s", tags);
		table_cell(t, "%s", images);
		table_cell(t, "%s", stored_bytes(attrs, &stored)
					    ? cli_size(list->cli, size, stored) : "-");
		table_cell(t, "%s", meta);
	}
	free(tags);
	free(images);
	free(meta);
	return good ? 0 : err_set(&list->cli->err, -ENOMEM, "out of memory");
}

static json_t *images_json(const struct layer *l)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < l->nimages; i++)
		(void)json_array_append_new(list, json_pack("{s:s, s:I}", "name",
							    l->image[i].name, "size",
							    (json_int_t)l->image[i].size));
	return list;
}

static json_t *attributes_json(const struct attrs *attrs)
{
	json_t *object = json_object();

	for (size_t i = 0; i < attrs->n; i++)
		(void)json_object_set_new(object, info_attr_name(attrs->v[i].key),
					  json_string(attrs->v[i].value));
	return object;
}

static int add_json(struct list *list, const struct layer *l, const struct attrs *attrs)
{
	char time[32];
	uint64_t stored;
	bool known = stored_bytes(attrs, &stored);

	info_time(time, l->created);
	return out_array_add(
		&list->json,
		json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "layer", out_id(&l->id),
			  "parent", l->has_parent ? out_id(&l->parent) : json_null(),
			  "created", time, "tags", tags_json(&list->tags, &l->id),
			  "images", images_json(l),
			  "stored_bytes", known ? json_integer((json_int_t)stored) : json_null(),
			  "attributes", attributes_json(attrs)),
		&list->cli->err);
}

static int list_layer(struct list *list, const struct layer *l)
{
	struct cli *cli = list->cli;
	struct attrs attrs = {0};
	char hex[DIGEST_HEX_LEN];
	int rc;

	if (cli->quiet && !cli->json) {
		puts(fmt_hex(hex, l->id.b, DIGEST_LEN));
		return 0;
	}
	rc = attrs_load(cli->store, &l->id, &attrs, &cli->err);
	if (rc == 0)
		rc = cli->json ? add_json(list, l, &attrs) : add_row(list, l, &attrs);
	attrs_fini(&attrs);
	return rc;
}

static int on_row(void *ctx, const struct index_layer *row)
{
	struct list *list = ctx;
	struct layer *layer;
	int rc = cli_layer_of_row(list->cli, row, &layer);

	if (rc < 0)
		return rc;
	rc = list_layer(list, layer);
	layer_unref(layer);
	return rc;
}

static int list_layers(struct list *list)
{
	struct cli *cli = list->cli;
	int rc = tags_load(cli->store, &list->tags, &cli->err);

	if (rc < 0)
		return rc;
	if (cli->json)
		out_array_begin(&list->json, 0);
	rc = decide_layer_each(cli->store, on_row, list, &cli->err);
	if (cli->json) {
		out_array_end(&list->json);
		putchar('\n');
	}
	return rc;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct list list = {.cli = cli, .table = TABLE(cols)};
	int rc = cli_open(cli), printed = 0;

	(void)argc;
	(void)argv;
	if (rc == 0)
		rc = list_layers(&list);
	if (list.table.n || list.table.error)
		printed = table_print(&list.table, stdout);
	tags_fini(&list.tags);
	return rc ? rc : printed;
}

const struct cmd cmd_ls = {
	.name = "ls",
	.purpose = "Lists the layers, oldest first.",
	.task = "list layers",
	.notes = "Columns: the first digits of the layer's id, when it was committed, its "
		 "parent, its tags, its images and their sizes, the bytes that committing it "
		 "added to the store, and the metadata that was given. With --quiet only "
		 "whole ids.",
	.run = run,
};
