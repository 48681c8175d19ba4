/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/chunk.h"
#include "store/base/cache.h"
#include "tests/fault.h"
#include "tests/unit/fixture.h"

#include <pthread.h>

static struct err err;

static bool page_is(const uint8_t *got, uint64_t paddr)
{
	uint8_t want[PAGE_SIZE] = {0};

	fixture_page(paddr, want);
	return got && memcmp(got, want, PAGE_SIZE) == 0;
}

static struct seg *seg_of(struct fixture *f, uint64_t paddr)
{
	struct seg *seg;

	fixture_must(seg_get(f->store, paddr, &seg, &err), &err, "seg_get");
	return seg;
}

static void test_page(void)
{
	uint8_t data[3 * PAGE_SIZE];
	struct chunk c = {.slots = 0x8009, .data = data};

	ok(chunk_page(&c, 0) == data, "the first page");
	ok(chunk_page(&c, 3) == data + PAGE_SIZE, "one behind a gap");
	ok(chunk_page(&c, 15) == data + 2 * PAGE_SIZE, "the last");
	ok(chunk_page(&c, 1) == NULL && chunk_page(&c, 14) == NULL, "pages that are gone");
	ok(chunk_page(&c, 16) == NULL, "a slot that cannot be");
}

static void test_get(struct fixture *f)
{
	uint64_t first = fixture_seg(f, 3, 4);
	struct seg *seg = seg_of(f, first);
	struct cache_entry *e, *same;
	const struct chunk *c, *again;
	unsigned long before;

	is_int(chunk_get(f->store, seg, &seg->chunk[1], &e, &c, &err), 0, "get");
	is_int(c->slots, 0xf, "four pages");
	for (unsigned i = 0; i < 4; i++)
		ok(page_is(chunk_page(c, i), first + 4 + i), "page %u", i);
	before = fault_count(FAULT_PREAD);
	is_int(chunk_get(f->store, seg, &seg->chunk[1], &same, &again, &err), 0, "get again");
	ok(c == again, "the same one");
	is_int(fault_count(FAULT_PREAD), before, "nothing was read for it");
	chunk_put(f->store, same);
	chunk_put(f->store, e);
	chunk_put(f->store, NULL);
	seg_unref(seg);
}

static void test_partial(struct fixture *f)
{
	static const uint8_t spans[] = {16};
	static const uint16_t slots[] = {0x8002};
	uint64_t first = f->next;
	struct seg *seg;
	struct cache_entry *e;
	const struct chunk *c;

	fixture_put_seg(f, first, spans, slots, 1);
	f->next += 16;
	seg = seg_of(f, first + 1);
	is_int(chunk_get(f->store, seg, &seg->chunk[0], &e, &c, &err), 0, "two pages of 16");
	ok(page_is(chunk_page(c, 1), first + 1), "one");
	ok(page_is(chunk_page(c, 15), first + 15), "the other");
	ok(!chunk_page(c, 0), "the rest is gone");
	chunk_put(f->store, e);
	seg_unref(seg);
}

/* Chunks of two packs, out of order, one twice; a far one. */
static void test_get_all(struct fixture *f)
{
	uint64_t a = fixture_seg(f, 5, 4), far, b;
	struct seg *sa = seg_of(f, a), *sf, *sb;
	struct chunk_want want[8];
	unsigned long reads;
	size_t bad = 99;
	int good = 0;

	fixture_seg(f, 4, 16);		/* a gap of more than 64 KiB */
	far = fixture_seg(f, 1, 4);
	sf = seg_of(f, far);
	fixture_new_pack(f, 2);
	while (f->w.end <= sf->chunk[0].off)
		fixture_seg(f, 1, 4);
	b = fixture_seg(f, 2, 4);	/* a little behind the far one, but elsewhere */
	sb = seg_of(f, b);
	want[0] = (struct chunk_want){.seg = sb, .sc = &sb->chunk[1]};
	want[1] = (struct chunk_want){.seg = sa, .sc = &sa->chunk[4]};
	want[2] = (struct chunk_want){.seg = sf, .sc = &sf->chunk[0]};
	want[3] = (struct chunk_want){.seg = sa, .sc = &sa->chunk[0]};
	want[4] = (struct chunk_want){.seg = sa, .sc = &sa->chunk[4]};
	chunk_willneed(f->store, want, 5);
	packs_willneed(f->store->packs, 2, 0, 1);
	fault_reset();
	is_int(chunk_get_all(f->store, want, 5, &bad, &err), 0, "get five");
	reads = fault_count(FAULT_PREAD);
	is_int(reads, 3, "in three reads: neighbours, a far one, another pack");
	ok(want[1].chunk == want[4].chunk, "one that was asked for twice is one");
	for (int i = 0; i < 5; i++)
		for (unsigned j = 0; j < 4; j++)
			good += page_is(chunk_page(want[i].chunk, j),
					want[i].seg->first + want[i].sc->first + j);
	is_int(good, 20, "each is where it was asked for");
	for (int i = 0; i < 5; i++)
		chunk_put(f->store, want[i].entry);
	is_int(chunk_get_all(f->store, want, 0, &bad, &err), 0, "none is fine");
	is_int(bad, 99, "and nothing was bad");
	seg_unref(sa);
	seg_unref(sb);
	seg_unref(sf);
}

