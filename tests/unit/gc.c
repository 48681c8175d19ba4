/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/gc.h"
#include "store/lease.h"
#include "store/recover.h"
#include "store/verify.h"
#include "tests/fault.h"
#include "tests/series.h"

static struct series s, other;

static struct gc_result gc_with(struct gc_opts opts)
{
	struct gc_result r = {0};
	struct err err;

	series_must(gc_run(s.store, &opts, &r, &err), &err, "gc");
	return r;
}

static struct gc_result gc(void)
{
	return gc_with((struct gc_opts){0});
}

static struct gc_result repack(void)
{
	return gc_with((struct gc_opts){.repack = true});
}

static uint64_t faults(void)
{
	struct verify_opts opts = {.deep = true};
	struct verify_result r;
	struct err err;

	series_must(verify_run(s.store, &opts, &r, &err), &err, "verify");
	return r.faults;
}

static struct recover_result recover(void)
{
	struct recover_opts opts = {0};
	struct recover_result r;
	struct err err;

	store_close(s.store);
	series_must(recover_run(s.path, &opts, &r, &err), &err, "recover");
	series_open(&s);
	return r;
}

static int count_decision(void *ctx, const struct index_decision *d)
{
	*(unsigned *)ctx += d->kind != DECISION_ATTRS;
	return 0;
}

/* Rows of tags and removals. */
static unsigned decisions(void)
{
	unsigned n = 0;
	struct err err;

	series_must(index_decision_each(s.store->index, 0, count_decision, &n, &err), &err, "rows");
	return n;
}

static int find_last(void *ctx, uint32_t pack)
{
	*(uint32_t *)ctx = pack;
	return 0;
}

static uint32_t last_pack(void)
{
	uint32_t last = 0;

	(void)packs_each(s.store->packs, find_last, &last);
	return last;
}

/* Six generations in three packs. */
static void make_six(const char *name)
{
	series_init(&s, name, 7);
	for (size_t i = 0; i < 6; i++) {
		series_commit(&s, i - 1, i ? 20 : 70, i == 5 ? "newest" : NULL);
		if (i == 1 || i == 3)
			series_new_pack(&s);
	}
}

/* ---- what goes and what stays ---- */

static void test_empty(void)
{
	struct gc_result r;

	series_init(&s, "empty", 1);
	r = repack();
	is_int(r.layers + r.frames + r.segs + r.pages + r.packs, 0, "an empty store has nothing to free");
	is_int(r.bytes_after, r.bytes_before, "and stays as large as it is");
	store_close(s.store);
}

static void test_all(void)
{
	struct gc_result r;
	uint32_t last;

	make_six("all");
	r = gc();
	is_int(r.layers + r.frames + r.segs + r.packs, 0, "nothing was removed: nothing goes");
	last = last_pack();
	for (size_t i = 0; i < 6; i++)
		series_remove(&s, i);
	series_ok(&s, "all layers were removed");
	r = gc();
	is_int(r.layers, 6, "six layers are forgotten");
	is_int(r.packs, 3, "three packs go, the current one too");
	ok(r.frames > 6 && r.segs >= 6 && r.pages > 600, "with frames, segments and pages");
	is_int(series_packs(&s), 0, "no pack is left");
	is_int(decisions(), 0, "nor a word about what was removed");
	ok(r.bytes_after < r.bytes_before / 10, "the store is small again");
	is_int(faults(), 0, "and sound");
	series_commit(&s, SIZE_MAX, 50, NULL);
	ok(last_pack() > last, "a new pack has a number that was never used");
	series_ok(&s, "and its layer can be read");
	store_close(s.store);
}

