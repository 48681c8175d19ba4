/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "store/decide.h"

struct args {
	bool force;
	const char *wait;
};

static const struct opt opts[] = {
	{OPT_FLAG, "force", 'f', OPT_TO(struct args, force), NULL, NULL,
	 "remove it with its tags, and even while its files are read: its bytes then stay "
	 "until the last reader has gone"},
	CLI_OPT_WAIT(struct args),
	OPT_TABLE_END
};

/* Each that can be removed is; the first failure is what is reported. */
static int remove_all(struct cli *cli, const struct digest *ids, int n, json_t *removed)
{
	const struct args *args = cli->args;
	struct err err;
	uint64_t wait_ms;
	int rc = cli_wait(cli, args->wait, &wait_ms), one;
	int first = rc;

	for (int i = 0; rc == 0 && i < n; i++) {
		one = decide_remove(cli->store, &ids[i], args->force, wait_ms, &err);
		if (one == 0)
			(void)json_array_append_new(removed, out_id(&ids[i]));
		else if (first == 0)
			cli->err = err;
		else
			cli_note(cli, "cannot %s: %s", cli->cmd->task, err.text);
		first = first ? first : one;
	}
	return first;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct digest *ids = calloc((size_t)argc, sizeof(*ids));
	json_t *removed = json_array();
	int rc = cli_open(cli), shown = 0;

	if (rc == 0 && (!ids || !removed))
		rc = err_set(&cli->err, -ENOMEM, "out of memory");
	for (int i = 0; rc == 0 && i < argc; i++)
		rc = cli_layer_id(cli, argv[i], &ids[i]);
	if (rc == 0) {
		rc = remove_all(cli, ids, argc, removed);
		shown = cli_show_removed(cli, rc, removed);
	}
	json_decref(removed);
	free(ids);
	return rc ? rc : shown;
}

const struct cmd cmd_rm = {
	.name = "rm",
	.operands = "LAYER...",
	.purpose = "Removes layers; gc frees their bytes afterwards.",
	.task = "remove",
	.notes = "A layer that has tags or is being read is refused, and the message says "
		 "which tags, or which processes; one on which a live image stands is refused "
		 "even with --force. A layer may be removed although others "
		 "are its children: they are whole without it, and its id stays in their "
		 "history. If one LAYER cannot be found, none is removed.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = CMD_ANY,
	.words = "@layer",
	.run = run,
};
