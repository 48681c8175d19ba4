/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "src/cli/cli.h"
#include "src/cli/help.h"

static int run(struct cli *cli, int argc, char **argv)
{
	const struct cmd *cmd;

	if (argc == 0) {
		help_program(stdout, main_commands, cli_globals);
		return CLI_DONE;
	}
	cmd = main_find(argv[0]);
	if (!cmd)
		return cli_usage(cli, "there is no command '%s'", argv[0]);
	help_command(stdout, cmd, cli_globals);
	return CLI_DONE;
}

const struct cmd cmd_help = {
	.name = "help",
	.operands = "[COMMAND]",
	.purpose = "Prints what a command does, or which commands there are.",
	.task = "print help",
	.max = 1,
	.words = "@command",
	.run = run,
};