static void test_repack(void)
{
	struct gc_result dry, plain, r;

	make_six("repack");
	for (size_t i = 0; i < 5; i++)
		series_remove(&s, i);
	dry = gc_with((struct gc_opts){.repack = true, .dry_run = true});
	series_ok(&s, "a dry run changes nothing");
	is_int(series_packs(&s), 3, "no pack");
	plain = gc();
	is_int(plain.layers, dry.layers, "it foretells the layers");
	is_int(plain.frames, dry.frames, "the frames");
	ok(plain.dead_bytes > 0, "without --repack dead pages stay, and are counted");
	series_ok(&s, "the last layer is whole");
	r = repack();
	is_int(r.packs, dry.packs, "it foretells the packs that go");
	is_int(r.repacked, dry.repacked, "those that are copied");
	is_int(plain.pages + r.pages, dry.pages, "and the pages");
	ok(r.bytes_after < plain.bytes_after, "--repack frees them");
	series_ok(&s, "the last layer is whole");
	is_int(faults(), 0, "and every digest right");
	r = repack();
	is_int(r.packs, 0, "there is nothing left to repack");
	series_reopen(&s);
	series_ok(&s, "another process sees the same");
	is_int(recover().layers, 1, "the packs alone know the layer");
	series_ok(&s, "and all of it");
	series_commit(&s, 5, 10, NULL);
	series_ok(&s, "a child of it can be committed");
	store_close(s.store);
}

/* Only generation 5, against a store that never had another. */
static void test_as_if_alone(void)
{
	struct series_layer newest;
	struct gc_result six, one;
	struct err err;

	make_six("kept");
	for (size_t i = 0; i < 5; i++)
		series_remove(&s, i);
	newest = s.layer[5];
	six = repack();
	store_close(s.store);
	series_init(&s, "alone", 7);
	series_must(series_try_commit(&s, &newest, NULL, "newest", &err), &err, "commit");
	one = repack();
	tap_diag("kept: %llu bytes, alone: %llu", (unsigned long long)six.bytes_after,
		 (unsigned long long)one.bytes_after);
	ok(six.bytes_after * 100 <= one.bytes_after * 105,
	   "what is kept of six takes at most 5 %% more than it alone");
	store_close(s.store);
}

static void test_ratio(void)
{
	struct gc_result r;

	make_six("ratio");
	series_remove(&s, 0);
	(void)gc();
	r = gc_with((struct gc_opts){.repack = true, .ratio = 0.01});
	is_int(r.packs, 0, "packs above the ratio are left alone");
	r = gc_with((struct gc_opts){.repack = true, .ratio = 1.0});
	ok(r.packs > 0, "at 1 any dead page is a reason");
	series_ok(&s, "the others are whole");
	store_close(s.store);
}

/* ---- decisions ---- */

static void test_tombstones(void)
{
	struct err err;

	make_six("tombstones");
	series_must(decide_tag(s.store, "old", &s.layer[1].id, 0, &err), &err, "tag");
	series_new_pack(&s);
	series_must(decide_untag(s.store, "old", 0, &err), &err, "untag");
	series_remove(&s, 0);
	(void)gc();
	is_int(decisions(), 3, "the tag, the untag and the removal are remembered");
	is_int(recover().removed, 1, "so that the manifest that is still there does not count");
	series_ok(&s, "what was removed stays removed");
	is_int(decide_tag_find(s.store, "old", &s.layer[7].id, &err), -ENOENT,
	       "and what was untagged untagged");
	(void)gc_with((struct gc_opts){.repack = true, .ratio = 1.1});
	is_int(decisions(), 1, "when the old packs are gone only the tag is");
	is_int(recover().removed, 0, "there is nothing that could come back");
	series_ok(&s, "nothing comes back");
	store_close(s.store);
}

static void test_again(void)
{
	struct series_layer back;
	struct err err;

	make_six("again");
	back = s.layer[0];
	series_remove(&s, 0);
	series_new_pack(&s);
	s.layer[6] = back;
	series_must(series_try_commit(&s, &s.layer[6], NULL, NULL, &err), &err, "commit");
	s.n = 7;
	ok(digest_equal(&s.layer[6].id, &back.id), "a removed layer is committed again");
	series_ok(&s, "and is there");
	(void)repack();
	series_ok(&s, "gc leaves it");
	is_int(recover().layers, 6, "so does recover");
	series_ok(&s, "it is whole");
	store_close(s.store);
}

/* ---- readers ---- */

