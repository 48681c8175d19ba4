/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The script asks nothing of this program but tags, layers and sessions while it runs:
 * commands, options and words are written into it from the tables.
 */
#include <stdio.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/verb.h"

static void put_names(const struct opt *opts)
{
	for (; opts && opts->kind != OPT_END; opts++)
		printf(" --%s", opts->name);
}

/* "--tag|-t": a case's pattern for an option. */
static void put_pattern(const struct opt *o)
{
	printf("--%s", o->name);
	if (o->letter)
		printf("|-%c", o->letter);
}

/* One case for each option that takes an argument. */
static void put_arguments(const struct opt *opts, const char *indent)
{
	for (; opts && opts->kind != OPT_END; opts++) {
		if (!opts->arg)
			continue;
		printf("%s", indent);
		put_pattern(opts);
		printf(") words='%s'; return ;;\n", opts->words ? opts->words : "");
	}
}

static void put_commands(void)
{
	for (size_t i = 0; main_commands[i]; i++)
		printf("%s%s", i ? " " : "", main_commands[i]->name);
}

/* Options whose argument is not the command; --store has a case of its own. */
static void put_globals_with_argument(void)
{
	const char *between = "";

	for (const struct opt *o = cli_globals; o->kind != OPT_END; o++) {
		if (!o->arg || !strcmp(o->name, "store"))
			continue;
		fputs(between, stdout);
		put_pattern(o);
		between = "|";
	}
}

/* " wait tag " as " --wait --tag" */
static void put_options(const char *options)
{
	for (; *options; options++) {
		if (*options != ' ')
			putchar(*options);
		else if (options[1])
			fputs(" --", stdout);
	}
}

/* Which of the options a verb has; where none is said yet, the verbs are what can be said. */
static void put_verbs(const struct verb *verbs)
{
	printf("\t\toperands='");
	for (const struct verb *v = verbs; v->name; v++)
		printf("%s%s", v == verbs ? "" : " ", v->name);
	puts("'\n\t\tcase $verb in");
	for (const struct verb *v = verbs; v->name; v++) {
		printf("\t\t%s) operands='%s' options='", v->name, v->words ? v->words : "");
		put_options(v->options);
		puts("' ;;");
	}
	puts("\t\tesac");
}

static void put_command(const struct cmd *cmd)
{
	printf("\t%s)\n\t\toptions='", cmd->name);
	put_names(cmd->opts);
	puts("'");
	if (cmd->verbs)
		put_verbs(cmd->verbs);
	else
		printf("\t\toperands='%s'\n", cmd->words ? cmd->words : "");
	if (cmd->opts) {
		puts("\t\tcase $1 in");
		put_arguments(cmd->opts, "\t\t");
		puts("\t\tesac");
	}
	puts("\t\t;;");
}

