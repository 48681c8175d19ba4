/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "store/codec.h"
#include "store/digest.h"

struct args {
	const char *digest;
	const char *codec;
	const char *level;
	struct opt_words chunk_pages;
};

static const struct opt opts[] = {
	{OPT_TEXT, "digest", 0, OPT_TO(struct args, digest), "NAME", "blake2b-256 sha256",
	 "what names pages and layers: blake2b-256 (default) or sha256"},
	{OPT_TEXT, "codec", 0, OPT_TO(struct args, codec), "NAME", "zstd none",
	 "how chunks are compressed: zstd (default) or none"},
	{OPT_TEXT, "level", 0, OPT_TO(struct args, level), "N", NULL,
	 "the codec's level, 1 (default) to 22: higher is smaller and slower; reading does "
	 "not depend on it"},
	{OPT_WORDS, "chunk-pages", 0, OPT_TO(struct args, chunk_pages), "[KIND=]N",
	 "memfile= rootfs= other=",
	 "pages of 4 KiB that are compressed together, 1 to 16, for images of KIND: memfile, "
	 "rootfs, other, or without KIND for all; more is smaller, fewer makes random "
	 "reads cheaper; may be given again (default: memfile=8, rootfs=16, other=16)"},
	OPT_TABLE_END
};

static const char *const kinds[IMAGE_KINDS] = {
	[IMAGE_MEMFILE] = "memfile", [IMAGE_ROOTFS] = "rootfs", [IMAGE_OTHER] = "other",
};

static int parse_small(const char *text, uint64_t min, uint64_t max, unsigned *ret)
{
	uint64_t v;

	if (fmt_parse_u64(text, &v) < 0 || v < min || v > max)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

static int set_chunk_pages(struct cli *cli, const char *text, struct store_params *params)
{
	const char *eq = strchr(text, '=');
	size_t len = eq ? (size_t)(eq - text) : 0;
	bool known = false;
	unsigned n;

	if (parse_small(eq ? eq + 1 : text, 1, CHUNK_PAGES_MAX, &n) < 0)
		return cli_usage(cli, "--chunk-pages: '%s': pages go from 1 to %u", text,
				 CHUNK_PAGES_MAX);
	for (int k = 0; k < IMAGE_KINDS; k++) {
		if (eq && (strlen(kinds[k]) != len || strncmp(kinds[k], text, len) != 0))
			continue;
		params->chunk_pages[k] = n;
		known = true;
	}
	return known ? 0 : cli_usage(cli, "--chunk-pages: '%s': the kinds are memfile, "
				     "rootfs and other", text);
}

/* An exit status if an option is wrong, else 0. */
static int set_params(struct cli *cli, const struct args *args, struct store_params *params)
{
	unsigned level;
	int rc = 0;

	if (args->digest && (params->digest = digest_from_name(args->digest)) < 0)
		return cli_usage(cli, "--digest: '%s' is neither blake2b-256 nor sha256",
				 args->digest);
	if (args->codec && (params->codec = codec_from_name(args->codec)) < 0)
		return cli_usage(cli, "--codec: '%s' is neither zstd nor none", args->codec);
	if (params->codec == CODEC_NONE)
		params->level = 0;
	if (args->level && params->codec == CODEC_NONE)
		return cli_usage(cli, "--level: '%s': none has no levels", args->level);
	if (args->level) {
		if (parse_small(args->level, 1, (unsigned)codec_level_max(params->codec),
				&level) < 0)
			return cli_usage(cli, "--level: '%s': %s has levels 1 to %d", args->level,
					 codec_name(params->codec),
					 codec_level_max(params->codec));
		params->level = (int)level;
	}
	for (size_t i = 0; rc == 0 && i < args->chunk_pages.n; i++)
		rc = set_chunk_pages(cli, args->chunk_pages.v[i].text, params);
	return rc;
}

static int print_json(struct cli *cli, const char *path, const struct store_params *p)
{
	return out_json(json_pack("{s:s, s:s, s:s, s:i, s:{s:i, s:i, s:i}}",
				  "store", path, "digest", digest_name(p->digest),
				  "codec", codec_name(p->codec), "level", p->level,
				  "chunk_pages", "memfile", (int)p->chunk_pages[IMAGE_MEMFILE],
				  "rootfs", (int)p->chunk_pages[IMAGE_ROOTFS],
				  "other", (int)p->chunk_pages[IMAGE_OTHER]),
			&cli->err);
}

static int print(struct cli *cli, const char *path, const struct store_params *p)
{
	if (cli->json)
		return print_json(cli, path, p);
	if (cli->quiet)
		return 0;
	printf("made an empty store in '%s': %s, %s", path, digest_name(p->digest),
	       codec_name(p->codec));
	if (p->codec != CODEC_NONE)
		printf(" level %d", p->level);
	printf(", pages a chunk: memfile %u, rootfs %u, other %u\n",
	       p->chunk_pages[IMAGE_MEMFILE], p->chunk_pages[IMAGE_ROOTFS],
	       p->chunk_pages[IMAGE_OTHER]);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct store_params params;
	const char *path;
	int rc;

	(void)argc;
	(void)argv;
	store_params_default(&params);
	rc = set_params(cli, cli->args, &params);
	if (rc)
		return rc;
	rc = cli_store_path(cli, &path);
	if (rc == 0)
		rc = store_init(path, &params, &cli->err);
	return rc < 0 ? rc : print(cli, path, &params);
}

const struct cmd cmd_init = {
	.name = "init",
	.purpose = "Makes an empty store.",
	.task = "make a store",
	.notes = "The directory is made if need be, and must be empty and on a local file "
		 "system. What is chosen here holds for the store's life.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.run = run,
};
