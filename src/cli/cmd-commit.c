/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/ranges.h"
#include "src/cli/table.h"
#include "store/attrs.h"
#include "store/commit.h"
#include "store/decide.h"

struct args {
	struct opt_words images;
	const char *parent;
	const char *diff;
	struct opt_words dirty;
	const char *tag;
	struct opt_words meta;
	bool dry_run;
	unsigned threads;
	const char *wait;
};

static const struct opt opts[] = {
	{OPT_WORDS, "memfile", 'm', OPT_TO(struct args, images), "FILE", "@file",
	 "the guest's memory; FILE is a regular file or a block device"},
	{OPT_WORDS, "rootfs", 'r', OPT_TO(struct args, images), "FILE", "@file",
	 "the guest's disk"},
	{OPT_WORDS, "state", 't', OPT_TO(struct args, images), "FILE", "@file",
	 "the hypervisor's device state"},
	{OPT_WORDS, "image", 'i', OPT_TO(struct args, images), "NAME=FILE", "@image-file",
	 "any other image; may be given again"},
	{OPT_TEXT, "parent", 'p', OPT_TO(struct args, parent), "LAYER", "@layer",
	 "the layer that this one follows; images that are not given are inherited from it"},
	{OPT_MAYBE, "diff", 'd', OPT_TO(struct args, diff), "NAME,...", "memfile rootfs",
	 "the files (or those of the named images) are diffs against the parent: holes mean "
	 "'as in the parent', zero pages mean zero; without it holes mean zero"},
	{OPT_WORDS, "dirty", 0, OPT_TO(struct args, dirty), "NAME=RANGES.json", "@image-file",
	 "only these byte ranges of image NAME have changed, and only they are read: a JSON "
	 "array of {\"offset\": N, \"length\": N} or [N, N], at most 64 MiB and 16777216 "
	 "ranges; may be given again"},
	{OPT_TEXT, "tag", 0, OPT_TO(struct args, tag), "TAG", "@tag",
	 "point TAG at the new layer, in the same step"},
	{OPT_WORDS, "meta", 0, OPT_TO(struct args, meta), "KEY=VALUE", NULL,
	 "keep this with the layer; KEY has 1 to 64 of a-z 0-9 . _ - and does not begin with "
	 "'lamina.'; may be given again"},
	{OPT_FLAG, "dry-run", 'n', OPT_TO(struct args, dry_run), NULL, NULL,
	 "count, and write nothing"},
	{OPT_COUNT, "threads", 0, OPT_TO(struct args, threads), "N", NULL,
	 "threads that hash and compress (default: one a core, at most 8)"},
	CLI_OPT_WAIT(struct args),
	OPT_TABLE_END
};

struct commit {
	struct cli *cli;
	struct commit_opts o;
	struct commit_image image[IMAGES_MAX];
	char name[IMAGES_MAX][IMAGE_NAME_MAX + 1];
	struct ranges ranges[IMAGES_MAX];
	uint64_t size[IMAGES_MAX];	/* bytes */
	struct digest parent;
	struct attrs attrs;
	struct attrs old_attrs;
	struct commit_result result;
};

/* --- what is to be committed; each returns 0 or an exit status --- */

static struct commit_image *find_image(struct commit *c, const char *name, size_t len)
{
	for (size_t i = 0; i < c->o.nimages; i++)
		if (strlen(c->name[i]) == len && !strncmp(c->name[i], name, len))
			return &c->image[i];
	return NULL;
}

