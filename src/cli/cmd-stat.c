/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "store/usage.h"

struct args {
	bool layers;
	bool prometheus;
};

static const struct opt opts[] = {
	{OPT_FLAG, "layers", 'l', OPT_TO(struct args, layers), NULL, NULL,
	 "for each layer too: how much only it holds, and how much it shares"},
	{OPT_FLAG, "prometheus", 'p', OPT_TO(struct args, prometheus), NULL, NULL,
	 "print the text format that Prometheus scrapes"},
	OPT_TABLE_END
};

/* One figure, as all outputs know it. */
struct figure {
	const char *key;
	size_t at;
	const char *what;
};

static const struct figure sizes[] = {
	{"logical_bytes", offsetof(struct usage, logical), "sizes of all images of all layers"},
	{"data_bytes", offsetof(struct usage, data), "of these, not zero"},
	{"distinct_bytes", offsetof(struct usage, distinct), "distinct pages of layers"},
	{"stored_bytes", offsetof(struct usage, stored), "packs on disk"},
	{"chunk_bytes", offsetof(struct usage, chunk_bytes), "of these, chunks"},
	{"digest_bytes", offsetof(struct usage, digest_bytes), "of these, digest lists"},
	{"map_bytes", offsetof(struct usage, map_bytes),
	 "of these, frame maps, manifests and decisions"},
	{"index_bytes", offsetof(struct usage, index), "index.db"},
	{"dead_bytes", offsetof(struct usage, dead),
	 "in packs, reached by no layer: what gc --repack would free, about"},
	{"live_bytes", offsetof(struct usage, live_bytes),
	 "written to live images and not committed, beside the packs"},
};

static const struct figure counts[] = {
	{"layers", offsetof(struct usage, layers), "layers"},
	{"tags", offsetof(struct usage, tags), "tags"},
	{"live_images", offsetof(struct usage, live), "live images"},
	{"removed", offsetof(struct usage, removed), "removed layers that gc has not forgotten"},
	{"packs", offsetof(struct usage, packs), "packs"},
	{"frames", offsetof(struct usage, frames), "distinct frames"},
	{"segments", offsetof(struct usage, segs), "segments"},
	{"chunks", offsetof(struct usage, chunks), "chunks"},
	{"hooks", offsetof(struct usage, hooks), "hooks: digests in the index"},
};

static const struct figure layer_sizes[] = {
	{"logical_bytes", offsetof(struct usage_layer, logical), "sizes of the layer's images"},
	{"data_bytes", offsetof(struct usage_layer, data), "of these, not zero"},
	{"exclusive_bytes", offsetof(struct usage_layer, exclusive),
	 "distinct pages that only this layer reaches"},
	{"shared_bytes", offsetof(struct usage_layer, shared),
	 "distinct pages that others reach too"},
	{"exclusive_stored_bytes", offsetof(struct usage_layer, exclusive_stored),
	 "exclusive pages as they are compressed, about"},
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t value(const void *usage, const struct figure *f)
{
	return *(const uint64_t *)((const char *)usage + f->at);
}

struct all {
	struct usage usage;
	struct usage_layer *layers;	/* NULL: not asked for */
	size_t nlayers;
};

/* --- for people --- */

static int print_figures(const struct cli *cli, const struct usage *u)
{
	static const struct table_col cols[] = {{"what", false}, {"", true}, {"", false}};
	struct table t = TABLE(cols);
	char size[FMT_SIZE_LEN];

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		table_cell(&t, "%s", sizes[i].key);
		table_cell(&t, "%s", cli_size(cli, size, value(u, &sizes[i])));
		table_cell(&t, "%s", sizes[i].what);
	}
	for (size_t i = 0; i < LENGTH(counts); i++) {
		table_cell(&t, "%s", counts[i].key);
		table_cell(&t, "%llu", (unsigned long long)value(u, &counts[i]));
		table_cell(&t, "%s", counts[i].what);
	}
	return table_print(&t, stdout);
}

