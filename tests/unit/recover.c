/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/attrs.h"
#include "store/gc.h"
#include "store/pack-header.h"
#include "tests/unit/recover-fixture.h"

/* ---- a sound store ---- */

static char *attr_of(size_t layer, const char *key)
{
	struct attrs attrs = {0};
	struct err err;
	const char *v;
	char *copied;

	series_must(attrs_load(s.store, &s.layer[layer].id, &attrs, &err), &err, "attrs");
	v = attrs_get(&attrs, key);
	copied = v ? strdup(v) : NULL;
	attrs_fini(&attrs);
	return copied;
}

static void test_indexes(void)
{
	struct recover_result r;
	uint64_t hooks, hooks_now;
	char *before, *after;
	struct err err;

	make("indexes");
	series_must(index_hook_count(s.store->index, &hooks, &err), &err, "hooks");
	before = attr_of(2, "lamina.fresh");
	r = recover();
	is_int(r.packs, 2, "a sound index: two packs are read");
	is_int(r.layers, 4, "four layers found");
	is_int(r.tags, 2, "and two tags");
	is_int(r.lost + r.removed + r.damaged, 0, "nothing lost, removed or damaged");
	is_str(notes, "", "and there is nothing to tell");
	ok(r.compared, "the old index has been asked");
	check_sound("sound");
	series_must(index_hook_count(s.store->index, &hooks_now, &err), &err, "hooks");
	ok(hooks > 0 && hooks_now == hooks, "known pages will be found as before");
	after = attr_of(2, "lamina.fresh");
	is_str(after, before, "attributes are there, too");
	free(before);
	free(after);
	ok(exists("index.db.broken") && !exists("index.db.new"), "the old index is kept aside");
	store_close(s.store);
	s.store = NULL;
	if (unlink(file("index.db")) < 0)
		bail("unlink");
	(void)recover();
	check_sound("without an index");
	ok(!exists("index.db.broken.1"), "there was none to keep");
	store_close(s.store);
	s.store = NULL;
	write_file(file("index.db"), "SQLite format 3\0 and then nothing good", 40, 0);
	write_file(file("index.db-wal"), "noise", 5, 0);
	(void)recover();
	check_sound("garbage");
	ok(exists("index.db.broken.1") && exists("index.db.broken.1-wal"),
	   "kept under another name, with its log");
	series_commit(&s, 3, 10, "newest");
	series_ok(&s, "a commit works afterwards");
	is_int(series_faults(&s), 0, "and all is sound");
	store_close(s.store);
}

/* What a log of another index would do if it were left beside the new one. */
static void test_old_log(void)
{
	struct series_layer removed;

	make("old-log");
	series_remove(&s, 1);
	removed = s.layer[1];
	copy(file("index.db-wal"), file("wal"));
	copy(file("index.db"), file("db"));
	(void)series_commit(&s, 3, 20, "newest");
	store_close(s.store);
	s.store = NULL;
	copy(file("db"), file("index.db"));
	copy(file("wal"), file("index.db-wal"));
	(void)unlink(file("index.db-shm"));
	(void)recover();
	series_ok(&s, "an old index and its log do not leak into the new one");
	ok(layer_open(s.store, &removed.id, &(struct layer *){NULL}, NULL) == -ENOENT,
	   "what was removed is");
	store_close(s.store);
}

static int seen(void *ctx, const struct index_decision *d)
{
	*(bool *)ctx = d != NULL;
	return 0;
}

static bool is_remembered(uint8_t kind, const void *key, uint32_t len)
{
	struct index_decision what = {.kind = kind, .key = key, .key_len = len};
	bool there = false;

	(void)index_decision_get(s.store->index, &what, seen, &there, NULL);
	return there;
}