static void test_lease(void)
{
	struct recover_opts opts = {0};
	struct recover_result found;
	struct gc_result r;
	struct layer *layer;
	struct err err;
	int fd;

	make_six("lease");
	fd = lease_take(s.store, &s.layer[2].id, NULL);
	series_must(layer_open(s.store, &s.layer[2].id, &layer, &err), &err, "layer_open");
	for (size_t i = 0; i < 5; i++)
		series_remove(&s, i);
	r = gc_with((struct gc_opts){.repack = true, .dry_run = true});
	is_int(r.leased, 1, "a dry run sees that a removed layer is read");
	r = repack();
	is_int(r.leased, 1, "it is kept");
	is_int(r.layers, 4, "the others are forgotten");
	ok(!series_check_image(&s, layer, "memfile", s.layer[2].mem, SERIES_PAGES),
	   "and all of its bytes are there");
	ok(layer_open(s.store, &s.layer[2].id, &layer, &err) == -ENOENT, "who comes now is too late");
	layer_unref(layer);
	is_int(faults(), 0, "the store is sound");
	is_err(recover_run(s.path, &opts, &found, &err), &err, -EBUSY,
	       "layer %02x%02x%02x%02x%02x%02x is being read by pid %d: a store is recovered "
	       "when nobody reads it", s.layer[2].id.b[0], s.layer[2].id.b[1],
	       s.layer[2].id.b[2], s.layer[2].id.b[3], s.layer[2].id.b[4], s.layer[2].id.b[5],
	       (int)getpid());
	close(fd);
	found = recover();
	is_int(found.layers, 1, "the index lost and made again: the last layer is there");
	is_int(found.lost, 0, "the removed one is not missed");
	series_ok(&s, "nor does it come back");
	r = repack();
	is_int(r.leased, 0, "when nobody reads it any more");
	series_ok(&s, "it goes and the other stays");
	store_close(s.store);
}

/* A reader that has the layer open while all of its bytes move. */
static void test_reader(void)
{
	static const struct store_limits tight = {
		.chunk_cache = 1, .frame_cache = 1, .open_packs = 1, .segs = 2,
	};
	static uint8_t got[SERIES_PAGES * PAGE_SIZE];
	uint8_t want[PAGE_SIZE];
	struct store *reader;
	struct layer *layer;
	struct view *view;
	struct err err;
	unsigned bad = 0;

	make_six("reader");
	series_must(store_open(s.path, &tight, &reader, &err), &err, "store_open");
	series_must(layer_open(reader, &s.layer[5].id, &layer, &err), &err, "layer_open");
	series_must(view_open(reader, layer, "memfile", &view, &err), &err, "view_open");
	(void)view_pread(view, got, 64 * PAGE_SIZE, 0, &err);
	for (size_t i = 0; i < 5; i++)
		series_remove(&s, i);
	(void)gc_with((struct gc_opts){.repack = true, .ratio = 1.1});
	is_int(view_pread(view, got, sizeof(got), 0, &err), sizeof(got),
	       "a reader goes on while its packs are replaced");
	for (size_t i = 0; i < SERIES_PAGES; i++) {
		series_page(s.layer[5].mem[i], want);
		bad += memcmp(want, got + i * PAGE_SIZE, PAGE_SIZE) != 0;
	}
	is_int(bad, 0, "and reads the right bytes");
	view_close(view);
	layer_unref(layer);
	store_close(reader);
	store_close(s.store);
}

/* ---- somebody else at the same time ---- */

struct meanwhile {
	bool done;
	void (*act)(void);
};

static int meanwhile(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	struct meanwhile *m = ctx;

	(void)done;
	(void)total;
	if (!m->done && strcmp(what, "marking") == 0) {
		m->done = true;
		m->act();
	}
	return 0;
}

/* Another process, whose store is opened anew. */
static void elsewhere(void (*act)(struct series *))
{
	other = s;
	series_open(&other);
	act(&other);
	store_close(other.store);
	other.store = s.store;
	s = other;
}

/* The pages of a removed layer, found by a commit before they are gone. */
static void commit_old(struct series *o)
{
	struct series_layer *l = &o->layer[o->n];
	struct err err;

	*l = o->layer[0];
	l->removed = false;
	l->mem[3] = 123456;
	series_must(series_try_commit(o, l, NULL, NULL, &err), &err, "commit");
	o->n++;
}

