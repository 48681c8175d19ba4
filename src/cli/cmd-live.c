/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/guest-name.h"
#include "src/cli/live-layer.h"
#include "src/cli/meta.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "src/cli/verb.h"
#include "store/decide.h"
#include "store/info.h"
#include "store/live.h"

struct args {
	const char *from;
	struct opt_words sizes;
	const char *tag;
	struct opt_words meta;
	bool paused;
	bool dry_run;
	unsigned threads;
	const char *wait;
};

static const struct opt opts[] = {
	{OPT_TEXT, "from", 'f', OPT_TO(struct args, from), "LAYER", "@layer",
	 "create: the layer that it begins as; without it all images are empty"},
	{OPT_WORDS, "size", 'S', OPT_TO(struct args, sizes), "IMAGE=SIZE", "memfile= rootfs=",
	 "create: the size of an image, as in rootfs=8G: not below the layer's; one that the "
	 "layer lacks begins with zeros; may be given again"},
	{OPT_TEXT, "tag", 't', OPT_TO(struct args, tag), "TAG", "@tag",
	 "commit: point TAG at the new layer, in the same step"},
	{OPT_WORDS, "meta", 'm', OPT_TO(struct args, meta), "KEY=VALUE", NULL,
	 "commit: keep this with the layer, as lamina-commit(1) does; may be given again"},
	{OPT_FLAG, "paused", 'p', OPT_TO(struct args, paused), NULL, NULL,
	 "commit: the guest is paused, and its memfile and state were written since, whole: the "
	 "layer can be resumed"},
	{OPT_FLAG, "dry-run", 'n', OPT_TO(struct args, dry_run), NULL, NULL,
	 "commit: count, and write no layer"},
	{OPT_COUNT, "threads", 0, OPT_TO(struct args, threads), "N", NULL,
	 "commit: threads that hash and compress (default: one a core but one, at most 8)"},
	CLI_OPT_WAIT(struct args),
	OPT_TABLE_END
};

static int no_memory(struct cli *cli)
{
	return err_set(&cli->err, -ENOMEM, "out of memory");
}

/* ---- what is known of one ---- */

/* Of all images. */
struct sums {
	uint64_t written, punched, frames, size;
};

static struct sums sums_of(const struct live_info *info)
{
	struct sums s = {0};

	for (unsigned i = 0; i < info->nimages; i++) {
		s.written += info->image[i].written;
		s.punched += info->image[i].punched;
		s.frames += info->image[i].frames;
		s.size += info->image[i].size;
	}
	return s;
}

static uint64_t growth(const struct live_image_info *i)
{
	return i->size > i->base_size ? i->size - i->base_size : 0;
}

static json_t *image_json(const struct live_image_info *i)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "name", i->name,
			 "size", (json_int_t)i->size, "layer_size", (json_int_t)i->base_size,
			 "growth", (json_int_t)growth(i), "written", (json_int_t)i->written,
			 "punched", (json_int_t)i->punched, "frames", (json_int_t)i->frames);
}

static json_t *to_json(const struct live_info *info)
{
	const struct live_row *row = &info->row;
	json_t *images = json_array();
	char created[32];

	info_time(created, row->created);
	for (unsigned i = 0; images && i < info->nimages; i++)
		if (json_array_append_new(images, image_json(&info->image[i])) < 0)
			break;
	return json_pack("{s:s, s:o, s:s, s:I, s:I, s:o, s:o}", "name", row->name,
			 "layer", row->has_base ? out_id(&row->base) : json_null(),
			 "created", created, "disk", (json_int_t)info->disk,
			 "sealed", (json_int_t)info->sealed,
			 "pid", info->pid > 0 ? json_integer(info->pid) : json_null(),
			 "images", images);
}

/* ---- create ---- */

struct create {
	struct live_size size[IMAGES_MAX];
	char name[IMAGES_MAX][IMAGE_NAME_MAX + 1];
	size_t n;
};

static int add_size(struct cli *cli, struct create *c, const char *text)
{
	const char *eq = strchr(text, '=');
	size_t len = eq ? (size_t)(eq - text) : 0;
	struct live_size *size = &c->size[c->n];
	char *name = c->name[c->n];

	if (c->n == IMAGES_MAX)
		return cli_usage(cli, "more than %u images", IMAGES_MAX);
	if (!eq || fmt_parse_size(eq + 1, &size->size) < 0)
		return cli_usage(cli, "--size: '%s' is not IMAGE=SIZE, as in rootfs=8G", text);
	(void)snprintf(name, IMAGE_NAME_MAX + 1, "%.*s", (int)len, text);
	if (len > IMAGE_NAME_MAX || !layer_image_name_ok(name))
		return cli_usage(cli, "--size: '%.*s' is no name for an image", (int)len, text);
	for (size_t i = 0; i < c->n; i++)
		if (!strcmp(c->name[i], name))
			return cli_usage(cli, "--size: image '%s' is given twice", name);
	size->image = name;
	c->n++;
	return 0;
}

