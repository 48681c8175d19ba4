/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/committed.h"
#include "src/cli/meta.h"
#include "src/cli/ranges.h"
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
	if (rc == 0)
		rc = meta_add_all(c->cli, &args->meta, &c->attrs);
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

/* What it did, beginning with what is to be known even if nothing can be printed. */
static int tell(const struct commit *c)
{
	struct committed done = {.result = &c->result, .parent = c->o.parent, .tag = c->o.tag,
				 .dry_run = c->o.dry_run};

	for (size_t i = 0; i < c->o.nimages; i++) {
		done.names[i] = c->name[i];
		done.size[i] = c->size[i];
	}
	committed_note(c->cli, &done);
	if (c->result.existed && !c->o.dry_run)
		tell_attrs(c);
	return committed_print(c->cli, &done);
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
	return rc < 0 ? rc : tell(c);
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
