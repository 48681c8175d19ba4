/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/lease.h"
#include "tests/unit/gc-fixture.h"

/* ---- what goes and what stays ---- */

static void test_empty(void)
{
	struct gc_result r;

	series_init(&s, "empty", 1);
	r = repack();
	is_int(r.layers + r.frames + r.segs + r.pages + r.packs, 0,
	       "an empty store has nothing to free");
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
	is_int(series_faults(&s), 0, "and sound");
	series_commit(&s, SIZE_MAX, 50, NULL);
	ok(last_pack() > last, "a new pack has a number that was never used");
	series_ok(&s, "and its layer can be read");
	store_close(s.store);
}

static void test_repack(void)
{
	struct recover_result found;
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
	is_int(series_faults(&s), 0, "and every digest right");
	r = repack();
	is_int(r.packs, 0, "there is nothing left to repack");
	series_reopen(&s);
	series_ok(&s, "another process sees the same");
	found = recover();
	is_int(found.layers, 1, "the packs alone know the layer");
	is_int(found.tags, 1, "and its tag");
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
	int fd, own;

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
	ok(layer_open(s.store, &s.layer[2].id, &(struct layer *){NULL}, &err) == -ENOENT,
	   "who asks for it now is too late");
	layer_unref(layer);
	series_must(layer_hold(s.store, &s.layer[2].id, &own, &layer, &err), &err, "layer_hold");
	close(fd);
	fd = own;
	is_int(repack().leased, 1, "a second reader keeps it when the first has gone");
	ok(!series_check_image(&s, layer, "memfile", s.layer[2].mem, SERIES_PAGES),
	   "with all of its bytes");
	layer_unref(layer);
	is_int(series_faults(&s), 0, "the store is sound");
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

/*
 * A leased layer's bytes move to pack 4 while its removal stays in pack 3; then
 * the reader goes, and pack 3 with everything before it.
 */
static void test_lease_end(void)
{
	struct series_layer *own;
	struct gc_result r;
	struct err err;
	int fd;

	make_six("lease-end");
	fd = lease_take(s.store, &s.layer[2].id, NULL);
	series_remove(&s, 2);
	series_new_pack(&s);
	series_remove(&s, 0);
	series_remove(&s, 3);
	r = gc_with((struct gc_opts){.repack = true, .ratio = 1.0});
	is_int(r.leased, 1, "a removed layer that is read");
	is_int(r.repacked, 2, "moves with all of its pages, and its removal does not");
	close(fd);
	own = &s.layer[s.n++];
	for (uint32_t i = 0; i < 50; i++)
		own->mem[i] = 20000 + i;
	series_must(series_try_commit(&s, own, NULL, NULL, &err), &err, "commit");
	for (size_t i = 0; i < 6; i++)
		if (!s.layer[i].removed)
			series_remove(&s, i);
	r = gc();
	is_int(r.layers, 4, "the reader has gone and so does the layer");
	is_int(series_packs(&s), 1, "with all packs that the removal spoke against");
	(void)recover();
	series_ok(&s, "nothing that was written for the reader brings it back");
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
	test_lease_end();
	test_reader();
	return tap_done();
}