static void act_commit(void)
{
	elsewhere(commit_old);
}

static void remove_one(struct series *o)
{
	series_remove(o, 4);
}

static void act_remove(void)
{
	elsewhere(remove_one);
}

static void test_commit_meanwhile(void)
{
	struct meanwhile m = {.act = act_commit};
	struct gc_result r;

	make_six("commit");
	series_remove(&s, 0);
	r = gc_with((struct gc_opts){.repack = true, .progress = {meanwhile, &m}});
	ok(m.done, "a commit finds pages that are about to be freed");
	is_int(r.layers, 1, "the removed layer goes");
	is_int(s.n, 7, "the new layer is there");
	series_ok(&s, "and nothing of it dangles");
	is_int(faults(), 0, "nothing at all");
	store_close(s.store);
}

static void test_remove_meanwhile(void)
{
	struct meanwhile m = {.act = act_remove};
	struct gc_result r, after;

	make_six("remove");
	r = gc_with((struct gc_opts){.progress = {meanwhile, &m}});
	is_int(r.layers, 1, "a layer that is removed while gc marks is forgotten by it");
	ok(r.frames > 0, "with what only it reached");
	after = gc();
	is_int(after.frames + after.segs, 0, "the next gc finds nothing left of it");
	series_ok(&s, "the others are whole");
	store_close(s.store);
}

static int stop(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	return strcmp(what, ctx) == 0;
}

static void test_stop(void)
{
	struct gc_opts opts = {.repack = true, .progress = {stop, (void *)"freeing packs"}};
	struct gc_result r;
	struct err err;

	make_six("stop");
	for (size_t i = 0; i < 5; i++)
		series_remove(&s, i);
	is_int(gc_run(s.store, &opts, &r, &err), -ECANCELED, "gc can be stopped between packs");
	opts.progress.ctx = (void *)"marking";
	is_int(gc_run(s.store, &opts, &r, &err), -ECANCELED, "and while it marks");
	series_ok(&s, "nothing is broken by that");
	(void)repack();
	series_ok(&s, "and the next run ends it");
	store_close(s.store);
}

static void test_lock(void)
{
	struct gc_opts opts = {0};
	struct gc_result r;
	struct err err;

	make_six("lock");
	other = s;
	series_open(&other);
	series_must(store_lock(other.store, "test", 0, &err), &err, "store_lock");
	is_int(gc_run(s.store, &opts, &r, &err), -EBUSY, "somebody else writes: busy");
	ok(strstr(err.text, "(test, since"), "and who it is: %s", err.text);
	opts.dry_run = true;
	is_int(gc_run(s.store, &opts, &r, &err), 0, "a dry run needs no lock");
	store_unlock(other.store);
	opts.dry_run = false;
	is_int(gc_run(s.store, &opts, &r, &err), 0, "then it works");
	store_close(other.store);
	store_close(s.store);
}

/* ---- leftovers ---- */

static void test_strays(void)
{
	char path[PATH_MAX + 64], old[PATH_MAX + 64];
	struct stat st;

	make_six("strays");
	series_pack_path(&s, 2, old, sizeof(old));
	series_pack_path(&s, 77, path, sizeof(path));
	if (link(old, path) < 0)
		bail("link");
	series_remove(&s, 2);
	series_remove(&s, 3);
	(void)gc_with((struct gc_opts){.repack = true, .ratio = 1.1});
	ok(stat(path, &st) < 0, "a pack of a number that nobody has had yet goes");
	series_pack_path(&s, 3, path, sizeof(path));
	if (link(s.input[0], path) < 0)
		bail("link");
	(void)gc();
	ok(stat(path, &st) < 0, "and one that a killed gc has left, too");
	series_ok(&s, "layers are whole");
	store_close(s.store);
}

/* ---- damage ---- */

/* Finds the place of a live chunk's record in pack `pack`. */
static int find_chunk(void *ctx, const struct index_seg *row)
{
	uint64_t *at = ctx;

	if (row->pack != at[0] || at[1])
		return 0;
	at[1] = row->off;
	at[2] = row->dig_off;
	return 0;
}

