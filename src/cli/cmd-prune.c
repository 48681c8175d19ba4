/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "src/cli/tags.h"
#include "store/base/vec.h"
#include "store/decide.h"
#include "store/info.h"
#include "store/lease.h"
#include "store/live-row.h"

struct args {
	const char *keep_last;
	bool keep_tagged;
	const char *older_than;
	bool dry_run;
	const char *wait;
};

static const struct opt opts[] = {
	{OPT_TEXT, "keep-last", 'l', OPT_TO(struct args, keep_last), "N", NULL,
	 "keep the N layers that were committed last"},
	{OPT_FLAG, "keep-tagged", 't', OPT_TO(struct args, keep_tagged), NULL, NULL,
	 "keep layers that have a tag; without it their tags go with them"},
	{OPT_TEXT, "older-than", 'o', OPT_TO(struct args, older_than), "DURATION", NULL,
	 "keep layers that are younger than DURATION, as in 12h or 7d; 0 keeps none"},
	{OPT_FLAG, "dry-run", 'n', OPT_TO(struct args, dry_run), NULL, NULL,
	 "print what would be removed and kept, change nothing"},
	CLI_OPT_WAIT(struct args),
	OPT_TABLE_END
};

struct candidate {
	struct digest id;
	int64_t created;
	bool keep;
	bool tagged;
	char why[160];
};

struct prune {
	struct cli *cli;
	struct tags tags;
	struct candidate *v;	/* oldest first */
	size_t n;
	size_t cap;
	uint64_t keep_last;
	uint64_t older_than_ms;
	int64_t now;
	size_t removed;
};

static int on_layer(void *ctx, const struct index_layer *row)
{
	struct prune *p = ctx;
	struct candidate c = {.id = row->id};
	struct layer *layer;
	int rc = cli_layer_of_row(p->cli, row, &layer);

	if (rc < 0)
		return rc;
	c.created = layer->created;
	layer_unref(layer);
	if (vec_push(p, c) < 0)
		return err_set(&p->cli->err, -ENOMEM, "out of memory");
	return 0;
}

static void keep(struct candidate *c, const char *why)
{
	c->keep = true;
	(void)snprintf(c->why, sizeof(c->why), "%s", why);
}

/* Says who reads it; whether anybody does. */
static bool in_use(const struct prune *p, struct candidate *c)
{
	int pids[4], n;

	if (lease_held(p->cli->store, &c->id) <= 0)
		return false;
	keep(c, "in use");
	n = lease_holders(p->cli->store, &c->id, pids, 4);
	for (int i = 0; i < n && i < 4; i++) {
		size_t len = strlen(c->why);

		(void)snprintf(c->why + len, sizeof(c->why) - len, "%s%d",
			       i ? ", " : " by pid ", pids[i]);
	}
	return true;
}

/* What was written to one is nothing without its layer. */
static int look_for_live(const struct prune *p, struct candidate *c, bool *ret_found)
{
	char list[96];
	int n = live_row_on(p->cli->store, &c->id, list, sizeof(list), &p->cli->err);

	*ret_found = n > 0;
	if (n <= 0)
		return n;
	keep(c, n > 1 ? "live images " : "live image ");
	(void)snprintf(c->why + strlen(c->why), sizeof(c->why) - strlen(c->why), "%s", list);
	return 0;
}

static int decide_live(const struct prune *p, struct candidate *c)
{
	bool found;
	int rc = look_for_live(p, c, &found);

	if (rc == 0 && !found)
		(void)snprintf(c->why, sizeof(c->why), "%s",
			       c->tagged ? "not kept, tags go too" : "not kept");
	return rc;
}

/* `younger`: how many layers were committed after it. */
static int decide(const struct prune *p, struct candidate *c, size_t younger)
{
	const struct args *args = p->cli->args;
	size_t ntags;

	(void)tags_of(&p->tags, &c->id, &ntags);
	c->tagged = ntags > 0;
	if (args->keep_last && younger < p->keep_last)
		keep(c, "among the last");
	else if (args->keep_tagged && c->tagged)
		keep(c, "tagged");
	else if (args->older_than && p->now - c->created < (int64_t)(p->older_than_ms / 1000))
		keep(c, "too young");
	else if (!in_use(p, c))
		return decide_live(p, c);
	return 0;
}

static int remove_one(const struct prune *p, struct candidate *c, uint64_t wait_ms)
{
	struct cli *cli = p->cli;
	/* Tags only go by force.  Without them the store itself refuses what is in use. */
	int rc = decide_remove(cli->store, &c->id, c->tagged, wait_ms, &cli->err), live;
	bool found = false;

	live = rc == -EBUSY ? look_for_live(p, c, &found) : 0;
	if (live < 0 || found)
		return live;
	if (rc == -EBUSY && lease_held(cli->store, &c->id) > 0)
		return in_use(p, c) ? 0 : rc;
	if (rc == -ENOENT)
		keep(c, "already gone");
	return rc == -ENOENT ? 0 : rc;
}

