/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/cli/cli.h"
#include "src/cli/guest-args.h"
#include "src/cli/guest-cont.h"
#include "src/cli/guest-live.h"
#include "src/cli/guest-provision.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "src/cli/verb.h"
#include "src/host/guest.h"

struct args {
	struct guest_args guest;
	bool replace;
	struct guest_provision provision;
};

static const struct opt opts[] = {
	GUEST_ARGS_OPTS(struct args, "add, cont: "),
	{OPT_FLAG, "replace", 'f', OPT_TO(struct args, replace), NULL, NULL,
	 "add: also if there is a guest of that name"},
	GUEST_PROVISION_OPTS(struct args, provision),
	OPT_TABLE_END
};

static int no_memory(struct cli *cli)
{
	return err_set(&cli->err, -ENOMEM, "out of memory");
}

static bool had_pid(const json_t *record)
{
	return json_integer_value(json_object_get(record, "pid")) > 0;
}

/* What a record does not say, but what it says is looked for. */
static int set_ended(struct cli *cli, json_t *record)
{
	json_t *ended = had_pid(record) ? json_boolean(!guest_pid(record)) : json_null();

	return json_object_set_new(record, "ended", ended) < 0 ? no_memory(cli) : 0;
}

/* ---- ls ---- */

struct list {
	struct cli *cli;
	struct table *table;
	struct out_array *json;
	int rc;			/* of the first that cannot be read; cli->err says why */
};

static void text_cell(struct table *t, const json_t *record, const char *member)
{
	const char *text = guest_text(record, member);

	table_cell(t, "%s", text ? text : "-");
}

static void add_row(struct list *list, const json_t *record)
{
	const char *layer = guest_text(record, "layer");
	struct table *t = list->table;
	int pid = guest_pid(record);

	text_cell(t, record, "name");
	text_cell(t, record, "hypervisor");
	text_cell(t, record, "live");
	table_cell(t, "%.12s", layer ? layer : "-");
	text_cell(t, record, "backend");
	if (pid)
		table_cell(t, "%d", pid);
	else
		table_cell(t, had_pid(record) ? "ended" : "-");
	text_cell(t, record, "agent");
}

static int list_one(void *ctx, const struct guest_seen *seen)
{
	struct list *list = ctx;
	struct cli *cli = list->cli;

	if (cli->quiet && !cli->json) {
		puts(seen->name);
		return 0;
	}
	if (!seen->record) {
		if (list->rc == 0)
			cli->err = *seen->why;
		else
			cli_note(cli, "cannot %s: %s", cli->cmd->task, seen->why->text);
		list->rc = list->rc ? list->rc : seen->code;
		return 0;
	}
	if (cli->json && set_ended(cli, seen->record) < 0)
		return -ENOMEM;
	if (cli->json)
		return out_array_add(list->json, json_incref(seen->record), &cli->err);
	add_row(list, seen->record);
	return 0;
}

static int run_ls(struct cli *cli, int argc, char **argv)
{
	static const struct table_col cols[] = {
		{"name", false}, {"hypervisor", false}, {"live", false}, {"layer", false},
		{"backend", false}, {"pid", true}, {"agent", false},
	};
	struct table table = TABLE(cols);
	struct out_array json;
	struct list list = {cli, &table, &json, 0};
	const char *rundir;
	int rc = guest_args_rundir(cli, &rundir);

	(void)argc;
	(void)argv;
	if (rc < 0)
		return rc;
	if (cli->json)
		out_array_begin(&json, 0);
	rc = guest_each(rundir, list_one, &list, &cli->err);
	rc = rc ? rc : list.rc;
	if (cli->json) {
		out_array_end(&json);
		putchar('\n');
	}
	if (table.n || table.error)
		rc = table_print(&table, stdout) < 0 ? no_memory(cli) : rc;
	return rc;
}

/* ---- show ---- */

static void add_pid(struct table *t, const json_t *record)
{
	bool ended = json_is_true(json_object_get(record, "ended"));

	table_cell(t, "pid");
	table_cell(t, ended ? "%lld, which has ended" : "%lld",
		   (long long)json_integer_value(json_object_get(record, "pid")));
}

static void add_field(struct table *t, const char *name, const json_t *value)
{
	char *text;

	text = json_is_string(value) ? strdup(json_string_value(value))
				     : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	table_cell(t, "%s", name);
	table_cell(t, "%s", text ? text : "");
	t->error = text ? t->error : -ENOMEM;
	free(text);
}

static int print_record(struct cli *cli, json_t *record)
{
	static const struct table_col cols[] = {{"field", false}, {"value", false}};
	struct table t = TABLE(cols);
	const char *key;
	json_t *value;

	json_object_foreach(record, key, value) {
		if (json_is_null(value) || !strcmp(key, "ended"))
			continue;
		if (!strcmp(key, "pid"))
			add_pid(&t, record);
		else
			add_field(&t, key, value);
	}
	return table_print(&t, stdout) < 0 ? no_memory(cli) : 0;
}

static int run_show(struct cli *cli, int argc, char **argv)
{
	const char *rundir;
	json_t *record = NULL;
	int rc = guest_args_rundir(cli, &rundir);

	(void)argc;
	if (rc == 0)
		rc = guest_load(rundir, argv[0], &record, &cli->err);
	if (rc == 0)
		rc = set_ended(cli, record);
	if (rc == 0 && cli->json)
		return out_json(record, &cli->err);
	if (rc == 0 && !cli->quiet)
		rc = print_record(cli, record);
	json_decref(record);
	return rc;
}

