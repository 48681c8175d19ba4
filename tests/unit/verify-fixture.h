/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verify-fixture: what the tests of verify share.
 */
#ifndef LAMINA_TESTS_UNIT_VERIFY_FIXTURE_H
#define LAMINA_TESTS_UNIT_VERIFY_FIXTURE_H

#include "store/record.h"
#include "store/scan.h"
#include "store/verify.h"
#include "tests/series.h"

#define FAULTS_MAX 64

struct seen {
	char what[16];
	uint64_t id;
	uint32_t pack;
	uint64_t off;
	char reason[300];
	size_t nlayers;
	bool hurts[SERIES_MAX];		/* layers of the series */
};

static struct series s;
static struct seen seen[FAULTS_MAX];
static size_t nseen;
static struct verify_result result;

TAP_FN void note_fault(void *ctx, const struct verify_fault *f)
{
	struct seen *e = &seen[nseen];

	(void)ctx;
	if (nseen++ >= FAULTS_MAX)
		return;
	memset(e, 0, sizeof(*e));
	(void)snprintf(e->what, sizeof(e->what), "%s", f->what);
	(void)snprintf(e->reason, sizeof(e->reason), "%s", f->reason);
	e->id = f->id;
	e->pack = f->pack;
	e->off = f->off;
	e->nlayers = f->nlayers;
	for (size_t i = 0; i < s.n; i++)
		for (size_t j = 0; j < f->nlayers; j++)
			e->hurts[i] |= digest_equal(&s.layer[i].id, &f->layers[j]);
}

static struct progress progress;

TAP_FN size_t verify(bool deep)
{
	struct verify_opts opts = {.deep = deep, .fault = note_fault, .progress = progress};
	struct err err;

	nseen = 0;
	series_must(verify_run(s.store, &opts, &result, &err), &err, "verify");
	if (result.faults != nseen)
		bail("%llu faults, %zu told", (unsigned long long)result.faults, nseen);
	return nseen;
}

TAP_FN const struct seen *find(const char *what)
{
	for (size_t i = 0; i < nseen && i < FAULTS_MAX; i++)
		if (strcmp(seen[i].what, what) == 0)
			return &seen[i];
	return NULL;
}

TAP_FN bool is_hurt(size_t layer)
{
	for (size_t i = 0; i < nseen && i < FAULTS_MAX; i++)
		if (seen[i].hurts[layer])
			return true;
	return false;
}

/* Layers that cannot be read are those that some fault names. */
TAP_FN bool names_are_right(void)
{
	for (size_t i = 0; i < s.n; i++) {
		const char *wrong = series_check_layer(&s, &s.layer[i]);

		if (!wrong == !is_hurt(i))
			continue;
		tap_diag("layer %zu: %s, but %s", i, wrong ? wrong : "can be read",
			 is_hurt(i) ? "it is named" : "it is not named");
		return false;
	}
	return true;
}

TAP_FN void make(const char *name)
{
	series_init(&s, name, 11);
	for (size_t i = 0; i < 4; i++) {
		series_commit(&s, i - 1, i ? 15 : 40, i == 3 ? "newest" : NULL);
		if (i == 1)
			series_new_pack(&s);
	}
}

/* ---- places in a pack ---- */

struct place {
	uint64_t off;
	uint64_t len;		/* with its header; 0: not found */
	uint64_t id;
};

/* The n-th record of a type. */
TAP_FN struct place record_at(uint32_t pack, enum record_type type, unsigned n)
{
	struct place place = {0};
	struct scan_item item;
	struct scan *scan;
	uint64_t len, alloc;
	struct err err;

	series_must(packs_size(s.store->packs, pack, &len, &alloc), NULL, "packs_size");
	series_must(scan_open(s.store->packs, pack, PACK_HEADER_LEN, len, &scan, &err), &err,
		    "scan");
	while (scan_next(scan, &item, &err) == 1) {
		if (item.damage || item.record.type != type || n-- > 0)
			continue;
		place = (struct place){item.off, item.len, item.record.id};
		break;
	}
	scan_close(scan);
	if (!place.len)
		bail("pack %u has no such record", pack);
	return place;
}

TAP_FN struct place flip_record(uint32_t pack, enum record_type type, unsigned n)
{
	struct place p = record_at(pack, type, n);

	series_flip(&s, pack, p.off + RECORD_HEADER_LEN + (p.len - RECORD_HEADER_LEN) / 2);
	series_reopen(&s);
	return p;
}

#endif
