/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* recover from packs that are not what they were. */
#include "store/base/fmt.h"
#include "tests/unit/recover-fixture.h"

static void test_chunk(void)
{
	struct series_layer *l;
	struct recover_result r;
	char hex[DIGEST_HEX_LEN], line[128];
	struct err err;
	size_t lost;

	make("chunk");
	flip_record(2, RECORD_CHUNK, 1);
	r = recover();
	lost = forget_lost();
	ok(lost > 0 && lost < 4, "a damaged chunk costs the %zu layers that need it", lost);
	is_int(r.lost, lost, "and they are counted");
	is_int(r.damaged, 1, "one place was damaged");
	ok(strstr(notes, "pack 00000002: ") && strstr(notes, "skipped: checksum differs\n"),
	   "which is told");
	l = &s.layer[3];
	(void)snprintf(line, sizeof(line), "layer %.12s is incomplete and left out: ",
		       fmt_hex(hex, l->id.b, DIGEST_LEN));
	ok(strstr(notes, line), "and who is left out: %s", notes);
	ok(strstr(notes, "tag 'newest' is left out: its layer "), "with what tag");
	series_ok(&s, "the others are whole");
	is_int(series_faults(&s), 0, "what is left is sound");
	l->removed = false;
	series_must(series_try_commit(&s, l, NULL, NULL, &err), &err, "commit");
	series_ok(&s, "committed again it is whole: nothing is found in the damaged chunk");
	store_close(s.store);
}

static void test_digests(void)
{
	struct commit_result again;
	struct commit_image image = {.name = "twice", .path = s.input[0]};
	struct commit_opts opts = {.images = &image, .nimages = 1, .threads = 1};
	struct recover_result r;
	struct err err;

	make("digests");
	flip_record(1, RECORD_DIGESTS, 0);
	r = recover();
	is_int(r.layers, 4, "a damaged digest list costs no layer");
	is_int(r.damaged, 1, "it is seen");
	ok(strstr(notes, "its digest list was made again\n"), "and made again: %s", notes);
	check_sound("list");
	series_write(s.input[0], s.layer[0].mem, SERIES_PAGES);
	image.path = s.input[0];
	series_must(commit_run(s.store, &opts, &again, &err), &err, "commit");
	is_int(again.total.fresh, 0, "its pages are found again");
	(void)decide_remove(s.store, &again.id, true, 0, &err);
	r = recover();
	is_int(r.damaged, 1, "the next recover skips the old list");
	ok(!strstr(notes, "made again"), "and takes the new one");
	check_sound("again");
	store_close(s.store);
}

/* A list and a chunk of the same segment. */
static void test_both(void)
{
	struct recover_result r;

	make("both");
	flip_record(2, RECORD_CHUNK, 2);
	flip_record(2, RECORD_DIGESTS, 0);
	r = recover();
	is_int(r.damaged, 2, "a chunk and its list");
	is_int(r.lost, forget_lost(), "cost the layers that need the chunk");
	series_ok(&s, "and no others");
	is_int(series_faults(&s), 0, "the rest is sound");
	store_close(s.store);
}

/* A manifest that names frames of other layers, under another name. */
static void test_forged(void)
{
	struct record r = {.type = RECORD_LAYER};
	struct recover_result found;
	struct layer *layer;
	struct buf manifest = {0};
	struct index_pack last;
	struct pack_writer w;
	struct err err;

	make("forged");
	series_must(layer_open(s.store, &s.layer[1].id, &layer, &err), &err, "layer_open");
	layer->id.b[0] ^= 1;
	layer_encode(layer, &manifest);
	r.id = layer->seq + 1000;
	r.len = (uint32_t)manifest.len;
	series_must(index_pack_last(s.store->index, &last, &err), &err, "pack");
	series_must(pack_append_at(s.store->packs, last.number, last.end, &w, &err), &err,
		    "append");
	series_must(pack_put(&w, &r, manifest.data, NULL, &err), &err, "put");
	series_must(pack_sync(&w, &err), &err, "sync");
	pack_close(&w);
	buf_fini(&manifest);
	layer_unref(layer);
	found = recover();
	is_int(found.layers, 4, "a layer that is not what its name says does not count");
	is_int(found.lost, 1, "it is left out");
	series_ok(&s, "the others are there");
	store_close(s.store);
}

static void test_maps_and_manifest(void)
{
	struct recover_result r;

	make("maps");
	flip_record(2, RECORD_MAPS, 0);
	r = recover();
	is_int(r.lost, forget_lost(), "damaged maps cost the layers that have the frames");
	ok(r.lost > 0 && r.layers + r.lost == 4, "%u of four", (unsigned)r.lost);
	series_ok(&s, "the others are whole");
	is_int(series_faults(&s), 0, "and sound");
	store_close(s.store);
	make("manifest");
	flip_record(1, RECORD_LAYER, 0);
	r = recover();
	is_int(r.layers, 3, "a damaged manifest costs its layer");
	is_int(forget_lost(), 1, "and no other");
	is_int(r.lost, 1, "it is counted");
	ok(strstr(notes, " is lost: the old index names it, but no pack has its manifest\n"),
	   "and named: %s", notes);
	ok(strstr(notes, "tag 'kept' is left out"), "its tag is named");
	store_close(s.store);
	s.store = NULL;
	(void)unlink(file("index.db"));
	r = recover();
	is_int(r.lost, 1, "without an index what its tag says remains");
	ok(!r.compared && (strstr(notes, " is lost: tag 'kept' names it, but") ||
			   strstr(notes, " is lost: attributes name it, but")),
	   "so it is named all the same: %s", notes);
	series_ok(&s, "the others are whole");
	is_int(series_faults(&s), 0, "and sound");
	store_close(s.store);
}

