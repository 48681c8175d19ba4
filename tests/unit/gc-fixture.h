/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gc-fixture: what the tests of gc share.
 */
#ifndef LAMINA_TESTS_UNIT_GC_FIXTURE_H
#define LAMINA_TESTS_UNIT_GC_FIXTURE_H

#include "store/gc.h"
#include "store/recover.h"
#include "tests/series.h"

static struct series s;

TAP_FN struct gc_result gc_with(struct gc_opts opts)
{
	struct gc_result r = {0};
	struct err err;

	series_must(gc_run(s.store, &opts, &r, &err), &err, "gc");
	return r;
}

TAP_FN struct gc_result gc(void)
{
	return gc_with((struct gc_opts){0});
}

TAP_FN struct gc_result repack(void)
{
	return gc_with((struct gc_opts){.repack = true});
}

TAP_FN struct recover_result recover(void)
{
	struct recover_opts opts = {0};
	struct recover_result r;
	struct err err;

	store_close(s.store);
	series_must(recover_run(s.path, &opts, &r, &err), &err, "recover");
	series_open(&s);
	return r;
}

TAP_FN int count_decision(void *ctx, const struct index_decision *d)
{
	*(unsigned *)ctx += d->kind != DECISION_ATTRS;
	return 0;
}

/* Rows of tags and removals. */
TAP_FN unsigned decisions(void)
{
	unsigned n = 0;
	struct err err;

	series_must(index_decision_each(s.store->index, 0, count_decision, &n, &err), &err, "rows");
	return n;
}

TAP_FN int find_last(void *ctx, uint32_t pack)
{
	*(uint32_t *)ctx = pack;
	return 0;
}

TAP_FN uint32_t last_pack(void)
{
	uint32_t last = 0;

	(void)packs_each(s.store->packs, find_last, &last);
	return last;
}

/* Six generations in three packs. */
TAP_FN void make_six(const char *name)
{
	series_init(&s, name, 7);
	for (size_t i = 0; i < 6; i++) {
		series_commit(&s, i - 1, i ? 20 : 70, i == 5 ? "newest" : NULL);
		if (i == 1 || i == 3)
			series_new_pack(&s);
	}
}

#endif