/* ---- add, rm ---- */

static int fill(struct cli *cli, const char *name, json_t *record)
{
	const struct args *args = cli->args;
	int rc = guest_args_members(cli, &args->guest, record);

	if (rc == 0 && !args->guest.live)
		rc = json_object_set_new(record, "live", json_string(name));
	if (rc == 0)
		rc = json_object_set_new(record, "created", json_integer((json_int_t)time(NULL)));
	return rc == -1 ? no_memory(cli) : rc;
}

static int run_add(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	json_t *record = json_object();
	const char *rundir = NULL;
	int hold = -1, rc = record ? guest_args_rundir(cli, &rundir) : no_memory(cli);

	(void)argc;
	if (rc == 0 && !guest_name_ok(argv[0]))
		rc = cli_usage(cli, "'%s' is no name for a guest: " GUEST_NAME_RULE, argv[0]);
	if (rc == 0 && (!args->guest.hypervisor || !args->guest.socket))
		rc = cli_usage(cli, "guest add wants --hypervisor and --socket");
	if (rc == 0)
		rc = fill(cli, argv[0], record);
	if (rc == 0) {
		hold = guest_hold(rundir, argv[0], "lamina guest add", &cli->err);
		rc = hold < 0 ? hold : 0;
	}
	if (rc == 0)
		rc = guest_live_check(cli, argv[0], guest_text(record, "live"), record);
	if (rc == 0)
		rc = guest_write(rundir, argv[0], record,
				 args->replace ? GUEST_REPLACE : GUEST_CREATE, &cli->err);
	if (rc == 0)
		guest_args_note(cli, record);
	guest_drop(rundir, argv[0], hold);
	json_decref(record);
	return rc == 0 && cli->json ? run_show(cli, argc, argv) : rc;
}

/* If there is one of which there is none, none is removed; what is no record can be. */
static int find_all(struct cli *cli, const char *rundir, int argc, char **argv)
{
	struct err err = {""};

	for (int i = 0; i < argc; i++) {
		json_t *record = NULL;
		int rc = guest_load(rundir, argv[i], &record, &err);

		json_decref(record);
		if (rc == -ENOENT || rc == -EINVAL) {
			cli->err = err;
			return rc;
		}
	}
	return 0;
}

/* Each that can be removed is; the first failure is what is reported. */
static int remove_all(struct cli *cli, const char *rundir, char **argv, json_t *removed)
{
	struct err err = {""};
	int first = 0;

	for (; *argv; argv++) {
		int rc = guest_remove(rundir, *argv, &err);

		if (rc == 0)
			(void)json_array_append_new(removed, json_string(*argv));
		else if (first == 0)
			cli->err = err;
		else
			cli_note(cli, "cannot %s: %s", cli->cmd->task, err.text);
		first = first ? first : rc;
	}
	return first;
}

static int run_rm(struct cli *cli, int argc, char **argv)
{
	const char *rundir;
	json_t *removed = json_array();
	int rc = removed ? guest_args_rundir(cli, &rundir) : no_memory(cli), shown = 0;

	if (rc == 0)
		rc = find_all(cli, rundir, argc, argv);
	if (rc == 0) {
		rc = remove_all(cli, rundir, argv, removed);
		shown = cli_show_removed(cli, rc, removed);
	}
	json_decref(removed);
	return rc ? rc : shown;
}

static int run_cont(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;

	(void)argc;
	return guest_cont(cli, argv[0], &args->guest);
}

static int run_provision(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;

	(void)argc;
	return guest_provision_run(cli, &args->provision, args->guest.agent, argv[0]);
}

static const struct verb verbs[] = {
	{"ls", NULL, 0, 0, "list guests", "", NULL, run_ls},
	{"show", "NAME", 1, 1, "show the guest", "", "@guest", run_show},
	{"add", "NAME", 1, 1, "add the guest",
	 " hypervisor socket chroot agent agent-token-file live mount replace ", NULL, run_add},
	{"rm", "NAME...", 1, CMD_ANY, "forget the guest", "", "@guest", run_rm},
	{"cont", "NAME", 1, 1, "let the guest go on",
	 " hypervisor socket chroot agent agent-token-file ", "@guest", run_cont},
	{"provision", "ROOT", 1, 1, "provision the guest", GUEST_PROVISION_OPTIONS, "@file",
	 run_provision},
	{.name = NULL}
};

const struct cmd cmd_guest = {
	.name = "guest",
	.operands = "VERB [ARGUMENT]...",
	.purpose = "Knows guests by their names: what runs them, their agents, their live "
		   "images.",
	.task = "work on guests",
	.notes = "lamina resume makes a guest's record, add makes one for a guest that was started "
		 "otherwise; lamina pause, live and pager find a guest by it.\n\n"
		 "ls lists them, show NAME shows one. rm NAME... forgets them, or none if there "
		 "is one of which there is none: what runs goes on running.\n\n"
		 "cont NAME lets a guest go on that lamina pause --leave left paused.\n\n"
		 "provision ROOT writes settings and the agent into a guest's file system, a "
		 "directory or an image of ext4, so that its snapshots stay small.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = CMD_ANY,
	.verbs = verbs,
	.run = verb_run,
};
