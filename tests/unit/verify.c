/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/fmt.h"
#include "store/frame.h"
#include "store/gc.h"
#include "store/record.h"
#include "store/scan.h"
#include "store/verify.h"
#include "tests/fault.h"
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

static struct series s, other;
static struct seen seen[FAULTS_MAX];
static size_t nseen;
static struct verify_result result;

static void note_fault(void *ctx, const struct verify_fault *f)
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

static size_t verify(bool deep)
{
	struct verify_opts opts = {.deep = deep, .fault = note_fault, .progress = progress};
	struct err err;

	nseen = 0;
	series_must(verify_run(s.store, &opts, &result, &err), &err, "verify");
	if (result.faults != nseen)
		bail("%llu faults, %zu told", (unsigned long long)result.faults, nseen);
	return nseen;
}

static const struct seen *find(const char *what)
{
	for (size_t i = 0; i < nseen && i < FAULTS_MAX; i++)
		if (strcmp(seen[i].what, what) == 0)
			return &seen[i];
	return NULL;
}

static bool is_hurt(size_t layer)
{
	for (size_t i = 0; i < nseen && i < FAULTS_MAX; i++)
		if (seen[i].hurts[layer])
			return true;
	return false;
}

/* Layers that cannot be read are those that some fault names. */
static bool names_are_right(void)
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

static void make(const char *name)
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
static struct place record_at(uint32_t pack, enum record_type type, unsigned n)
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

static struct place flip_record(uint32_t pack, enum record_type type, unsigned n)
{
	struct place p = record_at(pack, type, n);

	series_flip(&s, pack, p.off + RECORD_HEADER_LEN + (p.len - RECORD_HEADER_LEN) / 2);
	series_reopen(&s);
	return p;
}

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

/* ---- rows ---- */

static int move_seg(void *ctx, const struct index_seg *row)
{
	struct index_seg moved = *row;
	struct err err;

	if (row->pack != 2)
		return 0;
	moved.off += *(uint64_t *)ctx;
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_seg_put(s.store->index, &moved, &err), &err, "put");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	return 1;
}

static void test_seg_row(void)
{
	uint64_t by = 1;
	struct err err;

	make("seg-row");
	(void)index_seg_find(s.store->index, UINT64_C(2) << 32, move_seg, &by, &err);
	series_reopen(&s);
	ok(verify(false) > 10, "a row that is wrong about a segment's place");
	is_str(seen[0].reason, "no record begins there", "is a fault of each chunk");
	ok(names_are_right(), "of all layers that have one");
	store_close(s.store);
	make("seg-row2");
	by = record_at(2, RECORD_CHUNK, 1).off - record_at(2, RECORD_CHUNK, 0).off;
	(void)index_seg_find(s.store->index, UINT64_C(2) << 32, move_seg, &by, &err);
	series_reopen(&s);
	(void)verify(false);
	is_str(seen[0].reason, "another record is in its place", "even where records begin");
	store_close(s.store);
}

static int misdirect(void *ctx, const struct index_frame *row)
{
	struct runs map = {0};
	struct buf runs = {0};
	struct index_frame wrong = *row;
	struct err err;

	runs_add(&map, *(uint64_t *)ctx, 1);
	runs_add(&map, 0, FRAME_PAGES - 1);
	runs_encode(&map, &runs);
	wrong.runs = runs.data;
	wrong.runs_len = (uint32_t)runs.len;
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_frame_put(s.store->index, &wrong, &err), &err, "put");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	runs_fini(&map);
	buf_fini(&runs);
	return 0;
}

static void test_frame_row(void)
{
	uint64_t to = (UINT64_C(9) << 32) + 7;
	const struct seen *f = NULL;
	struct err err;

	make("frame-row");
	(void)index_frame_get(s.store->index, 1, misdirect, &to, &err);
	(void)verify(false);
	for (size_t i = 0; i < nseen; i++)
		if (strstr(seen[i].reason, "page 9:7 is not in the store"))
			f = &seen[i];
	ok(f && f->id == 1 && strcmp(f->what, "maps") == 0, "a map that points nowhere is a fault");
	ok(f && f->hurts[0], "of the layers that have the frame");
	ok(find("maps") && strstr(find("maps")->reason, "is not the index's"),
	   "and the pack's copy differs: %s", find("maps") ? find("maps")->reason : "");
	to = UINT64_C(1) << 32;
	(void)index_frame_get(s.store->index, 1, misdirect, &to, &err);
	series_reopen(&s);
	(void)verify(true);
	f = NULL;
	for (size_t i = 0; i < nseen; i++)
		if (strcmp(seen[i].reason, "the digest of frame 1 differs") == 0)
			f = &seen[i];
	ok(f && f->hurts[0], "one that points at other pages is found by a deep look");
	store_close(s.store);
}