static int print_created(struct cli *cli, const char *name)
{
	struct live_info *info = calloc(1, sizeof(*info));
	int rc = info ? 0 : no_memory(cli);

	if (rc == 0)
		rc = live_info(cli->store, name, info, &cli->err);
	if (rc == 0)
		rc = out_json(to_json(info), &cli->err);
	free(info);
	return rc;
}

static int create(struct cli *cli, const char *name, const struct create *c)
{
	const struct args *args = cli->args;
	struct live_new what = {.name = name, .sizes = c->size, .nsizes = c->n};
	struct digest from;
	uint64_t wait_ms;
	int rc = cli_open(cli);

	if (rc == 0)
		rc = cli_wait(cli, args->wait, &wait_ms);
	if (rc == 0 && args->from) {
		rc = cli_layer_id(cli, args->from, &from);
		what.from = &from;
	}
	if (rc == 0)
		rc = live_create(cli->store, &what, wait_ms, &cli->err);
	if (rc == 0 && cli->json)
		rc = print_created(cli, name);
	return rc;
}

static int run_create(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct create *c = calloc(1, sizeof(*c));
	int rc = c ? 0 : no_memory(cli);

	(void)argc;
	if (rc == 0 && !live_row_name_ok(argv[0]))
		rc = cli_usage(cli, "'%s' is no name for a live image", argv[0]);
	if (rc == 0 && !args->from && !args->sizes.n)
		rc = cli_usage(cli, "say of what: --from LAYER, or --size IMAGE=SIZE");
	for (size_t i = 0; rc == 0 && i < args->sizes.n; i++)
		rc = add_size(cli, c, args->sizes.v[i].text);
	if (rc == 0)
		rc = create(cli, argv[0], c);
	free(c);
	return rc;
}

/* ---- ls ---- */

struct list {
	struct cli *cli;
	struct table *table;
	struct out_array *json;
	struct live_info *info;
	int rc;			/* of the first that cannot be looked at; cli->err says why */
};

static void add_row(struct list *list)
{
	const struct live_info *info = list->info;
	struct sums sums = sums_of(info);
	char id[CLI_ID_LEN], size[FMT_SIZE_LEN], time[FMT_SIZE_LEN];
	struct table *t = list->table;

	table_cell(t, "%s", info->row.name);
	table_cell(t, "%s", info->row.has_base ? cli_id(id, &info->row.base) : "-");
	table_cell(t, "%s", fmt_time(time, info->row.created));
	table_cell(t, "%u", info->nimages);
	table_cell(t, "%s", cli_size(list->cli, size, sums.size));
	table_cell(t, "%s", cli_size(list->cli, size, sums.written * PAGE_SIZE));
	table_cell(t, "%s", cli_size(list->cli, size, info->disk));
	table_cell(t, info->pid > 0 ? "%d" : "-", info->pid);
}

/* One that was removed while we look is not there. */
static void keep_trouble(struct list *list, int rc, const struct err *err)
{
	if (rc == -ENOENT)
		return;
	if (list->rc == 0)
		list->cli->err = *err;
	else
		cli_note(list->cli, "cannot %s: %s", list->cli->cmd->task, err->text);
	list->rc = list->rc ? list->rc : rc;
}

static int list_one(void *ctx, const struct live_row *row)
{
	struct list *list = ctx;
	struct cli *cli = list->cli;
	struct err err;
	int rc;

	if (cli->quiet && !cli->json) {
		puts(row->name);
		return 0;
	}
	rc = live_info(cli->store, row->name, list->info, &err);
	if (rc < 0) {
		keep_trouble(list, rc, &err);
		return 0;
	}
	if (cli->json)
		return out_array_add(list->json, to_json(list->info), &cli->err);
	add_row(list);
	return 0;
}