static const char tail[] =
	"# Replies with what `words` allow for $cur.\n"
	"_lamina_reply() {\n"
	"\tlocal word list='' prefix=''\n"
	"\tfor word in $words; do\n"
	"\t\tcase $word in\n"
	"\t\t@file) compopt -o filenames; COMPREPLY+=($(compgen -f -- \"$cur\")) ;;\n"
	"\t\t@dir) compopt -o filenames; COMPREPLY+=($(compgen -d -- \"$cur\")) ;;\n"
	"\t\t@image-file)\n"
	"\t\t\tif [[ $cur == *=* ]]; then\n"
	"\t\t\t\tprefix=${cur%%=*}=\n"
	"\t\t\t\tcompopt -o filenames -o nospace\n"
	"\t\t\t\t[[ $COMP_WORDBREAKS == *=* ]] && prefix=\n"
	"\t\t\t\tCOMPREPLY+=($(compgen -P \"$prefix\" -f -- \"${cur#*=}\"))\n"
	"\t\t\telse\n"
	"\t\t\t\tcompopt -o nospace; list+=' memfile= rootfs= state='\n"
	"\t\t\tfi ;;\n"
	"\t\t@command) list+=\" $commands\" ;;\n"
	"\t\t@tag) list+=\" $(\"${program[@]}\" tag --quiet 2>/dev/null)\" ;;\n"
	"\t\t@layer) list+=\" $(\"${program[@]}\" tag --quiet 2>/dev/null)\"\n"
	"\t\t\t[[ $cur == [0-9a-f]* ]] &&\n"
	"\t\t\t\tlist+=\" $(\"${program[@]}\" ls --quiet 2>/dev/null)\" ;;\n"
	"\t\t@session) list+=\" $(\"${program[@]}\" pager ls --quiet 2>/dev/null)\" ;;\n"
	"\t\t@guest) list+=\" $(\"${program[@]}\" guest ls --quiet 2>/dev/null)\" ;;\n"
	"\t\t@live) list+=\" $(\"${program[@]}\" live ls --quiet 2>/dev/null)\" ;;\n"
	"\t\t*=) compopt -o nospace; list+=\" $word\" ;;\n"
	"\t\t*) list+=\" $word\" ;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"\tCOMPREPLY+=($(compgen -W \"$list\" -- \"$cur\"))\n"
	"}\n"
	"\n"
	"_lamina() {\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	"\tlocal command='' verb='' options='' operands='' words='' i\n"
	"\tlocal -a program=(\"${COMP_WORDS[0]}\")\n"
	"\tCOMPREPLY=()\n"
	"\t# Bash splits at '=': what is completed may be behind \"--option =\" or \"NAME =\".\n"
	"\tif [[ $cur == '=' ]]; then\n"
	"\t\tcur=\n"
	"\telif [[ $prev == '=' && $COMP_CWORD -ge 2 ]]; then\n"
	"\t\tprev=${COMP_WORDS[COMP_CWORD-2]}\n"
	"\t\tif [[ $prev != -* && $COMP_CWORD -ge 3 ]]; then\n"
	"\t\t\tprev=${COMP_WORDS[COMP_CWORD-3]}\n"
	"\t\t\tcur=\"=$cur\"\n"
	"\t\tfi\n"
	"\tfi\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\tcase ${COMP_WORDS[i]} in\n"
	"\t\t--store|-s) program+=(--store \"${COMP_WORDS[i+1]}\"); ((i++)) ;;\n";

static const char rest[] =
	"\t\t-*|=) ;;\n"
	"\t\t*) command=${COMP_WORDS[i]}; break ;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"\t((i + 1 < COMP_CWORD)) && verb=${COMP_WORDS[i+1]}\n"
	"\t_lamina_tables \"$prev\"\n"
	"\tif [[ -z $words && $cur == -* ]]; then\n"
	"\t\twords=\"$options $globals\"\n"
	"\telif [[ -z $words && -z $command ]]; then\n"
	"\t\twords=$commands\n"
	"\telif [[ -z $words ]]; then\n"
	"\t\twords=$operands\n"
	"\tfi\n"
	"\t_lamina_reply\n"
	"}\n"
	"complete -F _lamina lamina\n";

static void put_script(void)
{
	puts("# bash completion for lamina, written by `lamina completion bash`\n"
	     "# shellcheck shell=bash disable=SC2207,SC2034");
	puts("# Sets options and operands of $command and its $verb; words, if option $1 wants "
	     "an argument.");
	printf("_lamina_tables() {\n\tcommands='");
	put_commands();
	printf("'\n\tglobals='");
	put_names(cli_globals);
	puts("'\n\tcase $1 in");
	put_arguments(cli_globals, "\t");
	puts("\tesac\n\tcase $command in");
	for (size_t i = 0; main_commands[i]; i++)
		put_command(main_commands[i]);
	puts("\tesac\n}\n");
	fputs(tail, stdout);
	printf("\t\t");
	put_globals_with_argument();
	puts(") ((i++)) ;;");
	fputs(rest, stdout);
}

static int run(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	if (strcmp(argv[0], "bash") != 0)
		return cli_usage(cli, "there is completion for bash, not for '%s'", argv[0]);
	put_script();
	return CLI_DONE;
}

const struct cmd cmd_completion = {
	.name = "completion",
	.operands = "bash",
	.purpose = "Prints a script that completes commands, options, layers and tags.",
	.task = "print completions",
	.notes = "Source its output, or install it as "
		 "/usr/share/bash-completion/completions/lamina.",
	.min = 1,
	.max = 1,
	.words = "bash",
	.run = run,
};