static int add_image(struct commit *c, const struct opt_word *w)
{
	bool any = !strcmp(w->opt->name, "image");
	const char *eq = any ? strchr(w->text, '=') : NULL;
	const char *from = any ? w->text : w->opt->name;
	size_t n = c->o.nimages, len = eq ? (size_t)(eq - from) : strlen(from);

	if (any && !eq)
		return cli_usage(c->cli, "--image: '%s' is not NAME=FILE", w->text);
	if (n == IMAGES_MAX)
		return cli_usage(c->cli, "more than %u images", IMAGES_MAX);
	(void)snprintf(c->name[n], sizeof(c->name[n]), "%.*s", (int)len, from);
	if (len > IMAGE_NAME_MAX || !layer_image_name_ok(c->name[n]))
		return cli_usage(c->cli, "--image: '%.*s' is no name for an image", (int)len,
				 from);
	if (find_image(c, from, len))
		return cli_usage(c->cli, "image '%s' is given twice", c->name[n]);
	c->image[n] = (struct commit_image){.name = c->name[n],
					    .path = eq ? eq + 1 : w->text};
	c->o.nimages++;
	return 0;
}

static int set_diff(struct commit *c, const char *names)
{
	struct commit_image *image;
	size_t len;

	for (size_t i = 0; !*names && i < c->o.nimages; i++)
		c->image[i].mode = INPUT_DIFF;
	for (; *names; names += len + (names[len] == ',')) {
		len = strcspn(names, ",");
		image = find_image(c, names, len);
		if (!image)
			return cli_usage(c->cli, "--diff: no image '%.*s' is given", (int)len,
					 names);
		image->mode = INPUT_DIFF;
	}
	return 0;
}

static int add_dirty(struct commit *c, const char *text)
{
	const char *eq = strchr(text, '=');
	struct commit_image *image;
	struct ranges *ranges;
	int rc;

	if (!eq)
		return cli_usage(c->cli, "--dirty: '%s' is not NAME=RANGES.json", text);
	image = find_image(c, text, (size_t)(eq - text));
	if (!image)
		return cli_usage(c->cli, "--dirty: no image '%.*s' is given", (int)(eq - text),
				 text);
	if (image->mode != INPUT_FULL)
		return cli_usage(c->cli, "image '%s' is given as --diff and --dirty, or as "
				 "--dirty twice", image->name);
	ranges = &c->ranges[image - c->image];
	rc = ranges_load(eq + 1, ranges, &c->cli->err);
	if (rc < 0)
		return rc;
	image->mode = INPUT_DIRTY;
	image->ranges = ranges->v;
	image->nranges = ranges->n;
	return 0;
}

static int add_meta(struct commit *c, const char *text)
{
	const char *eq = strchr(text, '=');
	char key[72];
	int rc;

	(void)snprintf(key, sizeof(key), "%.*s", eq ? (int)(eq - text) : 0, text);
	if (!eq || eq - text > 64 || !attrs_key_ok(key))
		return cli_usage(c->cli, "--meta: '%s' is not KEY=VALUE with 1 to 64 of a-z 0-9 "
				 ". _ - in KEY", text);
	if (!strncmp(key, "lamina.", strlen("lamina.")))
		return cli_usage(c->cli, "--meta: '%s': keys that begin with 'lamina.' are "
				 "commit's own", key);
	rc = attrs_set(&c->attrs, key, eq + 1);
	if (rc == -EINVAL)
		return err_set(&c->cli->err, rc, "--meta %s: the value is not UTF-8, or all "
			       "metadata is more than %u KiB", key, META_MAX >> 10);
	return rc < 0 ? err_set(&c->cli->err, rc, "out of memory") : 0;
}

static int set_images(struct commit *c, const struct args *args)
{
	int rc = 0;

	if (!args->images.n)
		return cli_usage(c->cli, "say what to commit: --memfile, --rootfs, --state or "
				 "--image");
	if ((args->diff || args->dirty.n) && !args->parent)
		return cli_usage(c->cli, "--diff and --dirty want --parent");
	for (size_t i = 0; rc == 0 && i < args->images.n; i++)
		rc = add_image(c, &args->images.v[i]);
	if (rc == 0 && args->diff)
		rc = set_diff(c, args->diff);
	for (size_t i = 0; rc == 0 && i < args->dirty.n; i++)
		rc = add_dirty(c, args->dirty.v[i].text);
	return rc;
}

