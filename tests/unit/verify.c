/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/gc.h"
#include "tests/fault.h"
#include "tests/unit/verify-fixture.h"

static struct series other;

/* ---- a sound store ---- */

static void test_sound(void)
{
	uint64_t quick;

	make("sound");
	is_int(verify(false), 0, "a sound store has no fault");
	is_int(result.layers, 4, "four layers were looked at");
	is_int(result.packs, 2, "two packs");
	ok(result.records > result.chunks && result.chunks > 20, "records, chunks among them");
	ok(result.frames >= 6 && result.pages > 200, "frames and pages");
	ok(result.bytes > 500000, "and bytes");
	quick = result.pages;
	is_int(verify(true), 0, "a deep look finds none either");
	is_int(result.pages, quick, "and sees as many pages");
	store_close(s.store);
	series_init(&s, "void", 1);
	is_int(verify(true), 0, "nor has an empty store one");
	store_close(s.store);
}

/* ---- one flipped bit ---- */

static void test_chunk(void)
{
	struct place p;

	make("chunk");
	p = flip_record(1, RECORD_CHUNK, 5);
	is_int(verify(false), 1, "a flipped bit of a chunk is one fault");
	is_str(seen[0].what, "chunk", "of a chunk");
	is_int(seen[0].id, p.id, "that one");
	is_int(seen[0].pack, 1, "in its pack");
	is_int(seen[0].off, p.off, "at its place");
	is_str(seen[0].reason, "checksum differs", "with the reason");
	ok(seen[0].nlayers > 0, "it hurts %zu layers", seen[0].nlayers);
	ok(names_are_right(), "those that cannot be read");
	is_int(verify(true), 1, "a deep look says it once, too");
	store_close(s.store);
}

static void test_digests(void)
{
	struct place p;

	make("digests");
	p = flip_record(2, RECORD_DIGESTS, 0);
	is_int(verify(false), 1, "a flipped bit of a digest list is one fault");
	is_str(seen[0].what, "digests", "of digests");
	is_int(seen[0].id, p.id, "of that segment");
	is_int(seen[0].nlayers, 0, "it hurts no layer");
	ok(names_are_right(), "and all can be read");
	is_int(verify(true), 1, "a deep look hashes the pages instead");
	store_close(s.store);
}

static void test_maps(void)
{
	const struct seen *maps;

	make("maps");
	(void)flip_record(1, RECORD_MAPS, 0);
	is_int(verify(false), 1, "a damaged record of maps is one fault");
	maps = find("maps");
	ok(maps && strstr(maps->reason, "frame maps are not in the pack any more "
			  "(the index still has them)"), "%s", maps ? maps->reason : "none");
	ok(names_are_right(), "no layer is hurt while there is the index");
	store_close(s.store);
}

static void test_manifest(void)
{
	const struct seen *layer;

	make("manifest");
	(void)flip_record(1, RECORD_LAYER, 1);
	(void)verify(false);
	layer = find("layer");
	ok(layer && layer->hurts[1] && layer->nlayers == 1, "a damaged manifest names its layer");
	is_str(layer ? layer->reason : "", "its manifest is not in the pack any more "
	       "(the index still has it)", "the reason says what is left");
	series_ok(&s, "which is enough");
	store_close(s.store);
}

static void test_decision(void)
{
	const struct seen *tag;

	make("decision");
	/* Of each layer the attributes; then the tag of the last. */
	(void)flip_record(2, RECORD_DECISION, 2);
	(void)verify(false);
	tag = find("tag");
	is_str(tag ? tag->reason : "", "what became of tag 'newest' is not in the pack any more "
	       "(the index still has it)", "a damaged decision about a tag names it");
	store_close(s.store);
}

/* Flips a bit here and there: none goes unseen, and the right layers are named. */
static void test_anywhere(void)
{
	unsigned unseen = 0, wrong = 0, n = 0;

	make("anywhere");
	for (uint32_t pack = 1; pack <= 2; pack++) {
		uint64_t len, alloc;

		series_must(packs_size(s.store->packs, pack, &len, &alloc), NULL, "packs_size");
		for (uint64_t off = series_random(&s, 5); off < len;
		     off += 1 + series_random(&s, len / 20)) {
			series_flip(&s, pack, off);
			series_reopen(&s);
			unseen += verify(false) == 0;
			wrong += !names_are_right();
			series_flip(&s, pack, off);
			n++;
		}
	}
	series_reopen(&s);
	is_int(unseen, 0, "of %u flipped bits none is overlooked", n);
	is_int(wrong, 0, "and each time the layers that cannot be read are named");
	is_int(verify(true), 0, "flipped back all is well");
	store_close(s.store);
}

