/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "store/compare.h"

struct args {
	bool ranges;
	const char *image;
};

static const struct opt opts[] = {
	{OPT_FLAG, "ranges", 'r', OPT_TO(struct args, ranges), NULL, NULL,
	 "print the byte ranges that differ, a line each: image, offset and length in "
	 "bytes; with --json as commit's --dirty takes them"},
	{OPT_TEXT, "image", 'i', OPT_TO(struct args, image), "NAME", "memfile rootfs state",
	 "compare this image only"},
	OPT_TABLE_END
};

static const struct table_col cols[] = {
	{"image", false}, {"size of A", true}, {"size of B", true}, {"frames", true},
	{"differ", true}, {"pages", true}, {"differ", true}, {"zero in A", true},
	{"zero in B", true}, {"bytes", true},
};

struct diff {
	struct cli *cli;
	bool ranges;
	struct table table;
	struct out_array images;	/* JSON */
	struct out_array list;		/* JSON, the ranges of the current image */
	const char *name;		/* of the current image */
	uint64_t size_a, size_b, size;	/* of it; size is the larger */
	uint64_t frames, pages, zero_a, zero_b, bytes;	/* that differ */
	uint64_t off, len;		/* the range that is growing, bytes */
};

static bool bit(const uint8_t *bits, unsigned i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

static void flush_range(struct diff *d)
{
	if (!d->len)
		return;
	d->bytes += d->len;
	if (d->ranges && d->cli->json) {
		out_array_next(&d->list);
		printf("{\"offset\": %llu, \"length\": %llu}", (unsigned long long)d->off,
		       (unsigned long long)d->len);
	} else if (d->ranges) {
		printf("%s %llu %llu\n", d->name, (unsigned long long)d->off,
		       (unsigned long long)d->len);
	}
	d->len = 0;
}

static void add_page(struct diff *d, uint64_t pgno)
{
	uint64_t off = pgno * PAGE_SIZE;
	uint64_t len = d->size - off < PAGE_SIZE ? d->size - off : PAGE_SIZE;

	if (off != d->off + d->len)
		flush_range(d);
	if (!d->len)
		d->off = off;
	d->len += len;
}

static int on_frame(void *ctx, const struct compare_frame *f)
{
	struct diff *d = ctx;

	d->frames++;
	d->pages += f->npages;
	for (unsigned i = 0; i < FRAME_PAGES; i++) {
		if (!bit(f->differ, i))
			continue;
		d->zero_a += bit(f->a_zero, i);
		d->zero_b += bit(f->b_zero, i);
		add_page(d, f->frame * FRAME_PAGES + i);
	}
	return cli_stopped() ? -ECANCELED : 0;
}

static uint64_t pages_of(uint64_t size)
{
	return (size + PAGE_SIZE - 1) / PAGE_SIZE;
}

static void add_row(struct diff *d)
{
	char a[FMT_SIZE_LEN], b[FMT_SIZE_LEN], bytes[FMT_SIZE_LEN];
	uint64_t frames = (d->size + FRAME_SIZE - 1) / FRAME_SIZE;

	table_cell(&d->table, "%s", d->name);
	table_cell(&d->table, "%s", cli_size(d->cli, a, d->size_a));
	table_cell(&d->table, "%s", cli_size(d->cli, b, d->size_b));
	table_cell(&d->table, "%llu", (unsigned long long)frames);
	table_cell(&d->table, "%llu", (unsigned long long)d->frames);
	table_cell(&d->table, "%llu", (unsigned long long)pages_of(d->size));
	table_cell(&d->table, "%llu", (unsigned long long)d->pages);
	table_cell(&d->table, "%llu", (unsigned long long)d->zero_a);
	table_cell(&d->table, "%llu", (unsigned long long)d->zero_b);
	table_cell(&d->table, "%s", cli_size(d->cli, bytes, d->bytes));
}

static void print_member(const char *name, uint64_t v)
{
	printf(",\n      \"%s\": %llu", name, (unsigned long long)v);
}

/* Ranges go out while they are found, so the object is written by hand. */
static void begin_json(struct diff *d)
{
	out_array_next(&d->images);
	printf("{\n      \"image\": \"%s\"", d->name);
	print_member("size_a", d->size_a);
	print_member("size_b", d->size_b);
	if (d->ranges) {
		printf(",\n      \"ranges\": ");
		out_array_begin(&d->list, 3);
	}
}

static void end_json(struct diff *d)
{
	if (d->ranges)
		out_array_end(&d->list);
	print_member("frames", (d->size + FRAME_SIZE - 1) / FRAME_SIZE);
	print_member("frames_differ", d->frames);
	print_member("pages", pages_of(d->size));
	print_member("pages_differ", d->pages);
	print_member("zero_in_a", d->zero_a);
	print_member("zero_in_b", d->zero_b);
	print_member("bytes_differ", d->bytes);
	printf("\n    }");
}

static int diff_image(struct diff *d, const struct image *a, const struct image *b)
{
	struct cli *cli = d->cli;
	int rc;

	d->name = a ? a->name : b->name;
	d->size_a = a ? a->size : 0;
	d->size_b = b ? b->size : 0;
	d->size = d->size_a > d->size_b ? d->size_a : d->size_b;
	d->frames = d->pages = d->zero_a = d->zero_b = d->bytes = d->off = d->len = 0;
	if (cli->json)
		begin_json(d);
	rc = compare_images(cli->store, a, b, on_frame, d, &cli->err);
	flush_range(d);
	if (cli->json)
		end_json(d);
	else if (!d->ranges)
		add_row(d);
	return rc;
}

/* Images of either layer, sorted by name as they are in both. */
static int diff_images(struct diff *d, const struct layer *a, const struct layer *b)
{
	const struct args *args = d->cli->args;
	unsigned i = 0, k = 0;
	int rc = 0, order;

	while (rc == 0 && (i < a->nimages || k < b->nimages)) {
		const struct image *x = i < a->nimages ? &a->image[i] : NULL;
		const struct image *y = k < b->nimages ? &b->image[k] : NULL;

		order = !x ? 1 : !y ? -1 : strcmp(x->name, y->name);
		x = order <= 0 ? x : NULL;
		y = order >= 0 ? y : NULL;
		i += x != NULL;
		k += y != NULL;
		if (!args->image || !strcmp(args->image, x ? x->name : y->name))
			rc = diff_image(d, x, y);
	}
	return rc;
}

static int print(struct diff *d, const struct layer *a, const struct layer *b)
{
	char hex_a[DIGEST_HEX_LEN], hex_b[DIGEST_HEX_LEN];
	int rc;

	if (!d->cli->json) {
		rc = diff_images(d, a, b);
		return rc || d->ranges ? rc : table_print(&d->table, stdout);
	}
	printf("{\n  \"a\": \"%s\",\n  \"b\": \"%s\",\n  \"images\": ",
	       fmt_hex(hex_a, a->id.b, DIGEST_LEN), fmt_hex(hex_b, b->id.b, DIGEST_LEN));
	out_array_begin(&d->images, 1);
	rc = diff_images(d, a, b);
	out_array_end(&d->images);
	printf("\n}\n");
	return rc;
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct diff d = {.cli = cli, .ranges = args->ranges, .table = TABLE(cols)};
	struct layer *a = NULL, *b = NULL;
	int rc = cli_open(cli);

	(void)argc;
	cli_catch();
	if (rc == 0)
		rc = cli_layer_open(cli, argv[0], &a);
	if (rc == 0)
		rc = cli_layer_open(cli, argv[1], &b);
	if (rc == 0 && args->image && !layer_image(a, args->image) &&
	    !layer_image(b, args->image))
		rc = err_set(&cli->err, -ENOENT, "neither layer has an image '%s'", args->image);
	if (rc == 0)
		rc = print(&d, a, b);
	layer_unref(a);
	layer_unref(b);
	return rc;
}

const struct cmd cmd_diff = {
	.name = "diff",
	.operands = "A B",
	.purpose = "Shows what differs between two layers, which need not be related.",
	.task = "compare layers",
	.notes = "Maps and digests are compared; no page is read. An image that only one "
		 "layer has is compared with zeros, and so is what one has beyond the end of "
		 "the other. 'zero in A' counts pages that differ and are zero in A. Exits "
		 "with 0 whether or not they differ.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 2,
	.max = 2,
	.words = "@layer",
	.run = run,
};