static int set_opts(struct commit *c, const struct args *args)
{
	int rc = set_images(c, args);

	if (rc == 0 && args->tag && !decide_tag_name_ok(args->tag))
		return cli_usage(c->cli, "--tag: '%s' is no name for a tag", args->tag);
	for (size_t i = 0; rc == 0 && i < args->meta.n; i++)
		rc = add_meta(c, args->meta.v[i].text);
	c->o.images = c->image;
	c->o.tag = args->tag;
	c->o.attrs = &c->attrs;
	c->o.old_attrs = &c->old_attrs;
	c->o.dry_run = args->dry_run;
	c->o.threads = args->threads;
	return rc;
}

/* What lseek(2) says: of block devices too. */
static uint64_t size_of(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

	if (fd >= 0)
		(void)close(fd);
	return size < 0 ? 0 : (uint64_t)size;
}

/* --- the result --- */

static json_t *counts_json(const struct commit_counts *n)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "pages", (json_int_t)n->pages, "zero", (json_int_t)n->zero,
			 "same", (json_int_t)n->same, "known", (json_int_t)n->known,
			 "new", (json_int_t)n->fresh, "frames", (json_int_t)n->frames,
			 "frames_touched", (json_int_t)n->frames_touched,
			 "read_bytes", (json_int_t)n->read_bytes,
			 "stored_bytes", (json_int_t)n->stored_bytes);
}

static json_t *images_json(const struct commit *c)
{
	json_t *list = json_array(), *item;

	for (size_t i = 0; i < c->o.nimages; i++) {
		item = json_pack("{s:s, s:I}", "name", c->name[i], "size",
				 (json_int_t)c->size[i]);
		(void)json_object_update_new(item, counts_json(&c->result.image[i]));
		if (json_array_append_new(list, item) < 0)
			break;
	}
	return list;
}

static int print_json(const struct commit *c)
{
	const struct commit_result *r = &c->result;

	return out_json(json_pack("{s:o, s:b, s:b, s:o, s:o, s:f, s:I, s:I, s:o, s:o}",
				  "layer", c->o.dry_run ? json_null() : out_id(&r->id),
				  "existed", r->existed, "dry_run", c->o.dry_run,
				  "parent", c->o.parent ? out_id(c->o.parent) : json_null(),
				  "tag", c->o.tag ? json_string(c->o.tag) : json_null(),
				  "seconds", r->seconds,
				  "bytes_stored", (json_int_t)r->stored_bytes,
				  "frames_touched", (json_int_t)r->total.frames_touched,
				  "images", images_json(c), "total", counts_json(&r->total)),
			&c->cli->err);
}

static void add_row(const struct commit *c, struct table *t, const char *name,
		    const struct commit_counts *n)
{
	const uint64_t pages[] = {n->pages, n->zero, n->same, n->known, n->fresh};
	char size[FMT_SIZE_LEN];

	table_cell(t, "%s", name);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		table_cell(t, "%llu", (unsigned long long)pages[i]);
	table_cell(t, "%s", cli_size(c->cli, size, n->stored_bytes));
	table_cell(t, "%llu of %llu", (unsigned long long)n->frames_touched,
		   (unsigned long long)n->frames);
}

static int print_text(const struct commit *c)
{
	static const struct table_col cols[] = {
		{"image", false}, {"pages", true}, {"zero", true}, {"same", true},
		{"known", true}, {"new", true}, {"stored", true}, {"frames touched", true},
	};
	const struct commit_result *r = &c->result;
	struct table t = TABLE(cols);
	char hex[DIGEST_HEX_LEN], size[FMT_SIZE_LEN], time[FMT_SIZE_LEN];

	if (!c->o.dry_run)
		printf("layer %s%s\n", fmt_hex(hex, r->id.b, DIGEST_LEN),
		       r->existed ? " (was there already)" : "");
	for (size_t i = 0; i < c->o.nimages; i++)
		add_row(c, &t, c->name[i], &r->image[i]);
	if (c->o.nimages > 1)
		add_row(c, &t, "total", &r->total);
	printf("%s %s in %s\n", c->o.dry_run ? "would store" : "stored",
	       cli_size(c->cli, size, r->stored_bytes), fmt_duration(time, r->seconds));
	return table_print(&t, stdout);
}

