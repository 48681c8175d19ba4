/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "src/cli/tags.h"
#include "store/info.h"

static const struct table_col cols[] = {
	{"layer", false}, {"created", false}, {"tags", false}, {"images", true},
};

struct chain {
	struct cli *cli;
	struct tags tags;
	struct table table;
	struct out_array json;
};

/* `l` NULL: it has been removed, only its name is left. */
static int add_json(struct chain *c, const struct digest *id, const struct layer *l)
{
	char time[32];

	if (!l)
		return out_array_add(&c->json,
				     json_pack("{s:o, s:b}", "layer", out_id(id), "removed", 1),
				     &c->cli->err);
	info_time(time, l->created);
	return out_array_add(&c->json,
			     json_pack("{s:o, s:b, s:o, s:s, s:o}", "layer", out_id(id),
				       "removed", 0, "parent",
				       l->has_parent ? out_id(&l->parent) : json_null(),
				       "created", time, "tags", tags_json(&c->tags, id)),
			     &c->cli->err);
}

static int add_row(struct chain *c, const struct digest *id, const struct layer *l)
{
	char time[FMT_SIZE_LEN], short_id[CLI_ID_LEN];
	char *tags = tags_text(&c->tags, id);

	if (!tags)
		return err_set(&c->cli->err, -ENOMEM, "out of memory");
	table_cell(&c->table, "%s", cli_id(short_id, id));
	table_cell(&c->table, "%s", l ? fmt_time(time, l->created) : "removed");
	table_cell(&c->table, "%s", tags);
	if (l)
		table_cell(&c->table, "%u", l->nimages);
	else
		table_cell(&c->table, "-");
	free(tags);
	return 0;
}

static int add(struct chain *c, const struct digest *id, const struct layer *l)
{
	char hex[DIGEST_HEX_LEN];

	if (c->cli->json)
		return add_json(c, id, l);
	if (!c->cli->quiet)
		return add_row(c, id, l);
	puts(fmt_hex(hex, id->b, DIGEST_LEN));
	return 0;
}

/* Adds `id` and says in it which comes next; 1: there is none. */
static int step(struct chain *c, struct digest *id)
{
	struct layer *l = NULL;
	int rc = layer_peek(c->cli->store, id, &l, &c->cli->err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	rc = add(c, id, l);
	if (rc == 0)
		rc = !l || !l->has_parent;
	if (rc == 0)
		*id = l->parent;
	layer_unref(l);
	return rc;
}

static int follow(struct chain *c, struct digest id)
{
	int rc;

	if (c->cli->json)
		out_array_begin(&c->json, 0);
	do
		rc = step(c, &id);
	while (rc == 0);
	if (c->cli->json) {
		out_array_end(&c->json);
		putchar('\n');
	}
	return rc < 0 ? rc : 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct chain c = {.cli = cli, .table = TABLE(cols)};
	struct digest id;
	int rc = cli_open(cli), printed = 0;

	(void)argc;
	if (rc == 0)
		rc = cli_layer_id(cli, argv[0], &id);
	if (rc == 0)
		rc = tags_load(cli->store, &c.tags, &cli->err);
	if (rc == 0)
		rc = follow(&c, id);
	if (c.table.n || c.table.error)
		printed = table_print(&c.table, stdout);
	tags_fini(&c.tags);
	return rc ? rc : printed;
}

const struct cmd cmd_log = {
	.name = "log",
	.operands = "LAYER",
	.purpose = "Shows the chain from a layer over its parents to the root.",
	.task = "show the chain",
	.notes = "Of a parent that has been removed only the id is known; the chain ends "
		 "there, and nothing is missing from the layers above it.",
	.min = 1,
	.max = 1,
	.words = "@layer",
	.run = run,
};