static int print_layers(const struct cli *cli, const struct all *all)
{
	static const struct table_col cols[] = {
		{"layer", false}, {"logical", true}, {"data", true}, {"exclusive", true},
		{"shared", true}, {"exclusive stored", true},
	};
	struct table t = TABLE(cols);
	char id[CLI_ID_LEN], size[FMT_SIZE_LEN];

	for (size_t n = 0; n < all->nlayers; n++) {
		table_cell(&t, "%s", cli_id(id, &all->layers[n].id));
		for (size_t i = 0; i < LENGTH(layer_sizes); i++)
			table_cell(&t, "%s", cli_size(cli, size, value(&all->layers[n],
								       &layer_sizes[i])));
	}
	putchar('\n');
	return table_print(&t, stdout);
}

static int print_text(struct cli *cli, const struct all *all)
{
	int rc = print_figures(cli, &all->usage);

	return rc == 0 && all->layers ? print_layers(cli, all) : rc;
}

/* --- JSON --- */

static int set_figures(json_t *object, const struct figure *f, size_t n, const void *usage)
{
	for (size_t i = 0; i < n; i++)
		if (json_object_set_new(object, f[i].key,
					json_integer((json_int_t)value(usage, &f[i]))) < 0)
			return -ENOMEM;
	return 0;
}

static json_t *layers_json(const struct all *all)
{
	json_t *list = json_array(), *object;

	for (size_t n = 0; n < all->nlayers; n++) {
		object = json_pack("{s:o}", "layer", out_id(&all->layers[n].id));
		(void)set_figures(object, layer_sizes, LENGTH(layer_sizes), &all->layers[n]);
		if (json_array_append_new(list, object) < 0)
			break;
	}
	return list;
}

static int print_json(struct cli *cli, const struct all *all)
{
	json_t *root = json_object(), *object = json_object();
	int rc = set_figures(root, sizes, LENGTH(sizes), &all->usage);

	if (rc == 0)
		rc = set_figures(object, counts, LENGTH(counts), &all->usage);
	if (rc == 0)
		rc = json_object_set_new(root, "counts", object);
	if (rc == 0 && all->layers)
		rc = json_object_set_new(root, "layers", layers_json(all));
	if (rc < 0)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	return out_json(root, &cli->err);
}

/* --- Prometheus --- */

static void metric_head(const char *prefix, const struct figure *f)
{
	printf("# HELP lamina_%s%s %s\n# TYPE lamina_%s%s gauge\n", prefix, f->key, f->what,
	       prefix, f->key);
}

static void print_metrics(const struct figure *f, size_t n, const struct usage *u)
{
	for (size_t i = 0; i < n; i++) {
		metric_head("", &f[i]);
		printf("lamina_%s %llu\n", f[i].key, (unsigned long long)value(u, &f[i]));
	}
}

static void print_prometheus(const struct all *all)
{
	char hex[DIGEST_HEX_LEN];

	print_metrics(sizes, LENGTH(sizes), &all->usage);
	print_metrics(counts, LENGTH(counts), &all->usage);
	for (size_t i = 0; all->nlayers && i < LENGTH(layer_sizes); i++) {
		metric_head("layer_", &layer_sizes[i]);
		for (size_t n = 0; n < all->nlayers; n++)
			printf("lamina_layer_%s{layer=\"%s\"} %llu\n", layer_sizes[i].key,
			       fmt_hex(hex, all->layers[n].id.b, DIGEST_LEN),
			       (unsigned long long)value(&all->layers[n], &layer_sizes[i]));
	}
}

static int print(struct cli *cli, const struct all *all)
{
	const struct args *args = cli->args;

	if (cli->json)
		return print_json(cli, all);
	if (!args->prometheus)
		return print_text(cli, all);
	print_prometheus(all);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct all all = {0};
	int rc;

	(void)argc;
	(void)argv;
	if (cli->json && args->prometheus)
		return cli_usage(cli, "--json and --prometheus exclude each other");
	rc = cli_open(cli);
	if (rc == 0)
		rc = usage_store(cli->store, &all.usage, &cli->err);
	if (rc == 0 && args->layers)
		rc = usage_layers(cli->store, &all.layers, &all.nlayers, &cli->err);
	if (rc == 0)
		rc = print(cli, &all);
	free(all.layers);
	return rc;
}

const struct cmd cmd_stat = {
	.name = "stat",
	.purpose = "Shows where the store's bytes are.",
	.task = "measure the store",
	.notes = "Distinct pages are counted once however many layers have them. "
		 "Exclusive bytes are what removing a layer and a repacking gc would free, "
		 "before compression.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.run = run,
};
