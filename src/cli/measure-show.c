/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/measure-show.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"

#define NUMBER_LEN 32

static int no_memory(const struct measure_show *show)
{
	return err_set(&show->cli->err, -ENOMEM, "out of memory");
}

static const char *letter(unsigned configuration)
{
	return configuration ? "b" : "a";
}

/* ---- JSON ---- */

static json_t *image_json(const struct measure_image *image)
{
	return json_pack("{s:s, s:I, s:I, s:f, s:I}", "image", image->name,
			 "changed_pages", (json_int_t)image->changed,
			 "frames_touched", (json_int_t)image->frames, "fill", measure_fill(image),
			 "stored_bytes", (json_int_t)image->stored);
}

static json_t *measure_json(const struct measure *m)
{
	json_t *images = json_array();

	for (unsigned i = 0; i < m->nimages; i++)
		(void)json_array_append_new(images, image_json(&m->image[i]));
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:f, s:f, s:o}",
			 "configuration", letter(m->configuration), "workload", m->workload->name,
			 "cycle", (json_int_t)m->cycle, "layer", m->layer, "parent", m->parent,
			 "paused_seconds", m->paused, "seconds", m->seconds, "images", images);
}

struct lists {
	const struct measure_show *show;
	json_t *summary, *difference;
};

static json_t *key_json(const struct measure_key *key)
{
	return json_pack("{s:s, s:o, s:s}", "workload", key->workload->name,
			 "image", key->image ? json_string(key->image) : json_null(),
			 "figure", measure_names[key->figure]);
}

static int add_summary(struct lists *to, const struct measure_key *key, unsigned configuration,
		       struct spread_lot lot)
{
	json_t *item = key_json(key), *more;
	struct spread s;

	if (spread_of(lot.v, lot.n, &s) < 0) {
		json_decref(item);
		return -ENOMEM;
	}
	more = json_pack("{s:s, s:I, s:f, s:f, s:f}", "configuration", letter(configuration),
			 "count", (json_int_t)lot.n, "median", s.median, "min", s.min,
			 "max", s.max);
	(void)json_object_update_new(item, more);
	return json_array_append_new(to->summary, item) < 0 ? -ENOMEM : 0;
}

static json_t *known(const struct spread_difference *d, double value)
{
	return d->known ? json_real(value) : json_null();
}

static int add_difference(struct lists *to, const struct measure_key *key, struct spread_lot a,
			  struct spread_lot b)
{
	json_t *item = key_json(key), *more;
	struct spread_difference d;

	if (spread_compare(a, b, &d) < 0) {
		json_decref(item);
		return -ENOMEM;
	}
	more = json_pack("{s:f, s:o, s:o, s:o}", "difference", d.difference,
			 "low", known(&d, d.low), "high", known(&d, d.high),
			 "differ", d.known ? json_boolean(d.differ) : json_null());
	(void)json_object_update_new(item, more);
	return json_array_append_new(to->difference, item) < 0 ? -ENOMEM : 0;
}

/* What was measured of `key` with each configuration, for free_lots(). */
static int gather(const struct measure_show *show, const struct measure_key *key,
		  struct spread_lot lot[MEASURE_CONFIGURATIONS])
{
	int rc = 0;

	for (unsigned i = 0; i < MEASURE_CONFIGURATIONS; i++)
		lot[i] = (struct spread_lot){NULL, 0};
	for (unsigned i = 0; rc == 0 && i < show->configurations; i++) {
		double *v = NULL;

		rc = measure_gather(show->set, key, i, &v, &lot[i].n);
		lot[i].v = v;
	}
	return rc;
}

static void free_lots(struct spread_lot lot[MEASURE_CONFIGURATIONS])
{
	for (unsigned i = 0; i < MEASURE_CONFIGURATIONS; i++)
		free((void *)(uintptr_t)lot[i].v);
}

static int list_key(void *ctx, const struct measure_key *key)
{
	struct lists *to = ctx;
	struct spread_lot lot[MEASURE_CONFIGURATIONS];
	int rc = gather(to->show, key, lot);

	for (unsigned i = 0; rc == 0 && i < to->show->configurations; i++)
		if (lot[i].n)
			rc = add_summary(to, key, i, lot[i]);
	if (rc == 0 && lot[0].n && lot[1].n)
		rc = add_difference(to, key, lot[0], lot[1]);
	free_lots(lot);
	return rc;
}

