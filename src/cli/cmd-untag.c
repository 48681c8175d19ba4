/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "store/decide.h"

struct args {
	const char *wait;
};

static const struct opt opts[] = {
	CLI_OPT_WAIT(struct args),
	OPT_TABLE_END
};

static int print_json(struct cli *cli, int n, char **names)
{
	json_t *list = json_array();

	for (int i = 0; i < n; i++)
		if (json_array_append_new(list, json_string(names[i])) < 0)
			break;
	return out_json(json_pack("{s:o}", "untagged", list), &cli->err);
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct digest id;
	uint64_t wait_ms;
	int rc = cli_open(cli);

	if (rc == 0)
		rc = cli_wait(cli, args->wait, &wait_ms);
	for (int i = 0; rc == 0 && i < argc; i++)
		rc = decide_tag_find(cli->store, argv[i], &id, &cli->err);
	for (int i = 0; rc == 0 && i < argc; i++)
		rc = decide_untag(cli->store, argv[i], wait_ms, &cli->err);
	if (rc == 0 && cli->json)
		rc = print_json(cli, argc, argv);
	return rc;
}

const struct cmd cmd_untag = {
	.name = "untag",
	.operands = "TAG...",
	.purpose = "Removes tags; the layers that they pointed at stay.",
	.task = "untag",
	.notes = "If one of the tags does not exist, none is removed.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = CMD_ANY,
	.words = "@tag",
	.run = run,
};
