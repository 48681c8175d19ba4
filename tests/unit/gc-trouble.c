/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* gc beside others, after others were killed, on damaged packs and a full disk. */
#include "tests/fault.h"
#include "tests/unit/gc-fixture.h"

static struct series other;

/* ---- somebody else at the same time ---- */

struct meanwhile {
	bool done;
	void (*act)(void);
};

static int meanwhile(void *ctx, const char *what, enum progress_unit unit, uint64_t done,
		     uint64_t total)
{
	struct meanwhile *m = ctx;

	(void)unit;
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
	is_int(series_faults(&s), 0, "nothing at all");
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

static void repack_all(struct series *o)
{
	struct gc_opts opts = {.repack = true, .ratio = 1.1};
	struct gc_result r;
	struct err err;

	series_remove(o, 0);
	series_remove(o, 1);
	series_must(gc_run(o->store, &opts, &r, &err), &err, "gc");
	if (r.pages == 0)
		bail("no page was dropped");
}

/* A process that has looked at segments which then lose pages. */
static void test_long_lived(void)
{
	struct series_layer first;
	struct err err;

	make_six("long");
	first = s.layer[0];
	series_must(series_try_commit(&s, &first, NULL, NULL, &err), &err, "commit");
	elsewhere(repack_all);
	s.layer[s.n] = first;
	series_must(series_try_commit(&s, &s.layer[s.n++], NULL, NULL, &err), &err, "commit");
	series_ok(&s, "a process that was there before gc finds no page that is gone");
	is_int(series_faults(&s), 0, "what it commits is sound");
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

static void hide(uint32_t pack, bool back)
{
	char from[64], to[64];

	(void)snprintf(from, sizeof(from), "%08x.pack%s", pack, back ? ".hidden" : "");
	(void)snprintf(to, sizeof(to), "%08x.pack%s", pack, back ? "" : ".hidden");
	if (renameat(s.store->packs_fd, from, s.store->packs_fd, to) < 0)
		bail("cannot rename pack %u", pack);
	packs_forget(s.store->packs, pack);
}

static void test_lost_pack(void)
{
	struct gc_opts opts = {.repack = true, .ratio = 1.1};
	struct gc_result r = {0};
	struct err err;

	make_six("lost");
	for (size_t i = 0; i < 2; i++)
		series_remove(&s, i);
	hide(2, false);
	is_int(gc_run(s.store, &opts, &r, &err), -EBADMSG, "a pack that is gone cannot be copied");
	ok(strstr(err.text, "cannot look at pack 00000002: No such file") &&
	   strstr(err.text, "'lamina recover'"), "the way out is told: %s", err.text);
	is_int(r.packs, 2, "the other packs are freed all the same");
	opts.repack = false;
	is_int(gc_run(s.store, &opts, &r, &err), 0, "without --repack nobody needs it");
	hide(2, true);
	r = gc_with((struct gc_opts){.repack = true, .ratio = 1.1});
	ok(r.packs > 0, "copied back, it is repacked");
	series_ok(&s, "and no layer has lost a byte");
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
	is_int(series_faults(&s), 1, "a damaged digest list");
	(void)gc_with((struct gc_opts){.repack = true, .ratio = 1.1});
	is_int(series_faults(&s), 0, "is made again from the pages by --repack");
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
	is_int(series_faults(&s), 0, "and sound");
	store_close(s.store);
}

int main(void)
{
	test_commit_meanwhile();
	test_remove_meanwhile();
	test_long_lived();
	test_stop();
	test_lock();
	test_strays();
	test_damaged_chunk();
	test_lost_pack();
	test_damaged_list();
	test_damaged_map();
	test_full();
	return tap_done();
}
