/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "src/cli/verb.h"
#include "store/base/trace.h"
#include "store/decide.h"
#include "store/traces.h"

#define DEFAULT_NAME "resume"

struct args {
	const char *name;
	bool merge;
	bool runs;
	const char *wait;
};

static const struct opt opts[] = {
	{OPT_TEXT, "name", 'n', OPT_TO(struct args, name), "NAME", NULL,
	 "import: keep it as NAME (default: " DEFAULT_NAME ")"},
	{OPT_FLAG, "merge", 'm', OPT_TO(struct args, merge), NULL, NULL,
	 "import: merge the files with the trace of that name, if there is one"},
	{OPT_FLAG, "runs", 'r', OPT_TO(struct args, runs), NULL, NULL,
	 "show: also every run of pages, in order of first touch"},
	CLI_OPT_WAIT(struct args),
	OPT_TABLE_END
};

static int no_memory(struct cli *cli)
{
	return err_set(&cli->err, -ENOMEM, "out of memory");
}

/* ---- what is known of a trace ---- */

/* A trace and where it is from: a layer and a name, or a file. */
struct shown {
	struct trace trace;
	const struct digest *layer;
	const char *name;	/* or the file's path */
	uint64_t frames;
};

static int count(struct cli *cli, struct shown *s)
{
	return trace_frames(&s->trace, &s->frames) < 0 ? no_memory(cli) : 0;
}

static uint64_t bytes_of(const struct trace *t)
{
	uint64_t bytes = t->npages * t->page_size;

	return bytes < t->size ? bytes : t->size;
}

static double share_of(const struct trace *t)
{
	return (double)bytes_of(t) / (double)t->size;
}

static json_t *to_json(const struct shown *s)
{
	const struct trace *t = &s->trace;
	json_t *o = s->layer ? json_pack("{s:o, s:s}", "layer", out_id(s->layer), "name", s->name) :
			       json_pack("{s:s}", "file", s->name);
	json_t *numbers = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f}",
				    "page_size", (json_int_t)t->page_size,
				    "memfile_size", (json_int_t)t->size,
				    "pages", (json_int_t)t->npages,
				    "bytes", (json_int_t)bytes_of(t),
				    "runs", (json_int_t)t->n,
				    "frames", (json_int_t)s->frames,
				    "share", share_of(t));

	if (!o || !numbers || json_object_update(o, numbers) < 0) {
		json_decref(o);
		o = NULL;
	}
	json_decref(numbers);
	return o;
}

/* ---- import ---- */

struct traces_read {
	struct trace v[TRACE_MERGE_MAX];
	size_t n;
};

static void read_fini(struct traces_read *r)
{
	for (size_t i = 0; i < r->n; i++)
		trace_fini(&r->v[i]);
	free(r);
}

/* A file that is no trace is no damage of the store. */
static int load(struct cli *cli, const char *path, struct trace *ret)
{
	int rc = trace_load(path, ret, &cli->err);

	return rc == -EBADMSG ? -EINVAL : rc;
}

static int load_all(struct cli *cli, struct traces_read *r, int n, char **paths)
{
	int rc = 0;

	for (int i = 0; i < n && rc == 0; i++) {
		rc = load(cli, paths[i], &r->v[r->n]);
		r->n += rc == 0;
		if (rc == 0 && (r->v[i].size != r->v[0].size ||
				r->v[i].page_size != r->v[0].page_size))
			return err_set(&cli->err, -EINVAL, "'%s' and '%s' are not traces of one "
				       "memfile and page size", paths[0], paths[i]);
	}
	return rc;
}

/* The trace that is there, with --merge. */
static int load_present(struct cli *cli, struct traces_read *r, const struct digest *id,
			const char *name)
{
	const struct args *args = cli->args;
	int rc;

	if (!args->merge)
		return 0;
	rc = traces_get(cli->store, id, name, &r->v[r->n], &cli->err);
	r->n += rc == 0;
	return rc == -ENOENT ? 0 : rc;
}

static int keep(struct cli *cli, struct traces_read *r, struct shown *s)
{
	int rc = load_present(cli, r, s->layer, s->name);

	if (rc == 0)
		rc = trace_merge(r->v, r->n, &s->trace, &cli->err);
	if (rc == 0)
		rc = traces_put(cli->store, s->layer, s->name, &s->trace, 0, &cli->err);
	if (rc == 0)
		rc = count(cli, s);
	if (rc == 0 && cli->json)
		rc = out_json(to_json(s), &cli->err);
	return rc;
}

/* What is there must not change between reading and writing: the lock comes first. */
static int import_locked(struct cli *cli, struct traces_read *r, struct shown *s)
{
	const struct args *args = cli->args;
	uint64_t wait_ms;
	int rc = cli_wait(cli, args->wait, &wait_ms);

	if (rc == 0)
		rc = store_lock(cli->store, "trace", wait_ms, &cli->err);
	if (rc < 0)
		return rc;
	rc = keep(cli, r, s);
	store_unlock(cli->store);
	return rc;
}

