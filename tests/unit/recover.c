/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/attrs.h"
#include "store/base/fmt.h"
#include "store/gc.h"
#include "store/pack-header.h"
#include "store/recover.h"
#include "store/scan.h"
#include "store/verify.h"
#include "tests/fault.h"
#include "tests/series.h"

#define NOTES_LEN 16384

static struct series s;
static char notes[NOTES_LEN];
static struct progress progress;

static void note(void *ctx, const char *line)
{
	size_t len = strlen(notes);

	(void)ctx;
	(void)snprintf(notes + len, sizeof(notes) - len, "%s\n", line);
}

static int try_recover(struct recover_result *ret, struct err *err)
{
	struct recover_opts opts = {.note = note, .progress = progress};

	notes[0] = '\0';
	return recover_run(s.path, &opts, ret, err);
}

static struct recover_result recover(void)
{
	struct recover_result r;
	struct err err;

	store_close(s.store);
	s.store = NULL;
	series_must(try_recover(&r, &err), &err, "recover");
	series_open(&s);
	return r;
}

static uint64_t faults(void)
{
	struct verify_opts opts = {.deep = true};
	struct verify_result r;
	struct err err;

	series_must(verify_run(s.store, &opts, &r, &err), &err, "verify");
	return r.faults;
}

static const char *file(const char *name)
{
	static char path[4][PATH_MAX + 128];
	static unsigned next;
	char *p = path[next++ % 4];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", s.path, name);
	return p;
}

static bool exists(const char *name)
{
	return access(file(name), F_OK) == 0;
}

static void copy(const char *from, const char *to)
{
	char line[3 * PATH_MAX];

	(void)snprintf(line, sizeof(line), "cp '%s' '%s'", from, to);
	if (system(line) != 0)
		bail("cannot copy '%s'", from);
}

static void write_file(const char *path, const void *bytes, size_t len, off_t off)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	if (fd < 0 || pwrite(fd, bytes, len, off) != (ssize_t)len)
		bail("cannot write '%s'", path);
	close(fd);
}

/* Four generations, two packs; tags "newest" and "kept". */
static void make(const char *name)
{
	struct err err;

	series_init(&s, name, 23);
	for (size_t i = 0; i < 4; i++) {
		series_commit(&s, i - 1, i ? 15 : 40, i == 3 ? "newest" : NULL);
		if (i == 1)
			series_new_pack(&s);
	}
	series_must(decide_tag(s.store, "kept", &s.layer[0].id, 0, &err), &err, "tag");
}

/* Where the n-th record of a type begins in a pack, and how long it is. */
static uint64_t record_at(uint32_t pack, enum record_type type, unsigned n, uint64_t *ret_len)
{
	struct scan_item item;
	struct scan *scan;
	uint64_t len, alloc, off = 0;
	struct err err;

	series_must(packs_size(s.store->packs, pack, &len, &alloc), NULL, "packs_size");
	series_must(scan_open(s.store->packs, pack, PACK_HEADER_LEN, len, &scan, &err), &err,
		    "scan");
	while (!off && scan_next(scan, &item, &err) == 1)
		if (!item.damage && item.record.type == type && n-- == 0) {
			off = item.off;
			*ret_len = item.len;
		}
	scan_close(scan);
	if (!off)
		bail("pack %u has no such record", pack);
	return off;
}

static void flip_record(uint32_t pack, enum record_type type, unsigned n)
{
	uint64_t len, off = record_at(pack, type, n, &len);

	series_flip(&s, pack, off + len / 2);
}

/* Layers that recover has left out are gone for the model, too. */
static size_t forget_lost(void)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		struct layer *layer;
		int rc;

		if (s.layer[i].removed)
			continue;
		rc = layer_open(s.store, &s.layer[i].id, &layer, NULL);
		if (rc == 0) {
			layer_unref(layer);
		} else if (rc == -ENOENT) {
			s.layer[i].removed = true;
			n++;
		}
	}
	return n;
}

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

static void check_sound(const char *how)
{
	struct digest id;
	struct err err;

	series_ok(&s, "%s: every layer is there and whole", how);
	is_int(decide_tag_find(s.store, "newest", &id, &err), 0, "with its tag");
	ok(digest_equal(&id, &s.layer[3].id), "that points at it");
	is_int(faults(), 0, "the store is sound");
}

static void test_indexes(void)
{
	struct recover_result r;
	char *before, *after;

	make("indexes");
	before = attr_of(2, "lamina.fresh");
	r = recover();
	is_int(r.packs, 2, "a sound index: two packs are read");
	is_int(r.layers, 4, "four layers found");
	is_int(r.tags, 2, "and two tags");
	is_int(r.lost + r.removed + r.damaged, 0, "nothing lost, removed or damaged");
	is_str(notes, "", "and there is nothing to tell");
	check_sound("sound");
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
	is_int(faults(), 0, "and all is sound");
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
	series_ok(&s, "and so are the layers");
	store_close(s.store);
}

/* ---- damage ---- */

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
	is_int(faults(), 0, "what is left is sound");
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
	is_int(faults(), 0, "the rest is sound");
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
	is_int(faults(), 0, "and sound");
	store_close(s.store);
	make("manifest");
	flip_record(1, RECORD_LAYER, 0);
	r = recover();
	is_int(r.layers, 3, "a damaged manifest costs its layer");
	is_int(forget_lost(), 1, "and no other");
	ok(strstr(notes, "tag 'kept' is left out"), "its tag is named");
	series_ok(&s, "the others are whole");
	is_int(faults(), 0, "and sound");
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
			unsound += faults() != 0;
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
	is_int(faults(), 0, "and sound");
	series_commit(&s, 2, 10, NULL);
	series_ok(&s, "a commit goes on");
	is_int(faults(), 0, "without harm");
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
	is_int(faults(), 0, "and sound");
	series_flip(&s, 3, 2000);
	r = recover();
	ok(r.damaged > 0, "the copy is damaged");
	is_int(r.layers, 3, "but the original is there");
	series_ok(&s, "all are whole");
	series_must(gc_run(s.store, &opts, &g, &err), &err, "gc");
	is_int(series_packs(&s), 1, "gc brings it all together");
	ok(pages > 0 && faults() == 0, "soundly");
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

static int stop(void *ctx, const char *what, uint64_t done, uint64_t total)
{
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
	test_chunk();
	test_digests();
	test_both();
	test_maps_and_manifest();
	test_pack_header();
	test_anywhere();
	test_cut();
	test_two_copies();
	test_counters();
	test_foreign();
	test_newer();
	test_refusals();
	return tap_done();
}