static json_t *configurations_json(const struct measure_show *show)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < show->configurations; i++)
		(void)json_array_append_new(list,
			json_pack("{s:s, s:s, s:s}", "configuration", letter(i), "guest",
				  show->guest[i], "options", show->options[i]));
	return list;
}

int measure_show_json(const struct measure_show *show)
{
	struct lists lists = {show, json_array(), json_array()};
	json_t *measures = json_array();

	for (size_t i = 0; i < show->set->n; i++)
		(void)json_array_append_new(measures, measure_json(&show->set->v[i]));
	if (measure_each(show->set, list_key, &lists) < 0) {
		json_decref(lists.summary);
		lists.summary = NULL;
	}
	return out_json(json_pack("{s:o, s:o, s:o, s:o, s:o, s:O, s:O}",
				  "error", show->error ? out_sentence(show->error) : json_null(),
				  "configurations", configurations_json(show),
				  "measures", measures, "summary", lists.summary,
				  "difference", lists.difference, "skipped", show->skipped,
				  "warnings", show->warnings), &show->cli->err);
}

/* ---- tables ---- */

static const char *number(char out[NUMBER_LEN], const struct measure_show *show,
			  enum measure_figure figure, double v)
{
	const char *sign = v < 0 ? "-" : "";
	double abs = v < 0 ? -v : v;
	char size[FMT_SIZE_LEN];

	if (figure == MEASURE_STORED)
		(void)snprintf(out, NUMBER_LEN, "%s%s", sign,
			       cli_size(show->cli, size, (uint64_t)abs));
	else if (figure == MEASURE_PAUSED)
		(void)snprintf(out, NUMBER_LEN, "%.1f ms", v * 1000);
	else if (figure == MEASURE_FILL)
		(void)snprintf(out, NUMBER_LEN, "%.1f %%", v * 100);
	else
		(void)snprintf(out, NUMBER_LEN, "%.*f", v == (double)(int64_t)v ? 0 : 1, v);
	return out;
}

static void add_image(const struct measure_show *show, struct table *t, const struct measure *m,
		      const struct measure_image *image)
{
	char text[NUMBER_LEN];

	table_cell(t, "%s", m->workload->name);
	if (show->configurations > 1)
		table_cell(t, "%s", letter(m->configuration));
	table_cell(t, "%u", m->cycle);
	table_cell(t, "%s", image->name);
	table_cell(t, "%llu", (unsigned long long)image->changed);
	table_cell(t, "%llu", (unsigned long long)image->frames);
	table_cell(t, "%s", number(text, show, MEASURE_FILL, measure_fill(image)));
	table_cell(t, "%s", number(text, show, MEASURE_STORED, (double)image->stored));
	table_cell(t, "%s", number(text, show, MEASURE_PAUSED, m->paused));
}

static int print_measures(const struct measure_show *show)
{
	static const struct table_col one[] = {
		{"workload", false}, {"cycle", true}, {"image", false}, {"changed", true},
		{"frames", true}, {"fill", true}, {"stored", true}, {"paused", true},
	};
	static const struct table_col two[] = {
		{"workload", false}, {"of", false}, {"cycle", true}, {"image", false},
		{"changed", true}, {"frames", true}, {"fill", true}, {"stored", true},
		{"paused", true},
	};
	struct table t = TABLE(one), both = TABLE(two);
	struct table *to = show->configurations > 1 ? &both : &t;

	for (size_t i = 0; i < show->set->n; i++)
		for (unsigned k = 0; k < show->set->v[i].nimages; k++)
			add_image(show, to, &show->set->v[i], &show->set->v[i].image[k]);
	return table_print(to, stdout);
}

struct totals {
	const struct measure_show *show;
	struct table table;
};

/* Its median, and the least and the most where they differ. */
static int add_total(struct totals *to, const struct measure_key *key)
{
	char median[NUMBER_LEN], min[NUMBER_LEN], max[NUMBER_LEN];
	double *v = NULL;
	size_t n = 0;
	struct spread s = {0, 0, 0};
	int rc = measure_gather(to->show->set, key, 0, &v, &n);

	if (rc == 0 && n)
		rc = spread_of(v, n, &s);
	free(v);
	if (rc < 0)
		return rc;
	if (key->figure == MEASURE_CHANGED)
		table_cell(&to->table, "%zu", n);
	(void)number(median, to->show, key->figure, s.median);
	if (s.min < s.max)
		table_cell(&to->table, "%s (%s to %s)", median,
			   number(min, to->show, key->figure, s.min),
			   number(max, to->show, key->figure, s.max));
	else
		table_cell(&to->table, "%s", median);
	return 0;
}

