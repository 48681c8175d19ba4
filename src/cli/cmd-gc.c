/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "store/gc.h"

struct args {
	bool repack;
	double ratio;
	bool dry_run;
	const char *wait;
};

static const struct opt opts[] = {
	{OPT_FLAG, "repack", 'r', OPT_TO(struct args, repack), NULL, NULL,
	 "also copy what is alive out of packs that are partly dead, and remove those"},
	{OPT_RATIO, "ratio", 0, OPT_TO(struct args, ratio), "R", NULL,
	 "with --repack: only packs whose live part is below R, above 0 and at most 1 "
	 "(default: [gc] ratio of lamina.conf, else 0.95)"},
	{OPT_FLAG, "dry-run", 'n', OPT_TO(struct args, dry_run), NULL, NULL,
	 "say what would be freed, change nothing"},
	CLI_OPT_WAIT(struct args),
	OPT_TABLE_END
};

static int set_ratio(struct cli *cli, const struct args *args, double *ret)
{
	const char *text = cli_config_get(cli, "gc", "ratio");
	char *end;

	*ret = args->ratio > 0 ? args->ratio : GC_RATIO_DEFAULT;
	if (args->ratio > 0 || !text)
		return 0;
	*ret = strtod(text, &end);
	if (end == text || *end || !(*ret > 0 && *ret <= 1))
		return err_set(&cli->err, -EINVAL,
			       "ratio in lamina.conf: '%s' is not above 0, at most 1", text);
	return 0;
}

static int print_json(struct cli *cli, const struct gc_opts *o, const struct gc_result *r)
{
	return out_json(json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
				  "s:I, s:f}",
				  "dry_run", o->dry_run, "repack", o->repack,
				  "layers", (json_int_t)r->layers,
				  "leased", (json_int_t)r->leased,
				  "frames", (json_int_t)r->frames,
				  "segments", (json_int_t)r->segs,
				  "pages", (json_int_t)r->pages,
				  "packs", (json_int_t)r->packs,
				  "repacked", (json_int_t)r->repacked,
				  "bytes_before", (json_int_t)r->bytes_before,
				  "bytes_after", (json_int_t)r->bytes_after,
				  "dead_bytes", (json_int_t)r->dead_bytes,
				  "seconds", r->seconds),
			&cli->err);
}

static void count(struct table *t, const char *what, uint64_t n)
{
	table_cell(t, "%s", what);
	table_cell(t, "%llu", (unsigned long long)n);
}

static void size(const struct cli *cli, struct table *t, const char *what, uint64_t bytes)
{
	char text[FMT_SIZE_LEN];

	table_cell(t, "%s", what);
	table_cell(t, "%s", cli_size(cli, text, bytes));
}

static int print_text(const struct cli *cli, const struct gc_opts *o, const struct gc_result *r)
{
	const struct table_col cols[] = {{o->dry_run ? "would free" : "freed", false},
					 {"", true}};
	struct table t = TABLE(cols);
	char text[FMT_SIZE_LEN];

	count(&t, "removed layers", r->layers);
	count(&t, "kept, being read", r->leased);
	count(&t, "frames", r->frames);
	count(&t, "segments", r->segs);
	count(&t, "pages", r->pages);
	count(&t, "packs", r->packs);
	count(&t, "of these, repacked", r->repacked);
	size(cli, &t, "store before", r->bytes_before);
	size(cli, &t, "store after", r->bytes_after);
	size(cli, &t, "dead in packs", r->dead_bytes);
	table_cell(&t, "time");
	table_cell(&t, "%s", fmt_duration(text, r->seconds));
	return table_print(&t, stdout);
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct gc_opts o = {.repack = args->repack, .dry_run = args->dry_run};
	struct gc_result r;
	int rc;

	(void)argc;
	(void)argv;
	if (args->ratio > 0 && !args->repack)
		return cli_usage(cli, "--ratio wants --repack");
	rc = cli_open(cli);
	if (rc == 0)
		rc = set_ratio(cli, args, &o.ratio);
	if (rc == 0)
		rc = cli_wait(cli, args->wait, &o.lock_wait_ms);
	if (rc < 0)
		return rc;
	o.progress = cli_progress(cli);
	rc = gc_run(cli->store, &o, &r, &cli->err);
	meter_end(&cli->meter);
	if (rc < 0)
		return rc;
	if (cli->json)
		return print_json(cli, &o, &r);
	return cli->quiet ? 0 : print_text(cli, &o, &r);
}

const struct cmd cmd_gc = {
	.name = "gc",
	.purpose = "Frees what no layer reaches any more.",
	.task = "collect garbage",
	.interrupted = "what was not freed will be by the next gc",
	.notes = "Layers that were removed are forgotten unless somebody still reads them, "
		 "and packs without a live page are deleted. Packs that are partly dead keep "
		 "their size until they are repacked. It runs beside readers and beside a "
		 "commit (its last part waits for that), and on a full disk. Interrupted at "
		 "any point, it can be run again.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.run = run,
};