static void test_pack_header(void)
{
	struct recover_result r;
	char path[PATH_MAX + 64];

	make("header");
	series_flip(&s, 1, 25);
	r = recover();
	is_int(r.layers, 4, "a damaged pack header costs nothing");
	ok(strstr(notes, "pack 00000001: its header was damaged and has been written again\n"),
	   "it is written again");
	check_sound("header");
	series_pack_path(&s, 1, path, sizeof(path));
	write_file(path, (uint8_t[PACK_HEADER_LEN]){0}, PACK_HEADER_LEN, 0);
	series_pack_path(&s, 2, path, sizeof(path));
	write_file(path, (uint8_t[PACK_HEADER_LEN]){0}, PACK_HEADER_LEN, 0);
	r = recover();
	is_int(r.layers, 4, "nor does it cost anything to lose them all");
	check_sound("no headers");
	write_file(path, (uint8_t[PACK_HEADER_LEN]){0}, PACK_HEADER_LEN, 0);
	store_close(s.store);
	s.store = NULL;
	series_pack_path(&s, 1, path, sizeof(path));
	write_file(path, (uint8_t[PACK_HEADER_LEN]){0}, PACK_HEADER_LEN, 0);
	(void)unlink(file("index.db"));
	r = recover();
	is_int(r.layers, 4, "even without the index");
	check_sound("nothing but records");
	store_close(s.store);
}

/* Which seed the records have is then told by those that are whole. */
static void test_headers_and_records(void)
{
	struct recover_result r;
	char path[PATH_MAX + 64];

	make("firsts");
	store_close(s.store);
	s.store = NULL;
	for (uint32_t pack = 1; pack <= 2; pack++) {
		series_flip(&s, pack, PACK_HEADER_LEN + RECORD_HEADER_LEN + 7);
		series_pack_path(&s, pack, path, sizeof(path));
		write_file(path, (uint8_t[PACK_HEADER_LEN]){0}, PACK_HEADER_LEN, 0);
	}
	(void)unlink(file("index.db"));
	r = recover();
	is_int(r.layers + r.lost, 4, "the first record of each pack damaged, too: all are known");
	(void)forget_lost();
	series_ok(&s, "the rest is whole");
	is_int(series_faults(&s), 0, "and sound");
	store_close(s.store);
}

/* Bits here and there: what is left is right, and what is not left is told. */
static void test_anywhere(void)
{
	unsigned wrong = 0, silent = 0, unsound = 0, n = 0;
	char saved[PATH_MAX + 64], path[PATH_MAX + 64];

	make("anywhere");
	for (uint32_t pack = 1; pack <= 2; pack++) {
		uint64_t len, alloc;

		series_pack_path(&s, pack, path, sizeof(path));
		series_pack_path(&s, 90 + pack, saved, sizeof(saved));
		memcpy(saved + strlen(saved) - 4, "save", 4);
		copy(path, saved);
		series_must(packs_size(s.store->packs, pack, &len, &alloc), NULL, "packs_size");
		for (uint64_t off = series_random(&s, 5); off < len;
		     off += 1 + series_random(&s, len / 12)) {
			struct series before = s;
			struct recover_result r;

			series_flip(&s, pack, off);
			r = recover();
			silent += notes[0] == '\0';
			(void)forget_lost();
			unsound += series_faults(&s) != 0;
			wrong += series_check(&s) != NULL;
			(void)r;
			before.store = s.store;
			before.random = s.random;
			s = before;
			copy(saved, path);
			n++;
		}
	}
	is_int(silent, 0, "of %u flipped bits none is passed over in silence", n);
	is_int(wrong, 0, "each time every layer that is shown is what was committed");
	is_int(unsound, 0, "and the store is sound");
	(void)recover();
	check_sound("undamaged packs put back");
	store_close(s.store);
}

static void test_cut(void)
{
	char path[PATH_MAX + 64];
	struct recover_result r;
	uint64_t len, off;

	make("cut");
	series_pack_path(&s, 2, path, sizeof(path));
	off = record_at(2, RECORD_LAYER, 1, &len);
	if (truncate(path, (off_t)(off + 9)) < 0)
		bail("truncate");
	r = recover();
	is_int(r.layers, 3, "a pack that was cut has what is before the cut");
	is_int(forget_lost(), 1, "one layer was behind it");
	series_ok(&s, "the others are whole");
	is_int(series_faults(&s), 0, "and sound");
	is_int(series_packs(&s), 2, "there are two packs");
	series_commit(&s, 2, 10, NULL);
	is_int(series_packs(&s), 3, "the next commit does not write into the one that was cut");
	series_ok(&s, "it goes on");
	is_int(series_faults(&s), 0, "without harm");
	store_close(s.store);
}

int main(void)
{
	test_chunk();
	test_digests();
	test_both();
	test_forged();
	test_maps_and_manifest();
	test_pack_header();
	test_headers_and_records();
	test_anywhere();
	test_cut();
	return tap_done();
}