static int get_all(struct fixture *f, struct seg *seg, size_t n, size_t *bad)
{
	struct chunk_want want[CHUNK_WANTS_MAX];
	int rc;

	for (size_t i = 0; i < n; i++)
		want[i] = (struct chunk_want){.seg = seg, .sc = &seg->chunk[i]};
	rc = chunk_get_all(f->store, want, n, bad, &err);
	for (size_t i = 0; rc == 0 && i < n; i++)
		chunk_put(f->store, want[i].entry);
	return rc;
}

static void empty_cache(struct fixture *f)
{
	cache_free(f->store->chunks);
	if (cache_new(&chunk_cache_ops, f->store, 1 << 20, &f->store->chunks) < 0)
		bail("cache_new");
}

/* Of `seg`, since empty_cache(): what is held is not forgotten by dropping it. */
static bool nothing_held(struct fixture *f, const struct seg *seg)
{
	struct cache_stats stats;

	for (uint32_t i = 0; i < seg->nchunks; i++)
		cache_drop(f->store->chunks, seg->first + seg->chunk[i].first);
	cache_stats(f->store->chunks, &stats);
	return stats.entries == 0;
}

static void test_damage(struct fixture *f)
{
	uint64_t first = fixture_seg(f, 4, 4), at;
	struct seg *seg = seg_of(f, first);
	size_t bad = 99;
	char where[64];

	empty_cache(f);
	(void)snprintf(where, sizeof(where), "chunk " PADDR_FMT " in pack %08x",
		       PADDR_ARG(first + 8), seg->pack);
	at = seg->chunk[2].off;
	fixture_flip(f, seg->pack, at + RECORD_HEADER_LEN + 50);
	is_err(get_all(f, seg, 4, &bad), &err, -EBADMSG, "%s: checksum differs", where);
	is_int(bad, 2, "which one");
	ok(nothing_held(f, seg), "nothing is held");
	is_int(get_all(f, seg, 2, &bad), 0, "those before it are fine");
	fixture_flip(f, seg->pack, at + RECORD_HEADER_LEN + 50);
	fixture_flip(f, seg->pack, at + 16);
	is_err(get_all(f, seg, 4, &bad), &err, -EBADMSG, "%s: checksum differs", where);
	fixture_flip(f, seg->pack, at + 16);
	fixture_flip(f, seg->pack, at + 8);
	is_err(get_all(f, seg, 4, &bad), &err, -EBADMSG, "%s: its length differs", where);
	fixture_flip(f, seg->pack, at + 8);
	fixture_flip(f, seg->pack, at);
	is_err(get_all(f, seg, 4, &bad), &err, -EBADMSG,
	       "%s: there is no record where it should be", where);
	fixture_flip(f, seg->pack, at);
	is_int(get_all(f, seg, 4, &bad), 0, "mended, all are read");
	seg_unref(seg);
}

/* A map that is wrong must not be answered with another chunk's bytes. */
static void test_misplaced(struct fixture *f)
{
	uint64_t first = fixture_seg(f, 2, 4);
	struct seg *seg = seg_of(f, first);
	struct seg_chunk wrong = seg->chunk[0];
	uint8_t record[RECORD_HEADER_LEN + 4 * PAGE_SIZE], out[4 * PAGE_SIZE];
	size_t len = RECORD_HEADER_LEN + seg->chunk[1].len;
	uint32_t seed = packs_seed(f->store->packs);

	fixture_must(packs_read(f->store->packs, seg->pack, seg->chunk[1].off, record, len, &err),
		     &err, "read");
	is_int(chunk_decode(seed, first + 4, &seg->chunk[1], record, len, out, &err), 0,
	       "its own record");
	ok(page_is(out + PAGE_SIZE, first + 5), "its pages");
	wrong.len = seg->chunk[1].len;
	is_err(chunk_decode(seed, first, &wrong, record, len, out, &err), &err, -EBADMSG,
	       "another record is in its place");
	wrong = seg->chunk[1];
	wrong.slots = 0x7;
	is_err(chunk_decode(seed, first + 4, &wrong, record, len, out, &err), &err, -EBADMSG,
	       "another record is in its place");
	is_err(chunk_decode(seed, first + 4, &seg->chunk[1], record, 20, out, &err), &err,
	       -EBADMSG, "there is no record where it should be");
	is_err(chunk_decode(seed ^ 1, first + 4, &seg->chunk[1], record, len, out, &err), &err,
	       -EBADMSG, "checksum differs");
	seg_unref(seg);
}

