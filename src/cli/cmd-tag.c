/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "store/decide.h"

struct args {
	const char *wait;
};

static const struct opt opts[] = {
	CLI_OPT_WAIT(struct args),
	OPT_TABLE_END
};

struct list {
	struct cli *cli;
	struct table *table;
	struct out_array *json;
};

static int list_one(void *ctx, const char *name, const struct digest *id)
{
	struct list *list = ctx;
	char short_id[CLI_ID_LEN];

	if (list->cli->json)
		return out_array_add(list->json,
				     json_pack("{s:s, s:o}", "tag", name, "layer", out_id(id)),
				     &list->cli->err);
	if (list->cli->quiet) {
		puts(name);
		return 0;
	}
	table_cell(list->table, "%s", name);
	table_cell(list->table, "%s", cli_id(short_id, id));
	return 0;
}

static int list_tags(struct cli *cli)
{
	static const struct table_col cols[] = {{"tag", false}, {"layer", false}};
	struct table table = TABLE(cols);
	struct out_array json;
	struct list list = {cli, &table, &json};
	int rc;

	if (cli->json)
		out_array_begin(&json, 0);
	rc = decide_tag_each(cli->store, list_one, &list, &cli->err);
	if (cli->json) {
		out_array_end(&json);
		putchar('\n');
	}
	if (rc == 0 && (table.n || table.error))
		return table_print(&table, stdout);
	return rc;
}

static int set_tag(struct cli *cli, const char *name, const char *layer)
{
	const struct args *args = cli->args;
	struct digest id;
	uint64_t wait_ms;
	int rc = cli_wait(cli, args->wait, &wait_ms);

	if (rc == 0)
		rc = cli_layer_id(cli, layer, &id);
	if (rc == 0)
		rc = decide_tag(cli->store, name, &id, wait_ms, &cli->err);
	if (rc == 0 && cli->json)
		rc = out_json(json_pack("{s:s, s:o}", "tag", name, "layer", out_id(&id)),
			      &cli->err);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv)
{
	int rc;

	if (argc == 1)
		return cli_usage(cli, "which layer is '%s' to point at?", argv[0]);
	if (argc && !decide_tag_name_ok(argv[0]))
		return cli_usage(cli, "'%s' is no name for a tag", argv[0]);
	rc = cli_open(cli);
	if (rc < 0)
		return rc;
	return argc ? set_tag(cli, argv[0], argv[1]) : list_tags(cli);
}

const struct cmd cmd_tag = {
	.name = "tag",
	.operands = "[TAG LAYER]",
	.purpose = "Points TAG at LAYER, moving it if it exists; without operands lists "
		   "all tags.",
	.task = "tag",
	.notes = "A tag has 1 to 128 letters, digits, '.', '_' and '-', does not begin with "
		 "'.', and is not 64 hexadecimal digits.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.max = 2,
	.words = "@tag @layer",
	.run = run,
};