static int run_import(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct shown s = {.name = args->name ? args->name : DEFAULT_NAME};
	struct traces_read *r;
	struct digest id;
	int rc;

	if (!traces_name_ok(s.name))
		return cli_usage(cli, "'%s' is no name for a trace", s.name);
	if ((unsigned)argc - 1 + args->merge > TRACE_MERGE_MAX)
		return cli_usage(cli, "no more than %u traces can be merged", TRACE_MERGE_MAX);
	r = calloc(1, sizeof(*r));
	if (!r)
		return no_memory(cli);
	rc = load_all(cli, r, argc - 1, argv + 1);
	if (rc == 0)
		rc = cli_open(cli);
	if (rc == 0)
		rc = cli_layer_id(cli, argv[0], &id);
	s.layer = &id;
	if (rc == 0)
		rc = import_locked(cli, r, &s);
	trace_fini(&s.trace);
	read_fini(r);
	return rc;
}

/* ---- ls ---- */

struct list {
	struct cli *cli;
	struct table *table;
	struct out_array *json;
};

static int print_row(struct list *list, const struct shown *s)
{
	char id[CLI_ID_LEN], size[FMT_SIZE_LEN];
	struct table *t = list->table;

	if (list->cli->json)
		return out_array_add(list->json, to_json(s), &list->cli->err);
	if (list->cli->quiet) {
		printf("%s %s\n", cli_id(id, s->layer), s->name);
		return 0;
	}
	table_cell(t, "%s", cli_id(id, s->layer));
	table_cell(t, "%s", s->name);
	table_cell(t, "%" PRIu64, s->trace.npages);
	table_cell(t, "%s", cli_size(list->cli, size, bytes_of(&s->trace)));
	table_cell(t, "%" PRIu64, s->frames);
	table_cell(t, "%.1f%%", 100 * share_of(&s->trace));
	return 0;
}

static int list_one(void *ctx, const struct traces_item *item)
{
	struct list *list = ctx;
	struct shown s = {.layer = &item->layer, .name = item->name};
	struct cli *cli = list->cli;
	char id[CLI_ID_LEN];
	int rc = trace_parse(item->text, item->len, &s.trace, &cli->err);

	if (rc < 0)
		return err_wrap(&cli->err, rc == -EMEDIUMTYPE ? -EBADMSG : rc,
				"trace '%s' of layer %s", item->name, cli_id(id, &item->layer));
	rc = count(cli, &s);
	if (rc == 0)
		rc = print_row(list, &s);
	trace_fini(&s.trace);
	return rc;
}

static int run_ls(struct cli *cli, int argc, char **argv)
{
	static const struct table_col cols[] = {
		{"layer", false}, {"trace", false}, {"pages", true}, {"bytes", true},
		{"frames", true}, {"share", true},
	};
	struct table table = TABLE(cols);
	struct out_array json;
	struct list list = {cli, &table, &json};
	struct digest id;
	int rc = cli_open(cli);

	if (rc == 0 && argc)
		rc = cli_layer_id(cli, argv[0], &id);
	if (rc < 0)
		return rc;
	if (cli->json)
		out_array_begin(&json, 0);
	rc = traces_each(cli->store, argc ? &id : NULL, list_one, &list, &cli->err);
	if (cli->json) {
		out_array_end(&json);
		putchar('\n');
	}
	if (table.n || table.error)
		rc = table_print(&table, stdout) < 0 ? no_memory(cli) : rc;
	return rc;
}

/* ---- show ---- */

static void field(struct table *t, const char *name, const char *value)
{
	table_cell(t, "%s", name);
	table_cell(t, "%s", value);
}

static void field_u64(struct table *t, const char *name, uint64_t value)
{
	table_cell(t, "%s", name);
	table_cell(t, "%" PRIu64, value);
}

static int print_fields(struct cli *cli, const struct shown *s)
{
	static const struct table_col cols[] = {{"field", false}, {"value", false}};
	struct table t = TABLE(cols);
	char size[FMT_SIZE_LEN], hex[DIGEST_HEX_LEN];

	if (s->layer)
		field(&t, "layer", fmt_hex(hex, s->layer->b, DIGEST_LEN));
	field(&t, s->layer ? "trace" : "file", s->name);
	field(&t, "page size", cli_size(cli, size, s->trace.page_size));
	field(&t, "memfile", cli_size(cli, size, s->trace.size));
	field_u64(&t, "pages", s->trace.npages);
	field(&t, "bytes", cli_size(cli, size, bytes_of(&s->trace)));
	field_u64(&t, "runs", s->trace.n);
	field_u64(&t, "frames", s->frames);
	table_cell(&t, "share");
	table_cell(&t, "%.1f%%", 100 * share_of(&s->trace));
	return table_print(&t, stdout) < 0 ? no_memory(cli) : 0;
}