static void test_codecs(void)
{
	uint8_t bytes[RECORD_HEADER_LEN + 10] = {0}, out[PAGE_SIZE];
	struct record r = {.type = RECORD_CHUNK, .slots = 1, .len = 10, .id = 77,
			   .codec = CODEC_ZSTD};
	struct seg_chunk sc = {.slots = 1, .span = 1, .len = 10};

	record_encode(5, &r, bytes + RECORD_HEADER_LEN, bytes);
	is_err(chunk_decode(5, 77, &sc, bytes, sizeof(bytes), out, &err), &err, -EBADMSG,
	       "it does not decompress");
	r.codec = 9;
	record_encode(5, &r, bytes + RECORD_HEADER_LEN, bytes);
	is_err(chunk_decode(5, 77, &sc, bytes, sizeof(bytes), out, &err), &err, -EPROTONOSUPPORT,
	       "codec 9 is not known");
}

/* A bad sector in a merged read hurts only the chunk that it is in. */
static void test_bad_sector(struct fixture *f)
{
	uint64_t first = fixture_seg(f, 6, 4);
	struct seg *seg = seg_of(f, first);
	size_t bad = 99;

	fixture_must(packs_read(f->store->packs, seg->pack, 0, &bad, 1, &err), &err, "open");
	empty_cache(f);
	fault_arm(FAULT_PREAD, 1, EIO);
	is_int(get_all(f, seg, 6, &bad), 0, "the merged read fails, each alone does not");
	ok(nothing_held(f, seg), "nothing is held");
	fault_arm_from(FAULT_PREAD, 1, EIO);
	is_err(get_all(f, seg, 6, &bad), &err, -EIO,
	       "chunk " PADDR_FMT " in pack %08x: cannot read pack %08x at byte %llu: "
	       "Input/output error", PADDR_ARG(first), seg->pack, seg->pack,
	       (unsigned long long)seg->off);
	fault_disarm();
	is_int(bad, 0, "the first");
	seg_unref(seg);
}

static void test_gone(struct fixture *f)
{
	uint64_t first;
	struct seg *seg;
	size_t bad = 99;

	fixture_new_pack(f, 3);
	first = fixture_seg(f, 2, 4);
	seg = seg_of(f, first);
	packs_unlink(f->store->packs, 3, NULL);
	is_err(get_all(f, seg, 2, &bad), &err, -ENOENT,
	       "chunk 3:0 in pack 00000003: cannot open pack 00000003: "
	       "No such file or directory");
	is_int(bad, 0, "the first");
	seg_unref(seg);
}

static void test_no_memory(struct fixture *f)
{
	uint64_t first;
	struct seg *seg;
	size_t bad;
	int rc = -ENOMEM;

	fixture_new_pack(f, 4);
	first = fixture_seg(f, 3, 4);
	seg = seg_of(f, first);
	empty_cache(f);
	for (unsigned long i = 1; rc == -ENOMEM; i++) {
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		rc = get_all(f, seg, 3, &bad);
		if (fault_struck() && rc == 0)
			tap_diag("allocation %lu was made up for", i);
	}
	fault_disarm();
	is_int(rc, 0, "whichever allocation fails, a retry works");
	ok(nothing_held(f, seg), "nothing is held");
	seg_unref(seg);
}

struct crowd {
	struct fixture *f;
	struct seg *seg;
	int good;
};

static void *read_chunks(void *arg)
{
	struct crowd *c = arg;
	int good = 0;

	for (int round = 0; round < 50; round++) {
		struct chunk_want want[4];
		size_t bad;

		for (int i = 0; i < 4; i++)
			want[i] = (struct chunk_want){.seg = c->seg, .sc = &c->seg->chunk[i]};
		if (chunk_get_all(c->f->store, want, 4, &bad, NULL) < 0)
			continue;
		for (unsigned i = 0; i < 4; i++) {
			good += page_is(chunk_page(want[i].chunk, i), c->seg->first + i * 5);
			chunk_put(c->f->store, want[i].entry);
		}
	}
	__atomic_add_fetch(&c->good, good, __ATOMIC_RELAXED);
	return NULL;
}

static void test_threads(struct fixture *f)
{
	uint64_t first = fixture_seg(f, 4, 4);
	struct crowd c = {.f = f, .seg = seg_of(f, first)};
	struct cache_stats before, after;
	pthread_t t[4];

	cache_stats(f->store->chunks, &before);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, read_chunks, &c))
			bail("cannot make a thread");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	cache_stats(f->store->chunks, &after);
	is_int(c.good, 4 * 50 * 4, "four threads read the same chunks");
	is_int(after.misses - before.misses, 4, "each was decompressed once");
	seg_unref(c.seg);
}

int main(void)
{
	struct fixture f;

	fixture_open(&f, "store", NULL);
	test_page();
	test_get(&f);
	test_partial(&f);
	test_get_all(&f);
	test_damage(&f);
	test_misplaced(&f);
	test_codecs();
	test_bad_sector(&f);
	test_gone(&f);
	test_no_memory(&f);
	test_threads(&f);
	fixture_close(&f);
	return tap_done();
}
