/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verb: a command whose first operand says what is to be done: its `verbs` (cmd.h) say what there
 * is, to verb_run() and to completion.
 */
#ifndef LAMINA_CLI_VERB_H
#define LAMINA_CLI_VERB_H

#include "src/cli/cmd.h"

struct cli;

struct verb {
	const char *name;
	const char *operands;	/* what it wants, for a sentence; NULL: nothing */
	int min, max;		/* of them */
	const char *task;	/* as cmd.h */
	const char *options;	/* " wait tag ": which of the command's it has */
	const char *words;	/* how its operands are completed, as in opt.h; or NULL */
	int (*run)(struct cli *cli, int argc, char **argv);	/* without the verb */
};

/*
 * A command's `run`: runs its verb argv[0]; while that runs, cli->cmd has its task.  CLI_USAGE with
 * a sentence for a verb, operands or options that are not.
 */
int verb_run(struct cli *cli, int argc, char **argv);

#endif