static int run_ls(struct cli *cli, int argc, char **argv)
{
	static const struct table_col cols[] = {
		{"name", false}, {"layer", false}, {"created", false}, {"images", true},
		{"size", true}, {"written", true}, {"disk", true}, {"pid", true},
	};
	struct table table = TABLE(cols);
	struct out_array json;
	struct list list = {cli, &table, &json, calloc(1, sizeof(struct live_info)), 0};
	int rc = list.info ? cli_open(cli) : no_memory(cli);

	(void)argc;
	(void)argv;
	if (rc == 0 && cli->json)
		out_array_begin(&json, 0);
	if (rc == 0)
		rc = live_row_each(cli->store, list_one, &list, &cli->err);
	rc = rc ? rc : list.rc;
	if (cli->json && cli->store) {
		out_array_end(&json);
		putchar('\n');
	}
	if (table.n || table.error)
		rc = table_print(&table, stdout) < 0 ? no_memory(cli) : rc;
	free(list.info);
	return rc;
}

/* ---- show ---- */

static void field(struct table *t, const char *name, const char *value)
{
	table_cell(t, "%s", name);
	table_cell(t, "%s", value);
}

static int print_fields(struct cli *cli, const struct live_info *info)
{
	static const struct table_col cols[] = {{"field", false}, {"value", false}};
	struct table t = TABLE(cols);
	char text[FMT_SIZE_LEN], hex[DIGEST_HEX_LEN];

	field(&t, "name", info->row.name);
	field(&t, "layer", info->row.has_base ? fmt_hex(hex, info->row.base.b, DIGEST_LEN) : "-");
	field(&t, "created", fmt_time(text, info->row.created));
	field(&t, "disk", cli_size(cli, text, info->disk));
	table_cell(&t, "sealed");
	table_cell(&t, "%" PRIu64, info->sealed);
	table_cell(&t, "pid");
	table_cell(&t, info->pid > 0 ? "%d" : "-", info->pid);
	return table_print(&t, stdout);
}

static int print_images(struct cli *cli, const struct live_info *info)
{
	static const struct table_col cols[] = {
		{"image", false}, {"size", true}, {"growth", true}, {"written", true},
		{"punched", true}, {"dirty frames", true},
	};
	struct table t = TABLE(cols);
	char size[FMT_SIZE_LEN];

	for (unsigned i = 0; i < info->nimages; i++) {
		const struct live_image_info *image = &info->image[i];

		table_cell(&t, "%s", image->name);
		table_cell(&t, "%s", cli_size(cli, size, image->size));
		table_cell(&t, "%s", cli_size(cli, size, growth(image)));
		table_cell(&t, "%" PRIu64, image->written);
		table_cell(&t, "%" PRIu64, image->punched);
		table_cell(&t, "%" PRIu64, image->frames);
	}
	return table_print(&t, stdout);
}

static int show(struct cli *cli, const struct live_info *info)
{
	if (cli->json)
		return out_json(to_json(info), &cli->err);
	if (cli->quiet)
		return 0;
	if (print_fields(cli, info) < 0)
		return no_memory(cli);
	putchar('\n');
	return print_images(cli, info) < 0 ? no_memory(cli) : 0;
}

static int run_show(struct cli *cli, int argc, char **argv)
{
	struct live_info *info = calloc(1, sizeof(*info));
	int rc = info ? cli_open(cli) : no_memory(cli);
	char *live = NULL;

	(void)argc;
	if (rc == 0)
		live = guest_name_live(cli, argv[0]);
	if (rc == 0)
		rc = live ? live_info(cli->store, live, info, &cli->err) : no_memory(cli);
	if (rc == 0)
		rc = show(cli, info);
	free(live);
	free(info);
	return rc;
}

/* ---- commit ---- */

/* Or somebody resumes it. */
static void tell_moment(struct cli *cli, const struct live_layer *layer)
{
	char id[CLI_ID_LEN] = "";

	(void)fflush(stdout);
	if (!layer->o.dry_run)
		(void)cli_id(id, &layer->result.id);
	cli_note(cli, "%s%s keeps the files, and is none to resume: it is not known that its "
		 "memory, state and disk are of one moment. 'lamina pause' makes one of which it "
		 "is; where the guest was paused by other means, and saved, --paused says so",
		 *id ? "layer " : "the layer", id);
}

static int commit(struct cli *cli, const char *name, struct live_layer *layer,
		  struct attrs *attrs)
{
	const struct args *args = cli->args;
	char *live;
	int rc = meta_add_all(cli, &args->meta, attrs);

