/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-provision: `lamina guest provision ROOT`.  The command's struct of options holds a
 * struct guest_provision, and its `--agent` (which other verbs have, too) is given apart.
 */
#ifndef LAMINA_CLI_GUEST_PROVISION_H
#define LAMINA_CLI_GUEST_PROVISION_H

#include "src/cli/cli.h"

struct guest_provision {
	const char *listen;
	const char *token;
	const char *journal;
	bool no_agent;
	bool init_on_free;
	bool check;
	bool revert;
	bool force;
	bool dry_run;
};

/* Of which `field` of `type` is. */
#define GUEST_PROVISION_OPTS(type, field)						\
	{OPT_TEXT, "listen", 0, OPT_TO(type, field.listen), "ADDRESS", NULL,		\
	 "provision: where the agent listens (default: vsock:any:1052)"},		\
	{OPT_TEXT, "agent-token", 0, OPT_TO(type, field.token), "FILE", "@file",	\
	 "provision: copy the agent's token from FILE"},				\
	{OPT_FLAG, "no-agent", 0, OPT_TO(type, field.no_agent), NULL, NULL,		\
	 "provision: without the agent, whose program is else --agent FILE, or beside "	\
	 "this one"},									\
	{OPT_TEXT, "journal", 0, OPT_TO(type, field.journal), "none|SIZE", "none 8M",	\
	 "provision: no journal (the default), or a persistent one of SIZE, as in 8M"},	\
	{OPT_FLAG, "init-on-free", 0, OPT_TO(type, field.init_on_free), NULL, NULL,	\
	 "provision: let the guest's kernel zero memory that it frees"},		\
	{OPT_FLAG, "check", 0, OPT_TO(type, field.check), NULL, NULL,			\
	 "provision: write nothing; fail if anything would have to be written"},	\
	{OPT_FLAG, "revert", 0, OPT_TO(type, field.revert), NULL, NULL,			\
	 "provision: take away what provision has written"},				\
	{OPT_FLAG, "force", 0, OPT_TO(type, field.force), NULL, NULL,			\
	 "provision: also what somebody else has changed; an image that was not unmounted"}, \
	{OPT_FLAG, "dry-run", 'n', OPT_TO(type, field.dry_run), NULL, NULL,		\
	 "provision: write nothing, tell what would be written"}

/* Those of the verb, as verb.h has them; `agent` among them. */
#define GUEST_PROVISION_OPTIONS \
	" agent listen agent-token no-agent journal init-on-free check revert force dry-run "

/* `agent`: the file, or NULL. */
int guest_provision_run(struct cli *cli, const struct guest_provision *args, const char *agent,
			const char *root);

#endif
