/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/sparse.h"
#include "src/cli/table.h"
#include "store/base/vec.h"

struct args {
	struct opt_words images;
	bool force;
};

static const struct opt opts[] = {
	{OPT_WORDS, "memfile", 'm', OPT_TO(struct args, images), "OUT", "@file",
	 "write the guest's memory to OUT"},
	{OPT_WORDS, "rootfs", 'r', OPT_TO(struct args, images), "OUT", "@file",
	 "write its disk to OUT"},
	{OPT_WORDS, "state", 't', OPT_TO(struct args, images), "OUT", "@file",
	 "write the hypervisor's device state to OUT"},
	{OPT_WORDS, "image", 'i', OPT_TO(struct args, images), "NAME=OUT", "@image-file",
	 "write any image of the layer to OUT"},
	{OPT_FLAG, "force", 'f', OPT_TO(struct args, force), NULL, NULL,
	 "replace OUT if it is there (else that is an error); only a regular file is ever "
	 "replaced"},
	OPT_TABLE_END
};

struct target {
	char name[IMAGE_NAME_MAX + 1];
	const char *path;
	uint64_t size;		/* bytes */
	uint64_t data;		/* bytes written */
};

struct export {
	struct cli *cli;
	struct layer *layer;
	struct target *v;
	size_t n;
	size_t cap;
};

/* "NAME=OUT" for --image, "OUT" for the options named after an image. */
static int add_target(struct export *e, const struct opt_word *w)
{
	const char *eq = strchr(w->text, '=');
	bool any = !strcmp(w->opt->name, "image");
	struct target t = {.path = any && eq ? eq + 1 : w->text};
	size_t len = eq ? (size_t)(eq - w->text) : 0;

	if (any && (!eq || !len || len > IMAGE_NAME_MAX))
		return cli_usage(e->cli, "--image: '%s' is not NAME=OUT", w->text);
	if (!*t.path)
		return cli_usage(e->cli, "--%s: the file's name is empty", w->opt->name);
	for (size_t i = 0; i < e->n; i++)
		if (!strcmp(e->v[i].path, t.path))
			return cli_usage(e->cli, "'%s' is given for two images", t.path);
	if (any)
		memcpy(t.name, w->text, len);
	else
		(void)snprintf(t.name, sizeof(t.name), "%s", w->opt->name);
	return vec_push(e, t) < 0 ? err_set(&e->cli->err, -ENOMEM, "out of memory") : 0;
}

/* All that can be known to fail is said before anything is written. */
static int check_target(struct export *e, const struct target *t)
{
	const struct args *args = e->cli->args;
	struct stat st;

	if (!layer_image(e->layer, t->name))
		return err_set(&e->cli->err, -ENOENT, "the layer has no image '%s'", t->name);
	if (lstat(t->path, &st) < 0)
		return 0;
	if (!args->force)
		return err_set(&e->cli->err, -EEXIST, "'%s' exists (--force replaces it)",
			       t->path);
	if (!S_ISREG(st.st_mode))
		return err_set(&e->cli->err, -EEXIST,
			       "'%s' exists and is not a regular file", t->path);
	return 0;
}

static int export_one(struct export *e, struct target *t)
{
	const struct args *args = e->cli->args;
	struct progress progress = cli_progress(e->cli);
	struct sparse sparse = {.path = t->path, .replace = args->force,
				.progress = &progress};
	struct view *view;
	int rc = view_open(e->cli->store, e->layer, t->name, &view, &e->cli->err);

	if (rc < 0)
		return rc;
	rc = sparse_write(&sparse, view, &e->cli->err);
	meter_end(&e->cli->meter);
	t->size = view_size(view);
	t->data = sparse.data;
	view_close(view);
	return rc;
}

static int print_json(const struct export *e)
{
	json_t *list = json_array();

	for (size_t i = 0; i < e->n; i++) {
		json_t *item = json_pack("{s:s, s:s, s:I, s:I}", "image", e->v[i].name, "path",
					 e->v[i].path, "size", (json_int_t)e->v[i].size,
					 "data_bytes", (json_int_t)e->v[i].data);

		if (json_array_append_new(list, item) < 0)
			break;
	}
	return out_json(json_pack("{s:o, s:o}", "layer", out_id(&e->layer->id), "images", list),
			&e->cli->err);
}

static int print(const struct export *e)
{
	static const struct table_col cols[] = {
		{"image", false}, {"size", true}, {"data", true}, {"file", false},
	};
	struct table t = TABLE(cols);
	char size[FMT_SIZE_LEN];

	if (e->cli->json)
		return print_json(e);
	if (e->cli->quiet)
		return 0;
	for (size_t i = 0; i < e->n; i++) {
		table_cell(&t, "%s", e->v[i].name);
		table_cell(&t, "%s", cli_size(e->cli, size, e->v[i].size));
		table_cell(&t, "%s", cli_size(e->cli, size, e->v[i].data));
		table_cell(&t, "%s", e->v[i].path);
	}
	return table_print(&t, stdout);
}

static int export_all(struct export *e, const char *layer)
{
	int rc = cli_open(e->cli);

	if (rc == 0)
		rc = cli_layer_open(e->cli, layer, &e->layer);
	for (size_t i = 0; rc == 0 && i < e->n; i++)
		rc = check_target(e, &e->v[i]);
	for (size_t i = 0; rc == 0 && i < e->n; i++)
		rc = export_one(e, &e->v[i]);
	if (rc == 0)
		rc = print(e);
	layer_unref(e->layer);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct export e = {.cli = cli};
	int rc = 0;

	(void)argc;
	if (!args->images.n)
		return cli_usage(cli, "say which images to write: --memfile, --rootfs, --state "
				 "or --image");
	for (size_t i = 0; rc == 0 && i < args->images.n; i++)
		rc = add_target(&e, &args->images.v[i]);
	if (rc == 0)
		rc = export_all(&e, argv[0]);
	vec_fini(&e);
	return rc;
}

const struct cmd cmd_export = {
	.name = "export",
	.operands = "LAYER",
	.purpose = "Writes images of a layer to ordinary files.",
	.task = "export",
	.notes = "The files are sparse (zeros become holes), have the same bytes as what was "
		 "committed, and mode 0600. A file appears under its name only when it is "
		 "whole and on disk; until then it is OUT.tmp.XXXXXX beside it.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = 1,
	.words = "@layer",
	.run = run,
};