static int print(const struct commit *c)
{
	char hex[DIGEST_HEX_LEN];

	if (c->cli->json)
		return print_json(c);
	if (!c->cli->quiet)
		return print_text(c);
	if (!c->o.dry_run)
		puts(fmt_hex(hex, c->result.id.b, DIGEST_LEN));
	return 0;
}

/* What was said before of the same layer, perhaps by somebody else, is not lost unheard. */
static void tell_attrs(const struct commit *c)
{
	char id[CLI_ID_LEN];
	const char *old;

	(void)cli_id(id, &c->result.id);
	for (size_t i = 0; i < c->attrs.n; i++) {
		const struct attr *a = &c->attrs.v[i];

		old = attrs_get(&c->old_attrs, a->key);
		if (!old)
			cli_note(c->cli, "layer %s was there already: --meta %s=%s is added to it",
				 id, a->key, a->value);
		else if (strcmp(old, a->value) != 0)
			cli_note(c->cli, "layer %s was there already: --meta %s=%s replaces '%s'",
				 id, a->key, a->value, old);
	}
}

/* What is to be known of a commit even if nothing can be printed. */
static void tell(const struct commit *c)
{
	struct cli *cli = c->cli;
	char hex[DIGEST_HEX_LEN];

	if (c->o.dry_run)
		return;
	(void)snprintf(cli->done, sizeof(cli->done), "layer %s is committed",
		       fmt_hex(hex, c->result.id.b, DIGEST_LEN));
	if (c->result.existed)
		tell_attrs(c);
}

static int commit(struct commit *c, const struct args *args)
{
	struct cli *cli = c->cli;
	int rc = cli_open(cli);

	if (rc == 0)
		rc = cli_wait(cli, args->wait, &c->o.lock_wait_ms);
	if (rc == 0 && args->parent) {
		rc = cli_layer_id(cli, args->parent, &c->parent);
		c->o.parent = &c->parent;
	}
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < c->o.nimages; i++)
		c->size[i] = size_of(c->image[i].path);
	c->o.progress = cli_progress(cli);
	rc = commit_run(cli->store, &c->o, &c->result, &cli->err);
	meter_end(&cli->meter);
	if (rc < 0)
		return rc;
	tell(c);
	return print(c);
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct commit *c = calloc(1, sizeof(*c));
	int rc;

	(void)argc;
	(void)argv;
	if (!c)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	c->cli = cli;
	rc = set_opts(c, cli->args);
	if (rc == 0)
		rc = commit(c, cli->args);
	for (size_t i = 0; i < IMAGES_MAX; i++)
		ranges_fini(&c->ranges[i]);
	attrs_fini(&c->attrs);
	attrs_fini(&c->old_attrs);
	free(c);
	return rc;
}

const struct cmd cmd_commit = {
	.name = "commit",
	.purpose = "Seals images of a paused guest as a new layer.",
	.task = "commit",
	.interrupted = "nothing was committed",
	.notes = "At least one image must be given. The same content committed twice is one "
		 "layer. Prints of each image how many pages of 4 KiB are zero, the same as "
		 "in the parent at that place, known elsewhere in the store, and new; the "
		 "bytes that the new ones take; and how many frames of 2 MiB differ from the "
		 "parent's. With --quiet only the layer's id.\n\n"
		 "The files must not change meanwhile. When commit fails or is interrupted, "
		 "the store is as it was before.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.run = run,
};
