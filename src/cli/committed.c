/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/committed.h"

#include <stdio.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"

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

static json_t *images_json(const struct committed *c)
{
	json_t *list = json_array(), *item;

	for (size_t i = 0; i < c->result->nimages; i++) {
		item = json_pack("{s:s, s:I}", "name", c->names[i], "size",
				 (json_int_t)c->size[i]);
		(void)json_object_update_new(item, counts_json(&c->result->image[i]));
		if (json_array_append_new(list, item) < 0)
			break;
	}
	return list;
}

json_t *committed_json(const struct committed *c)
{
	const struct commit_result *r = c->result;
	json_t *o;

	o = json_pack("{s:o, s:b, s:b, s:o, s:o, s:f, s:I, s:I, s:o, s:o}",
		      "layer", c->dry_run ? json_null() : out_id(&r->id),
		      "existed", r->existed, "dry_run", c->dry_run,
		      "parent", c->parent ? out_id(c->parent) : json_null(),
		      "tag", c->tag ? json_string(c->tag) : json_null(),
		      "seconds", r->seconds,
		      "bytes_stored", (json_int_t)r->stored_bytes,
		      "frames_touched", (json_int_t)r->total.frames_touched,
		      "images", images_json(c), "total", counts_json(&r->total));
	if (o && c->live &&
	    (json_object_set_new(o, "live", json_string(c->live)) < 0 ||
	     json_object_set_new(o, "one_moment", json_boolean(!c->moment_unknown)) < 0)) {
		json_decref(o);
		o = NULL;
	}
	return o;
}

static void add_row(const struct cli *cli, struct table *t, const char *name,
		    const struct commit_counts *n)
{
	const uint64_t pages[] = {n->pages, n->zero, n->same, n->known, n->fresh};
	char size[FMT_SIZE_LEN];

	table_cell(t, "%s", name);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		table_cell(t, "%llu", (unsigned long long)pages[i]);
	table_cell(t, "%s", cli_size(cli, size, n->stored_bytes));
	table_cell(t, "%llu of %llu", (unsigned long long)n->frames_touched,
		   (unsigned long long)n->frames);
}

static int print_text(const struct cli *cli, const struct committed *c)
{
	static const struct table_col cols[] = {
		{"image", false}, {"pages", true}, {"zero", true}, {"same", true},
		{"known", true}, {"new", true}, {"stored", true}, {"frames touched", true},
	};
	const struct commit_result *r = c->result;
	struct table t = TABLE(cols);
	char hex[DIGEST_HEX_LEN], size[FMT_SIZE_LEN], time[FMT_SIZE_LEN];

	if (!c->dry_run)
		printf("layer %s%s\n", fmt_hex(hex, r->id.b, DIGEST_LEN),
		       r->existed ? " (was there already)" : "");
	for (size_t i = 0; i < c->result->nimages; i++)
		add_row(cli, &t, c->names[i], &r->image[i]);
	if (r->nimages > 1)
		add_row(cli, &t, "total", &r->total);
	printf("%s %s in %s\n", c->dry_run ? "would store" : "stored",
	       cli_size(cli, size, r->stored_bytes), fmt_duration(time, r->seconds));
	return table_print(&t, stdout);
}

int committed_print(struct cli *cli, const struct committed *c)
{
	char hex[DIGEST_HEX_LEN];

	if (cli->json)
		return out_json(committed_json(c), &cli->err);
	if (!cli->quiet)
		return print_text(cli, c);
	if (!c->dry_run)
		puts(fmt_hex(hex, c->result->id.b, DIGEST_LEN));
	return 0;
}

void committed_note(struct cli *cli, const struct committed *c)
{
	char hex[DIGEST_HEX_LEN];

	if (!c->dry_run)
		(void)snprintf(cli->done, sizeof(cli->done), "layer %s is committed",
			       fmt_hex(hex, c->result->id.b, DIGEST_LEN));
}