static void test_decisions(void)
{
	struct recover_result r;
	struct digest id;
	struct err err;

	make("decisions");
	series_must(decide_tag(s.store, "moved", &s.layer[0].id, 0, &err), &err, "tag");
	series_must(decide_tag(s.store, "gone", &s.layer[0].id, 0, &err), &err, "tag");
	series_new_pack(&s);
	series_must(decide_tag(s.store, "moved", &s.layer[2].id, 0, &err), &err, "tag");
	series_must(decide_untag(s.store, "gone", 0, &err), &err, "untag");
	series_remove(&s, 1);
	r = recover();
	is_int(r.removed, 1, "a removal removes");
	series_ok(&s, "the others are there");
	is_int(decide_tag_find(s.store, "moved", &id, &err), 0, "a tag that was moved");
	ok(digest_equal(&id, &s.layer[2].id), "points where it did last");
	is_int(decide_tag_find(s.store, "gone", &id, &err), -ENOENT, "one that was taken away is");
	is_int(r.tags, 3, "three tags in all");
	r = recover();
	is_int(r.removed, 1, "it is the same the second time");
	ok(is_remembered(DECISION_REMOVE, s.layer[1].id.b, DIGEST_LEN),
	   "the removal is remembered as long as the manifest may be met");
	ok(is_remembered(DECISION_TAG, "gone", 4), "so is that a tag was taken away");
	series_ok(&s, "and so are the layers");
	store_close(s.store);
}

/* ---- what a killed gc leaves ---- */

static void test_two_copies(void)
{
	struct gc_opts opts = {.repack = true, .ratio = 1.1};
	struct gc_result g;
	struct recover_result r;
	char from[2][PATH_MAX + 64], to[2][PATH_MAX + 64];
	uint64_t pages;
	struct err err;

	make("copies");
	series_remove(&s, 0);
	for (uint32_t i = 0; i < 2; i++) {
		series_pack_path(&s, i + 1, from[i], sizeof(from[i]));
		series_pack_path(&s, i + 1, to[i], sizeof(to[i]));
		memcpy(to[i] + strlen(to[i]) - 4, "save", 4);
		copy(from[i], to[i]);
	}
	series_must(gc_run(s.store, &opts, &g, &err), &err, "gc");
	is_int(g.packs, 2, "both packs were repacked");
	pages = g.pages;
	for (int i = 0; i < 2; i++)
		copy(to[i], from[i]);
	r = recover();
	is_int(r.packs, 3, "old and new packs are there together");
	is_int(r.layers, 3, "layers count once");
	is_int(r.removed, 1, "the removed one is removed");
	series_ok(&s, "all are whole");
	is_int(series_faults(&s), 0, "and sound");
	series_flip(&s, 3, 2000);
	r = recover();
	ok(r.damaged > 0, "the copy is damaged");
	is_int(r.layers, 3, "but the original is there");
	series_ok(&s, "all are whole");
	series_must(gc_run(s.store, &opts, &g, &err), &err, "gc");
	is_int(series_packs(&s), 1, "gc brings it all together");
	ok(pages > 0 && series_faults(&s) == 0, "soundly");
	series_ok(&s, "all are whole");
	store_close(s.store);
}

/* Numbers of packs, frames and decisions are never given out twice. */
static void test_counters(void)
{
	uint64_t fid, seq, pack, now;
	struct err err;

	make("counters");
	for (size_t i = 0; i < 4; i++)
		series_remove(&s, i);
	(void)index_meta_get_u64(s.store->index, "next_fid", &fid, &err);
	(void)index_meta_get_u64(s.store->index, "next_seq", &seq, &err);
	(void)index_meta_get_u64(s.store->index, "next_pack", &pack, &err);
	(void)recover();
	(void)index_meta_get_u64(s.store->index, "next_fid", &now, &err);
	is_int(now, fid, "the next frame has the number that it would have had");
	(void)index_meta_get_u64(s.store->index, "next_seq", &now, &err);
	is_int(now, seq, "so has the next decision");
	(void)index_meta_get_u64(s.store->index, "next_pack", &now, &err);
	is_int(now, pack, "and the next pack");
	store_close(s.store);
	s.store = NULL;
	(void)unlink(file("index.db"));
	(void)recover();
	(void)index_meta_get_u64(s.store->index, "next_fid", &now, &err);
	is_int(now, fid, "the packs alone say so, too");
	(void)index_meta_get_u64(s.store->index, "next_pack", &now, &err);
	is_int(now, pack, "in every respect");
	series_commit(&s, SIZE_MAX, 30, NULL);
	series_ok(&s, "what is committed then is whole");
	store_close(s.store);
}