/* ---- whole files ---- */

static void test_files(void)
{
	char path[PATH_MAX + 64], aside[PATH_MAX + 64];
	struct place p;
	struct stat st;

	make("files");
	series_pack_path(&s, 1, path, sizeof(path));
	series_pack_path(&s, 99, aside, sizeof(aside));
	if (rename(path, aside) < 0)
		bail("rename");
	series_reopen(&s);
	(void)verify(false);
	ok(find("pack") && find("pack")->nlayers == 4, "a missing pack hurts all that are in it");
	is_str(find("pack") ? find("pack")->reason : "", "the file is missing", "it is missing");
	if (rename(aside, path) < 0 || stat(path, &st) < 0)
		bail("rename");
	p = record_at(1, RECORD_CHUNK, 9);
	if (truncate(path, (off_t)p.off + 10) < 0)
		bail("truncate");
	series_reopen(&s);
	(void)verify(false);
	ok(find("chunk"), "a cut pack misses chunks");
	is_str(find("chunk") ? find("chunk")->reason : "", "there is no record header",
	       "the first is torn");
	is_str(find("digests") ? find("digests")->reason : "", "the file ends before",
	       "what comes after it is not there");
	ok(names_are_right(), "and it hurts who needs them");
	store_close(s.store);
}

/* ---- beside others ---- */

static void (*act)(void);

static int meanwhile(void *ctx, const char *what, enum progress_unit unit, uint64_t done,
		     uint64_t total)
{
	(void)unit;
	(void)done;
	(void)total;
	if (act && strcmp(what, ctx) == 0) {
		void (*now)(void) = act;

		act = NULL;
		now();
	}
	return 0;
}

static void repack_all(void)
{
	struct gc_opts opts = {.repack = true, .ratio = 1.1};
	struct gc_result r;
	struct err err;

	other = s;
	series_open(&other);
	series_remove(&other, 0);
	series_must(gc_run(other.store, &opts, &r, &err), &err, "gc");
	(void)series_commit(&other, 3, 30, "other");
	store_close(other.store);
	other.store = s.store;
	s = other;
}

static void test_beside(const char *name, const char *when, bool deep)
{
	make(name);
	act = repack_all;
	progress = (struct progress){meanwhile, (void *)when};
	is_int(verify(deep), 0, "beside a gc that moves everything (while %s) nothing is a fault",
	       when);
	progress = (struct progress){0};
	ok(!act, "it did run");
	is_int(verify(true), 0, "nor afterwards");
	series_ok(&s, "all is there");
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
	static const char *const when[] = {"reading packs", "checking segments", "checking frames"};
	struct verify_opts opts = {.deep = true};
	struct verify_result r;
	struct err err;

	make("stop");
	for (size_t i = 0; i < 3; i++) {
		opts.progress = (struct progress){stop, (void *)when[i]};
		is_int(verify_run(s.store, &opts, &r, &err), -ECANCELED, "stopped while %s",
		       when[i]);
	}
	store_close(s.store);
}

static void test_memory(void)
{
	struct verify_opts opts = {.deep = true, .fault = note_fault};
	struct verify_result r;
	int rc = -ENOMEM, odd = 0, silent = 0;
	unsigned long n;
	struct err err;

	make("memory");
	(void)flip_record(1, RECORD_CHUNK, 3);
	for (n = 1; rc == -ENOMEM && n < 5000; n += 1 + n / 16) {
		seg_cache_clear(s.store->segs);
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		nseen = 0;
		err.text[0] = '\0';
		rc = verify_run(s.store, &opts, &r, &err);
		if (!fault_struck())
			break;
		fault_disarm();
		odd += rc != -ENOMEM && !(rc == 0 && r.faults == 1);
		silent += rc < 0 && !strstr(err.text, "memory");
		rc = -ENOMEM;
	}
	fault_disarm();
	is_int(odd, 0, "without memory it says so, and finds nothing that is not there");
	is_int(silent, 0, "in a sentence");
	is_int(verify(true), 1, "with memory it finds the fault");
	store_close(s.store);
}

int main(void)
{
	test_sound();
	test_chunk();
	test_digests();
	test_maps();
	test_manifest();
	test_decision();
	test_anywhere();
	test_files();
	test_beside("beside1", "reading packs", false);
	test_beside("beside2", "checking segments", true);
	test_beside("beside3", "checking frames", true);
	test_stop();
	test_memory();
	return tap_done();
}
