/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd: what a subcommand is.  One file each, cmd-NAME.c, that defines cmd_NAME;
 * main.c lists them.  Everything that --help, completion and the dispatcher
 * know of a command is in here.
 */
#ifndef LAMINA_CLI_CMD_H
#define LAMINA_CLI_CMD_H

#include <stddef.h>

#include "src/cli/opt.h"

struct cli;
struct verb;

#define CMD_ANY 1000000		/* as many operands as wanted */

struct cmd {
	const char *name;
	const char *operands;	/* for the usage line, or NULL */
	const char *purpose;	/* one sentence; begins with a capital, ends with a stop */
	const char *task;	/* "list layers": what a failure says it cannot do */
	const char *interrupted;	/* what to know after Ctrl-C, or NULL */
	const char *notes;	/* more paragraphs for --help, or NULL */
	const char *exits;	/* its exit statuses for --help; NULL: those of lamina(1) */
	const struct opt *opts;	/* or NULL */
	size_t args_size;	/* of the struct that opts fill, zeroed before */
	int min, max;		/* operands */
	const char *words;	/* how operands are completed, as in opt.h; or NULL */
	const struct verb *verbs;	/* verb.h; ends with one without a name; or NULL */
	/*
	 * Options are in cli->args, operands in argv[0..argc-1].  Returns an exit
	 * status, or -errno with the sentence in cli->err, which the dispatcher
	 * prints.  What is open in `cli` is closed by the dispatcher too.
	 */
	int (*run)(struct cli *cli, int argc, char **argv);
};

extern const struct cmd cmd_commit;
extern const struct cmd cmd_completion;
extern const struct cmd cmd_diff;
extern const struct cmd cmd_export;
extern const struct cmd cmd_gc;
extern const struct cmd cmd_guest;
extern const struct cmd cmd_help;
extern const struct cmd cmd_init;
extern const struct cmd cmd_live;
extern const struct cmd cmd_log;
extern const struct cmd cmd_ls;
extern const struct cmd cmd_map;
extern const struct cmd cmd_measure_dirtying;
extern const struct cmd cmd_mount;
extern const struct cmd cmd_pager;
extern const struct cmd cmd_pause;
extern const struct cmd cmd_prune;
extern const struct cmd cmd_recover;
extern const struct cmd cmd_resume;
extern const struct cmd cmd_rm;
extern const struct cmd cmd_show;
extern const struct cmd cmd_stat;
extern const struct cmd cmd_tag;
extern const struct cmd cmd_trace;
extern const struct cmd cmd_umount;
extern const struct cmd cmd_untag;
extern const struct cmd cmd_verify;

/* All of them, in the order in which `lamina --help` shows them; ends with NULL. */
extern const struct cmd *const main_commands[];

/* By name, or NULL. */
const struct cmd *main_find(const char *name);

#endif