/* ---- refusals ---- */

static void test_foreign(void)
{
	char path[PATH_MAX + 64], theirs[PATH_MAX + 64];
	struct recover_result r;

	make("theirs");
	series_pack_path(&s, 1, theirs, sizeof(theirs));
	store_close(s.store);
	make("ours");
	series_pack_path(&s, 9, path, sizeof(path));
	copy(theirs, path);
	r = recover();
	is_int(r.packs, 2, "a pack of another store is not read");
	ok(exists("packs/00000009.pack.foreign") && !exists("packs/00000009.pack"),
	   "but set aside");
	ok(strstr(notes, "pack 00000009 belongs to another store: renamed to "
		  "'00000009.pack.foreign'\n"), "and named: %s", notes);
	check_sound("foreign");
	store_close(s.store);
}

static void test_newer(void)
{
	struct pack_header h = {.number = 9, .incompat = 4};
	uint8_t bytes[PACK_HEADER_LEN];
	char path[PATH_MAX + 64];
	struct recover_result r;
	struct err err;

	make("newer");
	h.params = s.store->params;
	memcpy(h.uuid, s.store->uuid, sizeof(h.uuid));
	pack_header_encode(&h, bytes);
	series_pack_path(&s, 9, path, sizeof(path));
	write_file(path, bytes, sizeof(bytes), 0);
	is_err(try_recover(&r, &err), &err, -EPROTONOSUPPORT,
	       "pack 00000009: it needs a newer lamina (features 0x4)");
	ok(!exists("index.db.broken") && !exists("index.db.new"), "nothing was touched");
	series_ok(&s, "and all is as it was");
	store_close(s.store);
}

static int stop(void *ctx, const char *what, enum progress_unit unit, uint64_t done,
		uint64_t total)
{
	(void)unit;
	(void)done;
	(void)total;
	return strcmp(what, ctx) == 0;
}

static void test_refusals(void)
{
	static const char *const when[] = {"reading packs", "checking layers"};
	struct recover_result r;
	struct err err;

	make("refusals");
	for (int i = 0; i < 2; i++) {
		progress = (struct progress){stop, (void *)when[i]};
		is_int(try_recover(&r, &err), -ECANCELED, "stopped while %s", when[i]);
		ok(!exists("index.db.new") && !exists("index.db.broken"), "the index stays");
	}
	progress = (struct progress){0};
	series_must(store_lock(s.store, "test", 0, &err), &err, "lock");
	is_int(try_recover(&r, &err), -EBUSY, "somebody writes: busy");
	ok(strstr(err.text, "(test, since"), "and who: %s", err.text);
	store_unlock(s.store);
	series_ok(&s, "all is as it was");
	store_close(s.store);
	(void)snprintf(s.path, sizeof(s.path), "%s", tap_path("nowhere"));
	is_err(try_recover(&r, &err), &err, -ENOENT, "there is no store in '%s'", s.path);
	if (mkdir(s.path, 0700) < 0)
		bail("mkdir");
	is_err(try_recover(&r, &err), &err, -ENOENT, "there is no store in '%s'", s.path);
	if (mkdir(file("packs"), 0700) < 0)
		bail("mkdir");
	is_int(try_recover(&r, &err), 0, "an empty directory of packs is a store");
	series_open(&s);
	s.n = 0;
	series_ok(&s, "an empty one");
	series_commit(&s, SIZE_MAX, 20, NULL);
	series_ok(&s, "in which one can commit");
	store_close(s.store);
}

int main(void)
{
	test_indexes();
	test_old_log();
	test_decisions();
	test_two_copies();
	test_counters();
	test_foreign();
	test_newer();
	test_refusals();
	return tap_done();
}