/* Straight to stdout: there may be millions. */
static void print_runs(const struct trace *t)
{
	printf("\n%12s %8s\n", "first page", "count");
	for (size_t i = 0; i < t->n; i++)
		printf("%12" PRIu64 " %8" PRIu64 "\n", t->v[i].first, t->v[i].count);
}

/* The object of to_json() but for its end, then the runs. */
static int print_json_with_runs(struct cli *cli, const struct shown *s)
{
	json_t *o = to_json(s);
	char *text = out_text(o);
	struct out_array list;

	json_decref(o);
	if (!text)
		return no_memory(cli);
	printf("%.*s,\n  \"order\": ", (int)strlen(text) - 2, text);
	free(text);
	out_array_begin(&list, 1);
	for (size_t i = 0; i < s->trace.n; i++) {
		out_array_next(&list);
		printf("[%" PRIu64 ", %" PRIu64 "]", s->trace.v[i].first, s->trace.v[i].count);
	}
	out_array_end(&list);
	printf("\n}\n");
	return 0;
}

static int show(struct cli *cli, struct shown *s)
{
	const struct args *args = cli->args;
	int rc = count(cli, s);

	if (rc < 0)
		return rc;
	if (cli->json)
		return args->runs ? print_json_with_runs(cli, s) :
				    out_json(to_json(s), &cli->err);
	if (!cli->quiet)
		rc = print_fields(cli, s);
	if (rc == 0 && args->runs)
		print_runs(&s->trace);
	return rc;
}

static int show_kept(struct cli *cli, const char *layer, struct shown *s)
{
	struct digest id;
	int rc = cli_open(cli);

	if (rc == 0)
		rc = cli_layer_id(cli, layer, &id);
	s->layer = &id;
	if (rc == 0)
		rc = traces_get(cli->store, &id, s->name, &s->trace, &cli->err);
	if (rc == 0)
		rc = show(cli, s);
	return rc;
}

/* No name of a layer has a '/' in it. */
static int run_show(struct cli *cli, int argc, char **argv)
{
	struct shown s = {.name = argc > 1 ? argv[1] : DEFAULT_NAME};
	int rc;

	if (strchr(argv[0], '/')) {
		if (argc > 1)
			return cli_usage(cli, "a file has one trace: what is '%s'?", argv[1]);
		s.name = argv[0];
		rc = load(cli, argv[0], &s.trace);
		if (rc == 0)
			rc = show(cli, &s);
	} else {
		rc = show_kept(cli, argv[0], &s);
	}
	trace_fini(&s.trace);
	return rc;
}

/* ---- rm ---- */

static int run_rm(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct digest id;
	uint64_t wait_ms;
	int rc = cli_open(cli);

	(void)argc;
	if (rc == 0)
		rc = cli_wait(cli, args->wait, &wait_ms);
	if (rc == 0)
		rc = cli_layer_id(cli, argv[0], &id);
	if (rc == 0)
		rc = traces_remove(cli->store, &id, argv[1], wait_ms, &cli->err);
	if (rc == 0 && cli->json)
		rc = out_json(json_pack("{s:o, s:s}", "layer", out_id(&id), "removed", argv[1]),
			      &cli->err);
	return rc;
}

/* ---- verbs ---- */

static const struct verb verbs[] = {
	{"import", "LAYER FILE...", 2, CMD_ANY, "import the trace", " name merge wait ",
	 "@layer @file", run_import},
	{"ls", "[LAYER]", 0, 1, "list traces", "", "@layer", run_ls},
	{"show", "LAYER [NAME], or a FILE with a '/' in its path", 1, 2, "show the trace",
	 " runs ", "@layer @file", run_show},
	{"rm", "LAYER NAME", 2, 2, "remove the trace", " wait ", "@layer", run_rm},
	{.name = NULL}
};

const struct cmd cmd_trace = {
	.name = "trace",
	.operands = "VERB [OPERAND]...",
	.purpose = "Keeps traces, the pages that a resume touched first, beside their layers.",
	.task = "trace",
	.notes = "import LAYER FILE... keeps a trace that lamina-pager recorded; of several files "
		 "the pages that at least half of them have, in order of their mean rank.\n\n"
		 "ls [LAYER] lists traces.\n\n"
		 "show LAYER [NAME] (default: " DEFAULT_NAME ") or show FILE tells what a trace "
		 "touches. A FILE has a '/' in its path, as in ./vm1.trace.\n\n"
		 "rm LAYER NAME removes one.\n\n"
		 "In the mount, traces are files in layers/ID/traces.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = CMD_ANY,
	.verbs = verbs,
	.run = verb_run,
};