static int remove_all(struct prune *p)
{
	const struct args *args = p->cli->args;
	uint64_t wait_ms;
	int rc = cli_wait(p->cli, args->wait, &wait_ms);

	for (size_t i = 0; rc == 0 && i < p->n; i++)
		if (!p->v[i].keep && !args->dry_run)
			rc = remove_one(p, &p->v[i], wait_ms);
	return rc;
}

static void print_row(const struct prune *p, struct table *t, const struct candidate *c)
{
	const struct args *args = p->cli->args;
	char id[CLI_ID_LEN], time[FMT_SIZE_LEN];
	char *tags = tags_text(&p->tags, &c->id);

	table_cell(t, "%s", cli_id(id, &c->id));
	table_cell(t, "%s", fmt_time(time, c->created));
	table_cell(t, "%s", tags ? tags : "");
	table_cell(t, "%s", c->keep ? "kept" : args->dry_run ? "would be removed" : "removed");
	table_cell(t, "%s", c->why);
	free(tags);
}

static int print_text(const struct prune *p)
{
	static const struct table_col cols[] = {
		{"layer", false}, {"created", false}, {"tags", false}, {"result", false},
		{"why", false},
	};
	struct table t = TABLE(cols);

	for (size_t i = 0; i < p->n; i++)
		print_row(p, &t, &p->v[i]);
	return p->n ? table_print(&t, stdout) : 0;
}

static void print_ids(const struct prune *p)
{
	char hex[DIGEST_HEX_LEN];

	for (size_t i = 0; i < p->n; i++)
		if (!p->v[i].keep)
			puts(fmt_hex(hex, p->v[i].id.b, DIGEST_LEN));
}

static json_t *list_json(const struct prune *p, bool kept)
{
	json_t *list = json_array(), *item;
	char time[32];

	for (size_t i = 0; i < p->n; i++) {
		const struct candidate *c = &p->v[i];

		if (c->keep != kept)
			continue;
		info_time(time, c->created);
		item = json_pack("{s:o, s:s, s:o, s:s}", "layer", out_id(&c->id), "created", time,
				 "tags", tags_json(&p->tags, &c->id), "why", c->why);
		if (json_array_append_new(list, item) < 0)
			break;
	}
	return list;
}

static int print(const struct prune *p)
{
	const struct args *args = p->cli->args;

	if (p->cli->json)
		return out_json(json_pack("{s:b, s:o, s:o}", "dry_run", args->dry_run,
					  "removed", list_json(p, false),
					  "kept", list_json(p, true)),
				&p->cli->err);
	if (!p->cli->quiet)
		return print_text(p);
	print_ids(p);
	return 0;
}

static int prune(struct prune *p)
{
	int rc = tags_load(p->cli->store, &p->tags, &p->cli->err);

	if (rc == 0)
		rc = decide_layer_each(p->cli->store, on_layer, p, &p->cli->err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < p->n && rc == 0; i++)
		rc = decide(p, &p->v[i], p->n - 1 - i);
	if (rc == 0)
		rc = remove_all(p);
	return rc < 0 ? rc : print(p);
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct prune p = {.cli = cli, .now = time(NULL)};
	int rc;

	(void)argc;
	(void)argv;
	if (!args->keep_last && !args->keep_tagged && !args->older_than)
		return cli_usage(cli, "say what to keep: --keep-last, --keep-tagged or "
				 "--older-than");
	if (args->keep_last && fmt_parse_u64(args->keep_last, &p.keep_last) < 0)
		return cli_usage(cli, "--keep-last: '%s' is not a number", args->keep_last);
	if (args->older_than && fmt_parse_duration_ms(args->older_than, &p.older_than_ms) < 0)
		return cli_usage(cli, "--older-than: '%s' is not a duration such as 500ms, 30s, "
				 "10m, 2h or 7d", args->older_than);
	rc = cli_open(cli);
	if (rc == 0)
		rc = prune(&p);
	tags_fini(&p.tags);
	vec_fini(&p);
	return rc;
}

const struct cmd cmd_prune = {
	.name = "prune",
	.purpose = "Removes layers by rule; gc frees their bytes afterwards.",
	.task = "prune",
	.notes = "A layer is removed unless one of the given options keeps it; at least one "
		 "must be given. A layer that is being read, or on which a live image stands, is "
		 "always kept. Prints each layer, "
		 "what happens to it and why; with --quiet only the ids of those removed.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.run = run,
};
