/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verb: a command whose first operand says what is to be done.
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
	int (*run)(struct cli *cli, int argc, char **argv);	/* without the verb */
};

/*
 * Runs the verb argv[0] of `verbs`, which end with one without a name; while it runs,
 * cli->cmd has its task.  CLI_USAGE with a sentence for a verb, operands or options
 * that are not.
 */
int verb_run(struct cli *cli, const struct verb *verbs, int argc, char **argv);

#endif
