/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lamina: the administrator's tool.  Finds the subcommand, parses its options
 * and the global ones, runs it, and turns what it returns into a sentence and
 * an exit status.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/help.h"
#include "src/cli/out.h"

const struct cmd *const main_commands[] = {
	&cmd_init, &cmd_commit, &cmd_ls, &cmd_show, &cmd_log, &cmd_diff, &cmd_stat, &cmd_map,
	&cmd_export, &cmd_tag, &cmd_untag, &cmd_live, &cmd_trace, &cmd_rm, &cmd_prune, &cmd_gc,
	&cmd_verify, &cmd_recover, &cmd_mount, &cmd_umount, &cmd_pager,
	&cmd_guest, &cmd_pause, &cmd_resume,
	&cmd_measure_dirtying,
	&cmd_completion, &cmd_help, NULL,
};

const struct cmd *main_find(const char *name)
{
	for (size_t i = 0; main_commands[i]; i++)
		if (!strcmp(main_commands[i]->name, name))
			return main_commands[i];
	return NULL;
}

/*
 * A descriptor 0, 1 or 2 that is closed would be given to the next file that
 * is opened, and a message would be written into the store.
 */
static void fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", O_RDONLY);
}

static int check_operands(struct cli *cli, int argc)
{
	const struct cmd *cmd = cli->cmd;

	if (argc < cmd->min)
		return cli_usage(cli, "%s wants %s", cmd->name, cmd->operands);
	if (argc > cmd->max)
		return cli_usage(cli, cmd->operands ? "%s takes no more than %s"
						    : "%s takes no operands%s",
				 cmd->name, cmd->operands ? cmd->operands : "");
	return 0;
}

static int run_parsed(struct cli *cli, int argc, char **argv)
{
	int rc;

	if (cli->version || cli->help) {
		if (cli->version)
			printf("lamina %s\n", PACKAGE_VERSION);
		else
			help_command(stdout, cli->cmd, cli_globals);
		return CLI_DONE;
	}
	rc = check_operands(cli, argc);
	if (rc)
		return rc;
	rc = cli->cmd->run(cli, argc, argv);
	return rc < 0 ? cli_fail(cli, rc) : rc;
}

/*
 * mount(8) cannot know that a mounted store is not mounted by mount.fuse(8),
 * which runs the program after which its type is named: us.
 */
static bool is_remount(int argc, char **argv)
{
	return argc == 4 && !strcmp(argv[2], "-o") && strstr(argv[3], "remount");
}

/* argv[0] is the command's name. */
static int run_command(struct cli *cli, int argc, char **argv)
{
	const struct cmd *cmd = main_find(argv[0]);
	struct opt_parser parser = {.set = {{.to = NULL}, {cli_globals, cli}}};
	int rc;

	if (!cmd && is_remount(argc, argv))
		return cli_usage(cli, "'%s' cannot be remounted: unmount and mount it again",
				 argv[1]);
	if (!cmd)
		return cli_usage(cli, "there is no command '%s'", argv[0]);
	cli->cmd = cmd;
	cli->args = calloc(1, cmd->args_size + 1);
	if (!cli->args)
		return cli_fail(cli, -ENOMEM);
	parser.set[0] = (struct opt_set){cmd->opts, cli->args};
	rc = opt_parse(&parser, argc, argv, &cli->err);
	if (rc < 0)
		rc = cli_usage(cli, "%s", cli->err.text);
	else
		rc = run_parsed(cli, argc - rc, argv + rc);
	opt_fini(&parser.set[0]);
	free(cli->args);
	return rc;
}

static int run_program(struct cli *cli, int argc, char **argv)
{
	struct opt_parser parser = {.set = {{cli_globals, cli}}, .stop = true};
	int first = opt_parse(&parser, argc, argv, &cli->err);

	if (first < 0)
		return cli_usage(cli, "%s", cli->err.text);
	if (cli->version)
		printf("lamina %s\n", PACKAGE_VERSION);
	else if (first < argc)
		return run_command(cli, argc - first, argv + first);
	else if (cli->help)
		help_program(stdout, main_commands, cli_globals);
	else
		return cli_usage(cli, "which command?");
	return CLI_DONE;
}

int main(int argc, char **argv)
{
	struct cli cli = {0};
	int status, rc;

	fill_standard_descriptors();
	status = run_program(&cli, argc, argv);
	cli_end(&cli);
	rc = out_close();
	if (rc < 0) {
		fprintf(stderr, "lamina: cannot write to standard output: %s%s%s\n",
			strerror(-rc), *cli.done ? "; " : "", cli.done);
		status = status ? status : CLI_FAILED;
	}
	return status;
}
