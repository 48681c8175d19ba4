/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "store/format.h"
#include "store/verify.h"

struct args {
	bool deep;
};

static const struct opt opts[] = {
	{OPT_FLAG, "deep", 'd', OPT_TO(struct args, deep), NULL, NULL,
	 "also decompress every chunk and recompute every digest, from the pages up to each "
	 "layer's Merkle root"},
	OPT_TABLE_END
};

struct report {
	struct cli *cli;
	struct out_array faults;
	int rc;
};

static json_t *layers_json(const struct verify_fault *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->nlayers; i++)
		(void)json_array_append_new(list, out_id(&f->layers[i]));
	return list;
}

static void fault_json(struct report *r, const struct verify_fault *f)
{
	int rc = out_array_add(&r->faults,
			       json_pack("{s:s, s:I, s:I, s:I, s:s, s:o}", "what", f->what,
					 "id", (json_int_t)f->id, "pack", (json_int_t)f->pack,
					 "offset", (json_int_t)f->off, "reason", f->reason,
					 "layers", layers_json(f)),
			       &r->cli->err);

	r->rc = r->rc ? r->rc : rc;
}

static void fault_text(const struct verify_fault *f)
{
	char hex[DIGEST_HEX_LEN];

	bool address = !strcmp(f->what, "chunk") || !strcmp(f->what, "digests");

	printf("damaged %s", strcmp(f->what, "live") ? f->what : "live image");
	if (f->id && address)
		printf(" " PADDR_FMT, PADDR_ARG(f->id));
	else if (f->id)
		printf(" %llu", (unsigned long long)f->id);
	if (f->pack)
		printf(" in pack %08x at %llu", f->pack, (unsigned long long)f->off);
	printf(": %s\n", f->reason);
	for (size_t i = 0; i < f->nlayers; i++)
		printf("\thurts layer %s\n", fmt_hex(hex, f->layers[i].b, DIGEST_LEN));
}

static void on_fault(void *ctx, const struct verify_fault *f)
{
	struct report *r = ctx;

	meter_end(&r->cli->meter);
	if (r->cli->json)
		fault_json(r, f);
	else if (!r->cli->quiet)
		fault_text(f);
}

static void print_json(const struct args *args, const struct verify_result *v)
{
	const struct {
		const char *key;
		uint64_t n;
	} counts[] = {
		{"packs", v->packs}, {"records", v->records}, {"chunks", v->chunks},
		{"frames", v->frames}, {"layers", v->layers}, {"pages", v->pages},
		{"bytes", v->bytes}, {"fault_count", v->faults},
	};

	printf(",\n  \"deep\": %s", args->deep ? "true" : "false");
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		printf(",\n  \"%s\": %llu", counts[i].key, (unsigned long long)counts[i].n);
	printf(",\n  \"seconds\": %.6f\n}\n", v->seconds);
}

static void print_text(const struct cli *cli, const struct verify_result *v)
{
	char size[FMT_SIZE_LEN], time[FMT_SIZE_LEN];

	printf("checked %llu layers, %llu frames, %llu chunks, %llu records in %llu packs, %s, "
	       "in %s: ",
	       (unsigned long long)v->layers, (unsigned long long)v->frames,
	       (unsigned long long)v->chunks, (unsigned long long)v->records,
	       (unsigned long long)v->packs, cli_size(cli, size, v->bytes),
	       fmt_duration(time, v->seconds));
	if (v->faults)
		printf("%llu damaged\n%llu faults in %llu chunks, %llu layers hurt\n",
		       (unsigned long long)v->faults, (unsigned long long)v->faults,
		       (unsigned long long)v->bad_chunks, (unsigned long long)v->hurt_layers);
	else
		printf("nothing is damaged\n");
}

static int verify(struct cli *cli, struct report *report)
{
	const struct args *args = cli->args;
	struct verify_opts o = {.deep = args->deep, .fault = on_fault, .ctx = report};
	struct verify_result v;
	int rc;

	o.progress = cli_progress(cli);
	if (cli->json) {
		printf("{\n  \"faults\": ");
		out_array_begin(&report->faults, 1);
	}
	rc = verify_run(cli->store, &o, &v, &cli->err);
	meter_end(&cli->meter);
	if (cli->json)
		out_array_end(&report->faults);
	if (cli->json && rc < 0)
		printf("\n}\n");
	if (rc < 0)
		return rc;
	if (cli->json)
		print_json(args, &v);
	else if (!cli->quiet)
		print_text(cli, &v);
	return report->rc ? report->rc : v.faults ? CLI_DAMAGE : CLI_DONE;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct report report = {.cli = cli};
	int rc = cli_open(cli);

	(void)argc;
	(void)argv;
	return rc < 0 ? rc : verify(cli, &report);
}

const struct cmd cmd_verify = {
	.name = "verify",
	.purpose = "Checks that everything that was committed is there, unchanged.",
	.task = "verify the store",
	.notes = "Reads all packs and checks the checksum of every record, and that every "
		 "segment, frame, layer and tag of the index can be resolved. Each damaged "
		 "place is printed with the layers that it hurts; the exit status is then 3. "
		 "Takes no lock; commits, gc and mounts go on meanwhile.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.run = run,
};
