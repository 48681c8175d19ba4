/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * help: the text of --help, at most 80 columns wide.
 */
#ifndef LAMINA_CLI_HELP_H
#define LAMINA_CLI_HELP_H

#include <stdio.h>

#include "src/cli/cmd.h"

/* `lamina CMD --help`; `globals` are the options that every command knows. */
void help_command(FILE *out, const struct cmd *cmd, const struct opt *globals);
/* `lamina --help`. */
void help_program(FILE *out, const struct cmd *const *cmds, const struct opt *globals);

#endif
