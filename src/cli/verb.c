/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/verb.h"

#include <stdio.h>
#include <string.h>

#include "src/cli/cli.h"

/* "ls, show or rm" */
static void list_names(const struct verb *verbs, char *out, size_t size)
{
	size_t len = 0;

	for (const struct verb *v = verbs; v->name && len < size; v++) {
		const char *sep = v == verbs ? "" : v[1].name ? ", " : " or ";

		len += (size_t)snprintf(out + len, size - len, "%s%s", sep, v->name);
	}
}

static const struct verb *find(const struct verb *verbs, const char *name)
{
	for (; verbs->name; verbs++)
		if (!strcmp(verbs->name, name))
			return verbs;
	return NULL;
}

static bool is_given(const struct opt *o, const void *args)
{
	const void *at = (const char *)args + o->to;

	switch (o->kind) {
	case OPT_FLAG:
		return *(const bool *)at;
	case OPT_TEXT:
	case OPT_MAYBE:
		return *(const char *const *)at != NULL;
	case OPT_COUNT:
		return *(const unsigned *)at != 0;
	case OPT_RATIO:
		return *(const double *)at > 0;
	case OPT_WORDS:
		return ((const struct opt_words *)at)->n != 0;
	case OPT_END:
		break;
	}
	return false;
}

/* An option that was given and that the verb has not, or NULL. */
static const char *needless(const struct cli *cli, const struct verb *verb)
{
	char word[64];

	for (const struct opt *o = cli->cmd->opts; o && o->kind != OPT_END; o++) {
		(void)snprintf(word, sizeof(word), " %s ", o->name);
		if (is_given(o, cli->args) && !strstr(verb->options, word))
			return o->name;
	}
	return NULL;
}

static int check_operands(struct cli *cli, const struct verb *verb, int argc)
{
	const char *cmd = cli->cmd->name;

	if (argc < verb->min)
		return cli_usage(cli, "%s %s wants %s", cmd, verb->name, verb->operands);
	if (argc <= verb->max)
		return 0;
	if (!verb->operands)
		return cli_usage(cli, "%s %s takes no operands", cmd, verb->name);
	return cli_usage(cli, "%s %s takes no more than %s", cmd, verb->name, verb->operands);
}

int verb_run(struct cli *cli, int argc, char **argv)
{
	static struct cmd cmd;		/* the command, with the verb's task */
	const struct verb *verb = find(cli->cmd->verbs, argv[0]);
	const char *option;
	char names[256];
	int rc;

	if (!verb) {
		list_names(cli->cmd->verbs, names, sizeof(names));
		return cli_usage(cli, "'%s' is not %s", argv[0], names);
	}
	rc = check_operands(cli, verb, argc - 1);
	if (rc)
		return rc;
	option = needless(cli, verb);
	if (option)
		return cli_usage(cli, "%s %s has no --%s", cli->cmd->name, verb->name, option);
	cmd = *cli->cmd;
	cmd.task = verb->task;
	cli->cmd = &cmd;
	return verb->run(cli, argc - 1, argv + 1);
}