/* A row for each image; that of no image is in each of them. */
static int total_key(void *ctx, const struct measure_key *key)
{
	struct totals *to = ctx;
	struct measure_key paused = {key->workload, NULL, MEASURE_PAUSED};
	int rc;

	if (!key->image)
		return 0;
	if (key->figure == MEASURE_CHANGED) {
		table_cell(&to->table, "%s", key->workload->name);
		table_cell(&to->table, "%s", key->image);
	}
	rc = add_total(to, key);
	return rc == 0 && key->figure == MEASURE_STORED ? add_total(to, &paused) : rc;
}

static int print_totals(const struct measure_show *show)
{
	static const struct table_col cols[] = {
		{"workload", false}, {"image", false}, {"pauses", true}, {"changed", true},
		{"frames", true}, {"fill", true}, {"stored", true}, {"paused", true},
	};
	struct totals totals = {show, TABLE(cols)};
	int rc = measure_each(show->set, total_key, &totals), printed;

	puts("\nMedian (least to most):");
	printed = table_print(&totals.table, stdout);
	return rc < 0 ? rc : printed;
}

struct comparison {
	const struct measure_show *show;
	struct table table;
};

static void add_interval(struct comparison *c, const struct measure_key *key,
			 const struct spread_difference *d)
{
	char low[NUMBER_LEN], high[NUMBER_LEN];

	if (!d->known) {
		table_cell(&c->table, "-");
		table_cell(&c->table, "too few to tell");
		return;
	}
	table_cell(&c->table, "%s to %s", number(low, c->show, key->figure, d->low),
		   number(high, c->show, key->figure, d->high));
	table_cell(&c->table, "%s", !d->differ ? "none seen" : d->low > 0 ? "more" : "less");
}

static void add_spread(struct comparison *c, const struct measure_key *key, const struct spread *s)
{
	char median[NUMBER_LEN], min[NUMBER_LEN], max[NUMBER_LEN];

	table_cell(&c->table, "%s (%s to %s)", number(median, c->show, key->figure, s->median),
		   number(min, c->show, key->figure, s->min),
		   number(max, c->show, key->figure, s->max));
}

static int compare_key(void *ctx, const struct measure_key *key)
{
	struct comparison *c = ctx;
	struct spread_lot lot[MEASURE_CONFIGURATIONS];
	struct spread_difference d;
	struct spread s[MEASURE_CONFIGURATIONS];
	char text[NUMBER_LEN];
	int rc = gather(c->show, key, lot);

	if (rc == 0 && lot[0].n && lot[1].n) {
		rc = spread_compare(lot[0], lot[1], &d);
		for (unsigned i = 0; rc == 0 && i < 2; i++)
			rc = spread_of(lot[i].v, lot[i].n, &s[i]);
		if (rc == 0) {
			table_cell(&c->table, "%s", key->workload->name);
			table_cell(&c->table, "%s", key->image ? key->image : "-");
			table_cell(&c->table, "%s", measure_names[key->figure]);
			add_spread(c, key, &s[0]);
			add_spread(c, key, &s[1]);
			table_cell(&c->table, "%s",
				   number(text, c->show, key->figure, d.difference));
			add_interval(c, key, &d);
		}
	}
	free_lots(lot);
	return rc;
}

static int print_difference(const struct measure_show *show)
{
	static const struct table_col cols[] = {
		{"workload", false}, {"image", false}, {"figure", false}, {"a", true}, {"b", true},
		{"b - a", true}, {"95 % of them", true}, {"b has", false},
	};
	struct comparison c = {show, TABLE(cols)};
	int rc = measure_each(show->set, compare_key, &c), printed;

	puts(c.table.n ? "\nMedian (least to most), and by how much they differ:" :
			 "\nNothing was measured of both: nothing is compared.");
	printed = c.table.n ? table_print(&c.table, stdout) : 0;
	return rc < 0 ? rc : printed;
}

int measure_show_text(const struct measure_show *show)
{
	int rc = print_measures(show);

	if (rc == 0)
		rc = show->configurations > 1 ? print_difference(show) : print_totals(show);
	return rc < 0 ? no_memory(show) : 0;
}
