/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/help.h"

#include <string.h>

#define WIDTH 79
#define HELP_COLUMN 26
#define COMMAND_COLUMN 14

static const char exit_status[] =
	"Exit status: 0 done, 1 failed, 2 wrong usage, 3 damage found, 4 busy (somebody "
	"else holds what is needed; the message says who).";

/* Prints `text` word by word from column `at`; further lines begin at `indent`. */
static void wrap(FILE *out, const char *text, int at, int indent)
{
	while (*text) {
		int len = (int)strcspn(text, " \n");

		if (at > indent && at + 1 + len > WIDTH) {
			fprintf(out, "\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			fputc(' ', out);
			at++;
		}
		fwrite(text, 1, (size_t)len, out);
		at += len;
		text += len;
		if (*text == '\n') {
			fprintf(out, "\n%*s", text[1] == '\n' ? 0 : indent, "");
			at = indent;
		}
		text += *text != '\0';
	}
	fputc('\n', out);
}

static void argument_text(const struct opt *o, char *out, size_t size)
{
	if (!o->arg)
		*out = '\0';
	else if (o->kind == OPT_MAYBE)
		(void)snprintf(out, size, "[=%s]", o->arg);
	else
		(void)snprintf(out, size, " %s", o->arg);
}

static void option_line(FILE *out, const struct opt *o)
{
	char arg[64], left[128], letter[8] = "    ";
	int len;

	argument_text(o, arg, sizeof(arg));
	if (o->letter)
		(void)snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	len = snprintf(left, sizeof(left), "  %s--%s%s", letter, o->name, arg);
	fputs(left, out);
	if (len + 2 > HELP_COLUMN)
		fprintf(out, "\n%*s", HELP_COLUMN, "");
	else
		fprintf(out, "%*s", HELP_COLUMN - len, "");
	wrap(out, o->help, HELP_COLUMN, HELP_COLUMN);
}

static void option_lines(FILE *out, const char *title, const struct opt *opts)
{
	if (!opts || opts->kind == OPT_END)
		return;
	fprintf(out, "\n%s:\n", title);
	for (; opts->kind != OPT_END; opts++)
		option_line(out, opts);
}

void help_command(FILE *out, const struct cmd *cmd, const struct opt *globals)
{
	bool options = cmd->opts && cmd->opts->kind != OPT_END;

	fprintf(out, "Usage: lamina %s%s%s%s\n", cmd->name, options ? " [OPTION]..." : "",
		cmd->operands ? " " : "", cmd->operands ? cmd->operands : "");
	wrap(out, cmd->purpose, 0, 0);
	option_lines(out, "Options", cmd->opts);
	option_lines(out, "Global options", globals);
	if (cmd->notes) {
		fputc('\n', out);
		wrap(out, cmd->notes, 0, 0);
	}
	fputc('\n', out);
	wrap(out, cmd->exits ? cmd->exits : exit_status, 0, 0);
}

/* A name that fills its column has a line to itself. */
static void command_line(FILE *out, const struct cmd *cmd)
{
	int len = fprintf(out, "  %s", cmd->name);

	if (len >= COMMAND_COLUMN)
		len = fprintf(out, "\n") - 1;
	fprintf(out, "%*s", COMMAND_COLUMN - len, "");
	wrap(out, cmd->purpose, COMMAND_COLUMN, COMMAND_COLUMN);
}

void help_program(FILE *out, const struct cmd *const *cmds, const struct opt *globals)
{
	fputs("Usage: lamina [OPTION]... COMMAND [ARGUMENT]...\n", out);
	wrap(out, "Keeps generations of microVM memory and disks as layers in one "
		  "content-addressed store.", 0, 0);
	fputs("\nCommands:\n", out);
	for (; *cmds; cmds++)
		command_line(out, *cmds);
	option_lines(out, "Options (before or after the command)", globals);
	fputs("\nA LAYER is named by a tag, its id, or the first digits (4 or more) of its "
	      "id.\n'lamina COMMAND --help' says more.\n\n", out);
	wrap(out, exit_status, 0, 0);
}
