/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commits, tags, removals, gc, repack and recover in random order, beside a
 * plain model.  A reader with a lease holds on to one layer meanwhile.  SEED=N
 * repeats a run, STEPS=N makes it longer.
 */
#include "store/gc.h"
#include "store/lease.h"
#include "store/recover.h"
#include "store/verify.h"
#include "tests/series.h"

#define STEPS 150
#define TAGS 4
#define LAYERS 24		/* that the model holds at most */

static struct series s;
static const char *const tag_names[TAGS] = {"a", "b.c", "d-1", "E_2"};
static struct {
	bool set;
	struct digest id;
} tags[TAGS];

static struct {
	struct store *store;
	struct layer *layer;
	struct series_layer want;
	int lease;
} reader = {.lease = -1};

static unsigned counts[16];

/* ---- steps ---- */

static size_t any_live(void)
{
	for (unsigned tries = 0; tries < 50 && s.n; tries++) {
		size_t i = series_random(&s, s.n);

		if (!s.layer[i].removed)
			return i;
	}
	return SIZE_MAX;
}

static void forget_removed(void)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		if (!s.layer[i].removed)
			s.layer[n++] = s.layer[i];
	s.n = n;
}

static void commit(void)
{
	size_t parent = series_random(&s, 4) ? any_live() : SIZE_MAX;
	unsigned t = (unsigned)series_random(&s, 2 * TAGS);
	size_t i;

	if (s.n >= LAYERS)
		forget_removed();
	if (s.n >= LAYERS)
		return;
	/* The same again, now and then. */
	i = series_commit(&s, parent < s.n ? parent : SIZE_MAX, (unsigned)series_random(&s, 30),
			  t < TAGS ? tag_names[t] : NULL);
	if (t < TAGS) {
		tags[t].set = true;
		tags[t].id = s.layer[i].id;
	}
}

static void tag(void)
{
	unsigned t = (unsigned)series_random(&s, TAGS);
	size_t i = any_live();
	struct err err;

	if (i == SIZE_MAX)
		return;
	series_must(decide_tag(s.store, tag_names[t], &s.layer[i].id, 0, &err), &err, "tag");
	tags[t].set = true;
	tags[t].id = s.layer[i].id;
}

static void untag(void)
{
	unsigned t = (unsigned)series_random(&s, TAGS);
	struct err err;
	int rc = decide_untag(s.store, tag_names[t], 0, &err);

	if (rc != (tags[t].set ? 0 : -ENOENT))
		bail("untag '%s': %d", tag_names[t], rc);
	tags[t].set = false;
}

static void remove_layer(size_t i)
{
	struct digest id = s.layer[i].id;

	series_remove(&s, i);
	for (size_t j = 0; j < s.n; j++)
		s.layer[j].removed |= digest_equal(&s.layer[j].id, &id);
	for (unsigned t = 0; t < TAGS; t++)
		tags[t].set = tags[t].set && !digest_equal(&tags[t].id, &id);
}

static void remove_one(void)
{
	size_t i = any_live();

	if (i != SIZE_MAX)
		remove_layer(i);
}

/* All but the last few. */
static void prune(void)
{
	size_t keep = series_random(&s, 4);

	for (size_t i = 0; i + keep < s.n; i++)
		if (!s.layer[i].removed)
			remove_layer(i);
}

static void run_gc(struct gc_opts opts)
{
	struct gc_result r;
	struct err err;

	series_must(gc_run(s.store, &opts, &r, &err), &err, "gc");
}

static void gc(void)
{
	run_gc((struct gc_opts){0});
}

static void repack(void)
{
	run_gc((struct gc_opts){.repack = true, .ratio = (double)series_random(&s, 12) / 10});
}

static void let_go(void)
{
	if (reader.lease < 0)
		return;
	layer_unref(reader.layer);
	close(reader.lease);
	store_close(reader.store);
	reader.lease = -1;
}

static void recover(void)
{
	struct recover_opts opts = {0};
	struct recover_result r;
	struct err err;

	let_go();
	store_close(s.store);
	series_must(recover_run(s.path, &opts, &r, &err), &err, "recover");
	if (r.lost || r.damaged)
		bail("recover found %u layers lost, %u places damaged", (unsigned)r.lost,
		     (unsigned)r.damaged);
	series_open(&s);
}

