/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/cli.h"
#include "src/cli/guest-provision.h"
#include "src/cli/verb.h"

struct args {
	const char *agent;
	struct guest_provision provision;
};

static const struct opt opts[] = {
	{OPT_TEXT, "agent", 'a', OPT_TO(struct args, agent), "FILE", "@file",
	 "provision: the agent's program (default: lamina-agent beside this one)"},
	GUEST_PROVISION_OPTS(struct args, provision),
	OPT_TABLE_END
};

static int run_provision(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;

	(void)argc;
	return guest_provision_run(cli, &args->provision, args->agent, argv[0]);
}

static const struct verb verbs[] = {
	{"provision", "ROOT", 1, 1, "provision the guest", GUEST_PROVISION_OPTIONS, run_provision},
	{.name = NULL}
};

static int run(struct cli *cli, int argc, char **argv)
{
	return verb_run(cli, verbs, argc, argv);
}

const struct cmd cmd_guest = {
	.name = "guest",
	.operands = "VERB [ARGUMENT]...",
	.purpose = "Prepares guests so that their snapshots stay small.",
	.task = "work on guests",
	.notes = "provision ROOT writes settings and the agent into the file system of a guest: a "
		 "directory, or an image of ext4.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = CMD_ANY,
	.words = "provision",
	.run = run,
};
