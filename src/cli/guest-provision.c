/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/guest-provision.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/cli/out.h"
#include "src/cli/table.h"
#include "src/host/provision.h"

#define AGENT "lamina-agent"

/* ---- the agent's program ---- */

/* Beside this one, or in the sbin beside its bin. */
static bool find_agent(char *out, size_t size)
{
	static const char *const places[] = {"/" AGENT, "/../sbin/" AGENT};
	char self[PATH_MAX], *slash;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		return false;
	self[len] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return false;
	*slash = '\0';
	for (size_t i = 0; i < 2; i++)
		if ((size_t)snprintf(out, size, "%s%s", self, places[i]) < size &&
		    access(out, R_OK) == 0)
			return true;
	return false;
}

static int pick_agent(struct cli *cli, const struct guest_provision *args, const char *agent,
		      char found[PATH_MAX], struct provision_opts *opts)
{
	opts->agent = agent;
	if (agent || args->no_agent || args->revert)
		return 0;
	if (!find_agent(found, PATH_MAX))
		return err_set(&cli->err, -ENOENT, "there is no " AGENT " beside this program: say "
			       "--agent FILE, or --no-agent");
	opts->agent = found;
	return 0;
}

static int check_args(struct cli *cli, const struct guest_provision *args, const char *agent)
{
	if (args->check && (args->revert || args->dry_run))
		return cli_usage(cli, "--check goes without --revert and --dry-run");
	if (args->no_agent && (agent || args->listen || args->token))
		return cli_usage(cli, "--no-agent goes without the agent's options");
	return 0;
}

/* The words that are wrong whatever the root is. */
static int check_opts(struct cli *cli, const struct provision_opts *opts)
{
	return provision_check(opts, &cli->err) < 0 ? cli_usage(cli, "%s", cli->err.text) : 0;
}

/* ---- telling ---- */

/* Why it has failed; NULL: it has not. */
static const char *why(const struct cli *cli, const struct provision_step *step)
{
	return step->action == PROVISION_FAILED ? cli->err.text : NULL;
}

static json_t *steps_json(const struct cli *cli, const struct provision_result *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->n; i++)
		(void)json_array_append_new(list,
			json_pack("{s:s+, s:s, s:s*}", "file", "/", r->step[i].path,
				  "action", provision_action_name(r->step[i].action),
				  "error", why(cli, &r->step[i])));
	return list;
}

static int print_json(struct cli *cli, const char *root, const struct provision_result *r, int rc)
{
	json_t *notes = json_array();

	for (size_t i = 0; i < r->nnotes; i++)
		(void)json_array_append_new(notes, json_string(r->note[i]));
	return out_json(json_pack("{s:s, s:o, s:o, s:o, s:I, s:I, s:b}", "root", root,
				  "error", rc < 0 ? out_sentence(cli->err.text) : json_null(),
				  "actions", steps_json(cli, r), "notes", notes,
				  "changes", (json_int_t)r->changes,
				  "conflicts", (json_int_t)r->conflicts, "done", r->done),
			&cli->err);
}

static int print_table(struct cli *cli, const struct provision_result *r)
{
	static const struct table_col cols[] = {{"action", false}, {"file", false}};
	static const struct table_col more[] = {
		{"action", false}, {"file", false}, {"error", false},
	};
	struct table t = TABLE(cols), failed = TABLE(more);

	for (size_t i = 0; i < r->n; i++)
		if (r->step[i].action == PROVISION_FAILED)
			t = failed;
	for (size_t i = 0; i < r->n; i++) {
		const char *error = why(cli, &r->step[i]);

		table_cell(&t, "%s", provision_action_name(r->step[i].action));
		table_cell(&t, "/%s", r->step[i].path);
		if (t.ncols == 3)
			table_cell(&t, "%s", error ? error : "-");
	}
	return t.n && table_print(&t, stdout) < 0 ?
		err_set(&cli->err, -ENOMEM, "out of memory") : 0;
}

static int tell(struct cli *cli, const char *root, const struct provision_result *r, int rc)
{
	if (cli->json)
		return print_json(cli, root, r, rc);
	for (size_t i = 0; i < r->nnotes; i++)
		cli_note(cli, "%s", r->note[i]);
	return cli->quiet ? 0 : print_table(cli, r);
}

/* What was reverted is, and is told; what somebody has changed stays. */
static int tell_conflicts(struct cli *cli, const struct guest_provision *args, size_t n)
{
	if (args->revert)
		return err_set(&cli->err, -EEXIST, "%zu file%s changed by somebody else and left: "
			       "--revert --force takes %s away, too", n, n == 1 ? " was" : "s were",
			       n == 1 ? "it" : "them");
	return err_set(&cli->err, -EEXIST, "%zu file%s there that lamina has not written, or "
		       "somebody has changed since: nothing would be changed", n,
		       n == 1 ? " is" : "s are");
}

static int verdict(struct cli *cli, const struct guest_provision *args,
		   const struct provision_result *r)
{
	size_t off = r->changes + r->conflicts;

	if (args->check && off)
		return err_set(&cli->err, -ESTALE, "%zu file%s not as wanted", off,
			       off == 1 ? " is" : "s are");
	return r->conflicts ? tell_conflicts(cli, args, r->conflicts) : 0;
}

int guest_provision_run(struct cli *cli, const struct guest_provision *args, const char *agent,
			const char *root)
{
	struct provision_opts opts = {
		.root = root, .listen = args->listen, .token = args->token,
		.journal = args->journal, .init_on_free = args->init_on_free,
		.revert = args->revert, .force = args->force, .look = args->check || args->dry_run,
	};
	struct provision_result result = {0};
	char found[PATH_MAX];
	int rc = check_args(cli, args, agent), shown;

	if (rc == 0)
		rc = check_opts(cli, &opts);
	if (rc == 0)
		rc = pick_agent(cli, args, agent, found, &opts);
	if (rc)
		return rc;
	rc = provision_run(&opts, &result, &cli->err);
	if (rc == 0)
		rc = verdict(cli, args, &result);
	shown = rc == 0 || result.n ? tell(cli, root, &result, rc) : 0;
	return rc ? rc : shown;
}