static void read_one(void)
{
	static const struct store_limits tight = {
		.chunk_cache = 1 << 16, .frame_cache = 1 << 12, .open_packs = 2, .segs = 2,
	};
	size_t i = any_live();
	struct err err;

	let_go();
	if (i == SIZE_MAX)
		return;
	reader.want = s.layer[i];
	series_must(store_open(s.path, &tight, &reader.store, &err), &err, "store_open");
	reader.lease = lease_take(reader.store, &reader.want.id, &err);
	series_must(reader.lease, &err, "lease");
	series_must(layer_open(reader.store, &reader.want.id, &reader.layer, &err), &err,
		    "layer_open");
}

static void reopen(void)
{
	series_reopen(&s);
}

static void new_pack(void)
{
	series_new_pack(&s);
}

static const struct step {
	const char *name;
	void (*run)(void);
	unsigned weight;
	bool check;		/* everything, afterwards */
} steps[] = {
	{"commit", commit, 12, false}, {"tag", tag, 3, false}, {"untag", untag, 2, false},
	{"remove", remove_one, 6, false}, {"prune", prune, 1, false}, {"gc", gc, 5, true},
	{"repack", repack, 4, true}, {"recover", recover, 2, true},
	{"reader", read_one, 2, false}, {"let go", let_go, 1, false},
	{"reopen", reopen, 2, false}, {"new pack", new_pack, 4, false},
};
#define NSTEPS (sizeof(steps) / sizeof(steps[0]))

/* ---- checks ---- */

static const char *check_tags(void)
{
	for (unsigned t = 0; t < TAGS; t++) {
		struct digest id;
		int rc = decide_tag_find(s.store, tag_names[t], &id, NULL);

		if (rc != (tags[t].set ? 0 : -ENOENT))
			return "a tag is there or not as it should not be";
		if (rc == 0 && !digest_equal(&id, &tags[t].id))
			return "a tag points elsewhere";
	}
	return NULL;
}

static const char *check_reader(void)
{
	const char *wrong;
	struct series there = s;

	if (reader.lease < 0)
		return NULL;
	there.store = reader.store;
	wrong = series_check_image(&there, reader.layer, "memfile", reader.want.mem, SERIES_PAGES);
	if (!wrong)
		wrong = series_check_image(&there, reader.layer, "rootfs", reader.want.disk,
					   SERIES_DISK_PAGES);
	return wrong;
}

static void tell_fault(void *ctx, const struct verify_fault *f)
{
	(void)ctx;
	tap_diag("%s %llx in pack %u: %s", f->what, (unsigned long long)f->id, f->pack, f->reason);
}

static const char *check_sound(bool deep)
{
	struct verify_opts opts = {.deep = deep, .fault = tell_fault};
	struct verify_result r;
	struct err err;

	series_must(verify_run(s.store, &opts, &r, &err), &err, "verify");
	return r.faults ? "verify finds faults" : NULL;
}

static void check(unsigned n, const char *name, bool deep)
{
	const char *wrong = series_check(&s);

	if (!wrong)
		wrong = check_tags();
	if (!wrong)
		wrong = check_reader();
	if (!wrong)
		wrong = check_sound(deep);
	if (wrong)
		bail("after step %u (%s): %s", n, name, wrong);
}

static const struct step *choose(void)
{
	unsigned total = 0, at;

	for (size_t i = 0; i < NSTEPS; i++)
		total += steps[i].weight;
	at = (unsigned)series_random(&s, total);
	for (size_t i = 0;; i++) {
		if (at < steps[i].weight)
			return &steps[i];
		at -= steps[i].weight;
	}
}

static void finish(void)
{
	struct err err;
	size_t rows = 0;

	let_go();
	for (size_t i = 0; i < s.n; i++)
		if (!s.layer[i].removed)
			remove_layer(i);
	gc();
	gc();
	ok(series_packs(&s) <= 1, "when all is removed gc frees all packs but perhaps the last");
	series_must(index_seg_each(s.store->index, NULL, NULL, &err), &err, "segs");
	series_must(index_layer_each(s.store->index, series_count_layer, &rows, &err), &err,
		    "rows");
	is_int(rows, 0, "and forgets all layers");
	store_close(s.store);
}

int main(void)
{
	const char *more = getenv("STEPS");
	unsigned nsteps = more ? (unsigned)strtoul(more, NULL, 0) : STEPS;

	series_init(&s, "store", tap_seed(0x6d6f64656c));
	for (unsigned n = 0; n < nsteps; n++) {
		const struct step *step = choose();

		step->run();
		counts[step - steps]++;
		if (step->check)
			check(n, step->name, n % 3 == 0);
	}
	check(nsteps, "all", true);
	ok(true, "%u steps and the model agrees", nsteps);
	for (size_t i = 0; i < NSTEPS; i++)
		tap_diag("%s: %u", steps[i].name, counts[i]);
	finish();
	return tap_done();
}