static int retime(void *ctx, const struct index_layer *row)
{
	struct index_layer wrong = *row;
	uint8_t *copy = malloc(row->manifest_len);
	struct err err;

	memcpy(copy, row->manifest, row->manifest_len);
	copy[*(size_t *)ctx] ^= 1;
	wrong.manifest = copy;
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_layer_put(s.store->index, &wrong, &err), &err, "put");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	free(copy);
	return 0;
}

static void test_layer_row(void)
{
	size_t parent = 1 + DIGEST_LEN + 1 + 5;
	bool differs = false;
	struct err err;

	make("layer-row");
	(void)index_layer_get(s.store->index, &s.layer[2].id, retime, &parent, &err);
	(void)verify(false);
	for (size_t i = 0; i < nseen; i++)
		differs |= strcmp(seen[i].reason, "its Merkle root differs") == 0 &&
			   seen[i].hurts[2];
	ok(differs, "a layer that is not what its name says");
	ok(is_hurt(2) && !is_hurt(1) && !is_hurt(3), "hurts itself alone");
	store_close(s.store);
}

static void test_tag_row(void)
{
	uint8_t nobody[DIGEST_LEN] = {1, 2, 3};
	struct index_decision d = {
		.kind = DECISION_TAG, .key = "lost", .key_len = 4, .seq = 999, .pack = 1,
		.opack = 1, .has_value = true, .value = nobody, .value_len = DIGEST_LEN,
	};
	bool told = false;
	struct err err;

	make("tag-row");
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_decision_put(s.store->index, &d, &err), &err, "put");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	(void)verify(false);
	for (size_t i = 0; i < nseen; i++)
		told |= strcmp(seen[i].reason, "tag 'lost' names a layer that is not there") == 0;
	ok(told, "a tag that points nowhere");
	store_close(s.store);
}

/* A list with other digests and a right checksum: only the bytes can tell. */
static void test_deep(void)
{
	struct place p;
	struct record r;
	uint8_t *bytes;
	char path[PATH_MAX + 64];
	struct err err;
	int fd;

	make("deep");
	p = record_at(2, RECORD_DIGESTS, 0);
	bytes = malloc(p.len);
	series_must(packs_read(s.store->packs, 2, p.off, bytes, p.len, &err), &err, "read");
	series_must(record_decode(bytes, &r), NULL, "decode");
	bytes[p.len - 1] ^= 1;
	record_encode(&r, bytes + RECORD_HEADER_LEN, bytes);
	series_pack_path(&s, 2, path, sizeof(path));
	fd = open(path, O_WRONLY);
	if (fd < 0 || pwrite(fd, bytes, p.len, (off_t)p.off) != (ssize_t)p.len)
		bail("cannot write");
	close(fd);
	free(bytes);
	series_reopen(&s);
	is_int(verify(false), 0, "a wrong digest under a right checksum passes a quick look");
	ok(verify(true) > 0, "but not a deep one");
	ok(find("chunk") && strcmp(find("chunk")->reason, "the digest of a page differs") == 0,
	   "which names the chunk");
	ok(find("maps"), "and the frame");
	store_close(s.store);
}

/* ---- beside others ---- */

static void (*act)(void);

static int meanwhile(void *ctx, const char *what, uint64_t done, uint64_t total)
{
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

static int stop(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	return strcmp(what, ctx) == 0;
}

static void test_stop(void)
{
	static const char *const when[] = {"reading packs", "checking pages", "checking frames"};
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
	int rc = -ENOMEM, odd = 0;
	unsigned long n;
	struct err err;

	make("memory");
	(void)flip_record(1, RECORD_CHUNK, 3);
	for (n = 1; rc == -ENOMEM && n < 5000; n += 1 + n / 16) {
		seg_cache_clear(s.store->segs);
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		nseen = 0;
		rc = verify_run(s.store, &opts, &r, &err);
		if (!fault_struck())
			break;
		fault_disarm();
		odd += rc != -ENOMEM && !(rc == 0 && r.faults == 1);
		rc = -ENOMEM;
	}
	fault_disarm();
	is_int(odd, 0, "without memory it says so, and finds nothing that is not there");
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
	test_seg_row();
	test_frame_row();
	test_layer_row();
	test_tag_row();
	test_deep();
	test_beside("beside1", "reading packs", false);
	test_beside("beside2", "checking pages", true);
	test_beside("beside3", "checking frames", true);
	test_stop();
	test_memory();
	return tap_done();
}