static void test_damaged_chunk(void)
{
	uint64_t at[3] = {2, 0, 0};
	struct gc_opts opts = {.repack = true, .ratio = 1.1};
	struct gc_result r = {0};
	struct err err;
	int rc;

	make_six("damaged");
	for (size_t i = 0; i < 2; i++)
		series_remove(&s, i);
	(void)index_seg_each(s.store->index, find_chunk, at, &err);
	series_flip(&s, 2, at[1] + RECORD_HEADER_LEN + 9);
	rc = gc_run(s.store, &opts, &r, &err);
	is_int(rc, -EBADMSG, "a damaged chunk cannot be copied");
	ok(strstr(err.text, "chunk 2:0 in pack 00000002 at byte 64: checksum differs"),
	   "which one is told: %s", err.text);
	is_int(r.packs, 2, "the other packs are freed all the same");
	ok(r.bytes_before > 0 && r.layers == 2, "and the result tells it");
	series_flip(&s, 2, at[1] + RECORD_HEADER_LEN + 9);
	series_ok(&s, "no other byte is lost");
	r = gc_with(opts);
	ok(r.packs > 0, "healed, it is repacked");
	series_ok(&s, "and whole");
	store_close(s.store);
}

static void test_damaged_list(void)
{
	uint64_t at[3] = {2, 0, 0};
	struct err err;

	make_six("list");
	series_remove(&s, 0);
	(void)index_seg_each(s.store->index, find_chunk, at, &err);
	series_flip(&s, 2, at[2] + RECORD_HEADER_LEN + 5);
	is_int(faults(), 1, "a damaged digest list");
	(void)gc_with((struct gc_opts){.repack = true, .ratio = 1.1});
	is_int(faults(), 0, "is made again from the pages by --repack");
	series_ok(&s, "and no layer is hurt");
	store_close(s.store);
}

static void test_damaged_map(void)
{
	struct gc_opts opts = {.repack = true};
	struct gc_result r;
	struct err err;
	int rc;

	make_six("map");
	series_remove(&s, 0);
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_frame_delete(s.store->index, 1, &err), &err, "delete");
	series_must(index_frame_delete(s.store->index, 2, &err), &err, "delete");
	series_must(index_frame_delete(s.store->index, 3, &err), &err, "delete");
	series_must(index_frame_delete(s.store->index, 4, &err), &err, "delete");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	rc = gc_run(s.store, &opts, &r, &err);
	is_int(rc, -EBADMSG, "a layer that misses a frame");
	ok(strncmp(err.text, "layer ", 6) == 0 && strstr(err.text, "frame "),
	   "stops gc before it deletes anything: %s", err.text);
	store_close(s.store);
}

/* ---- a full disk ---- */

static void test_full(void)
{
	struct gc_opts opts = {.repack = true};
	struct gc_result r = {0};
	struct err err;
	int rc;

	make_six("full");
	/* Packs 1 and 2 die wholly, what is left is in 3 and in a new one. */
	series_new_pack(&s);
	series_commit(&s, SIZE_MAX, 60, NULL);
	for (size_t i = 0; i < 5; i++)
		series_remove(&s, i);
	fault_arm_from(FAULT_PWRITE, 1, ENOSPC);
	rc = gc_run(s.store, &opts, &r, &err);
	fault_disarm();
	is_int(rc, -ENOSPC, "packs cannot be written, the index can");
	ok(strstr(err.text, "the disk is full: pack 0000000") && strstr(err.text, "room for"),
	   "what is missing is told: %s", err.text);
	is_int(r.layers, 5, "what could be deleted is");
	series_ok(&s, "nothing is lost");
	r = repack();
	ok(r.packs > 0, "with room it goes on");
	series_ok(&s, "layers are whole");
	is_int(faults(), 0, "and sound");
	store_close(s.store);
}

int main(void)
{
	test_empty();
	test_all();
	test_repack();
	test_as_if_alone();
	test_ratio();
	test_tombstones();
	test_again();
	test_lease();
	test_reader();
	test_commit_meanwhile();
	test_remove_meanwhile();
	test_stop();
	test_lock();
	test_strays();
	test_damaged_chunk();
	test_damaged_list();
	test_damaged_map();
	test_full();
	return tap_done();
}