	if (rc == 0 && args->tag && !decide_tag_name_ok(args->tag))
		return cli_usage(cli, "--tag: '%s' is no name for a tag", args->tag);
	if (rc == 0)
		rc = cli_open(cli);
	if (rc == 0)
		rc = cli_wait(cli, args->wait, &layer->o.lock_wait_ms);
	if (rc)
		return rc;
	layer->o.name = live = guest_name_live(cli, name);
	layer->o.tag = args->tag;
	layer->o.attrs = attrs;
	layer->o.one_moment = args->paused;
	layer->o.dry_run = args->dry_run;
	layer->o.threads = args->threads;
	rc = live ? live_layer_commit(cli, layer) : no_memory(cli);
	if (rc == 0)
		rc = live_layer_tell(cli, layer);
	if (rc == 0 && layer->taken.moment_unknown)
		tell_moment(cli, layer);
	free(live);
	return rc;
}

static int run_commit(struct cli *cli, int argc, char **argv)
{
	struct live_layer *layer = calloc(1, sizeof(*layer));
	struct attrs attrs = {0};
	int rc;

	(void)argc;
	if (!layer)
		return no_memory(cli);
	rc = commit(cli, argv[0], layer, &attrs);
	attrs_fini(&attrs);
	free(layer);
	return rc;
}

/* ---- rm ---- */

/* All are looked for before any goes.  Of one that is damaged the name is enough. */
static int find_all(struct cli *cli, int argc, char **argv)
{
	struct live_row row;
	int rc = 0;

	for (int i = 0; rc == 0 && i < argc; i++) {
		rc = live_row_get(cli->store, argv[i], &row, &cli->err);
		rc = rc == -EBADMSG ? 0 : rc;
	}
	return rc;
}

/* Each that can be removed is; the first failure is what is reported. */
static int remove_all(struct cli *cli, int argc, char **argv, json_t *removed)
{
	const struct args *args = cli->args;
	struct err err;
	uint64_t wait_ms;
	int rc = cli_wait(cli, args->wait, &wait_ms), first = rc;

	for (int i = 0; rc == 0 && i < argc; i++) {
		int one = live_remove(cli->store, argv[i], wait_ms, &err);

		if (one == 0)
			(void)json_array_append_new(removed, json_string(argv[i]));
		else if (first == 0)
			cli->err = err;
		else
			cli_note(cli, "cannot %s: %s", cli->cmd->task, err.text);
		first = first ? first : one;
	}
	return first;
}

static int run_rm(struct cli *cli, int argc, char **argv)
{
	json_t *removed = json_array();
	int rc = removed ? cli_open(cli) : no_memory(cli), shown = 0;

	if (rc == 0)
		rc = find_all(cli, argc, argv);
	if (rc == 0) {
		rc = remove_all(cli, argc, argv, removed);
		shown = cli_show_removed(cli, rc, removed);
	}
	json_decref(removed);
	return rc ? rc : shown;
}

static const struct verb verbs[] = {
	{"create", "NAME", 1, 1, "create the live image", " from size wait ", NULL, run_create},
	{"ls", NULL, 0, 0, "list live images", "", NULL, run_ls},
	{"show", "NAME", 1, 1, "show the live image", "", "@live", run_show},
	{"commit", "NAME", 1, 1, "commit the live image", " tag meta paused dry-run threads wait ",
	 "@live", run_commit},
	{"rm", "NAME...", 1, CMD_ANY, "remove the live image", " wait ", "@live", run_rm},
	{.name = NULL}
};

const struct cmd cmd_live = {
	.name = "live",
	.operands = "VERB [NAME]...",
	.purpose = "Makes layers writable: images that a guest writes to, of which a commit "
		   "stores what it wrote.",
	.task = "work on live images",
	.interrupted = "nothing was committed, and nothing that was written is lost",
	.notes = "create NAME --from LAYER makes one. In the mount its images are the files "
		 "live/NAME/IMAGE: what is read is the layer's until it is written.\n\n"
		 "ls lists them; show NAME tells what was written, in pages of 4 KiB and frames "
		 "of 2 MiB.\n\n"
		 "commit NAME seals what was written so far as a new layer, a child of the one "
		 "before, while the guest goes on writing. One with a state can be resumed only if "
		 "--paused says that it is of one moment; lamina pause makes such layers.\n\n"
		 "rm NAME... removes them, with all that was not committed. One that is open is "
		 "refused. If one NAME is not there, none is removed.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = CMD_ANY,
	.verbs = verbs,
	.run = verb_run,
};
