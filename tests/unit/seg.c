/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/seg.h"
#include "tests/fault.h"
#include "tests/unit/fixture.h"

#define FIRST (UINT64_C(7) << 32 | 100)

static struct err err;

static int decode(const void *table, size_t len, struct seg **ret)
{
	struct rd rd;
	int rc;

	rd_init(&rd, table, len);
	rc = seg_decode(FIRST, 9, 1000, &rd, ret);
	if (rc == 0 && !rd_done(&rd))
		bail("a table that did not end");
	return rc;
}

/* Four pages; two of four at 1 and 3; all gone; one.  Written down by hand. */
static const uint8_t table[] = {
	4,
	4, 0x80, 0x02,			/* 256 bytes */
	0x20 | 4, 0x0a, 0x00, 0x64,	/* 100 bytes */
	0x20 | 16, 0x00, 0x00,
	1, 0x01,
};

static void test_decode(void)
{
	struct seg *seg;
	struct seg_chunk *c;

	is_int(decode(table, sizeof(table), &seg), 0, "decode");
	c = seg->chunk;
	ok(seg->first == FIRST && seg->pack == 9 && seg->off == 1000, "where it is");
	is_int(seg->nchunks, 4, "chunks");
	is_int(seg->span, 4 + 4 + 16 + 1, "span");
	is_int(seg->npages, 4 + 2 + 0 + 1, "pages that are there");
	ok(c[0].first == 0 && c[0].off == 1000 && c[0].len == 256 && c[0].slots == 0xf &&
	   c[0].rank == 0, "the first chunk");
	ok(c[1].first == 4 && c[1].off == 1000 + 24 + 256 && c[1].len == 100 &&
	   c[1].slots == 0xa && c[1].rank == 4 && c[1].span == 4, "the second");
	ok(c[2].first == 8 && c[2].len == 0 && c[2].slots == 0 && c[2].rank == 6, "the third");
	ok(c[3].first == 24 && c[3].off == 1000 + 24 + 256 + 24 + 100 && c[3].rank == 6,
	   "the fourth, right behind the second");
	seg->dig_len = 77;
	is_int(seg_bytes(seg), 24 + 256 + 24 + 100 + 24 + 1 + 24 + 77, "bytes in the pack");
	seg_unref(seg_ref(seg));
	seg_unref(seg);
	seg_unref(NULL);
}

static void test_find(void)
{
	struct seg *seg;

	decode(table, sizeof(table), &seg);
	ok(seg_find(seg, FIRST - 1) == NULL, "before it");
	ok(seg_find(seg, FIRST) == &seg->chunk[0], "its first page");
	ok(seg_find(seg, FIRST + 3) == &seg->chunk[0], "the last of the first chunk");
	ok(seg_find(seg, FIRST + 4) == NULL, "a page that is gone");
	ok(seg_find(seg, FIRST + 5) == &seg->chunk[1], "one that is there");
	ok(seg_find(seg, FIRST + 10) == NULL, "one of a chunk that is gone");
	ok(seg_find(seg, FIRST + 24) == &seg->chunk[3], "the last page");
	ok(seg_find(seg, FIRST + 25) == NULL, "behind it");
	is_int(seg_rank(seg, FIRST + 3), 3, "rank");
	is_int(seg_rank(seg, FIRST + 7), 5, "rank behind gaps");
	is_int(seg_rank(seg, FIRST + 24), 6, "rank of the last");
	is_int(seg_rank(seg, FIRST + 6), -ENOENT, "a page that is gone has none");
	seg_unref(seg);
}

static void test_encode(void)
{
	struct buf out = {0};
	struct seg *seg;

	decode(table, sizeof(table), &seg);
	seg_encode_table(seg, &out);
	is_int(out.len, sizeof(table), "length");
	is_mem(out.data, table, sizeof(table), "the same table");
	buf_fini(&out);
	seg_unref(seg);
}

static int refused(const void *bytes, size_t len)
{
	struct seg *seg = (struct seg *)&err;
	int rc = decode(bytes, len, &seg);

	return seg != (struct seg *)&err ? -EUCLEAN : rc;
}

static int refused_at(uint64_t first, uint32_t pack, uint64_t off)
{
	struct seg *seg = NULL;
	struct rd rd;
	int rc;

	rd_init(&rd, table, sizeof(table));
	rc = seg_decode(first, pack, off, &rd, &seg);
	seg_unref(seg);
	return rc;
}

static void test_malformed(void)
{
	is_int(refused("", 0), -EBADMSG, "no bytes");
	is_int(refused("\x00", 1), -EBADMSG, "no chunks");
	is_int(refused("\x01", 1), -EBADMSG, "a chunk is missing");
	is_int(refused("\x01\x00\x01", 3), -EBADMSG, "a chunk of no pages");
	is_int(refused("\x01\x11\x01", 3), -EBADMSG, "a chunk of 17");
	is_int(refused("\x01\x44\x01", 3), -EBADMSG, "an unknown flag");
	is_int(refused("\x01\x04\x00", 3), -EBADMSG, "pages without bytes");
	is_int(refused("\x01\x01\x81\x20", 4), -EBADMSG, "more bytes than the page has");
	is_int(refused("\x01\x04", 2), -EBADMSG, "no length");
	is_int(refused("\x01\x24\x0f\x00\x01", 5), -EBADMSG, "a bitmap of all");
	is_int(refused("\x01\x24\x10\x00\x01", 5), -EBADMSG, "a bitmap of more");
	is_int(refused("\x01\x24\x01", 3), -EBADMSG, "half a bitmap");
	is_int(refused("\x81\x80\x01", 3), -EBADMSG, "more chunks than pages");
	is_int(refused_at(100, 1, 1000), -EBADMSG, "an address in pack 0");
	is_int(refused_at(FIRST, 0, 1000), -EBADMSG, "a place in pack 0");
	is_int(refused_at(FIRST, 1, 63), -EBADMSG, "a place in the pack's header");
	is_int(refused_at(FIRST, 1, UINT32_MAX - 100), -EBADMSG, "chunks behind 4 GiB");
	is_int(refused_at(FIRST, 1, UINT64_MAX), -EBADMSG, "a place that wraps");
	is_int(refused_at((UINT64_C(1) << 32) + 0xfffffff0, 1, 64), -EBADMSG,
	       "addresses that run into the next pack");
}

static void test_span_limit(void)
{
	struct buf b = {0};
	struct seg *seg;

	buf_varint(&b, 1025);
	for (int i = 0; i < 1025; i++) {
		buf_u8(&b, i < 1024 ? 16 : 1);
		buf_varint(&b, 1);
	}
	is_int(refused(b.data, b.len), -EBADMSG, "more than 16 Ki pages");
	buf_reset(&b);
	buf_varint(&b, 1024);
	for (int i = 0; i < 1024; i++) {
		buf_u8(&b, 16);
		buf_varint(&b, 1);
	}
	is_int(decode(b.data, b.len, &seg), 0, "16 Ki are fine");
	seg_unref(seg);
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(refused(b.data, b.len), -ENOMEM, "no memory");
	fault_disarm();
	buf_fini(&b);
}

static void test_get(struct fixture *f)
{
	uint64_t a = fixture_seg(f, 3, 4), b = fixture_seg(f, 2, 16);
	struct seg *seg, *same;

	is_int(seg_get(f->store, a + 11, &seg, &err), 0, "the last page of a segment");
	ok(seg->first == a && seg->span == 12 && seg->npages == 12, "is in it");
	is_int(seg_get(f->store, a, &same, &err), 0, "another page");
	ok(same == seg, "shares it");
	seg_unref(same);
	is_int(seg_get(f->store, b, &same, &err), 0, "the next");
	ok(same->first == b, "is another");
	seg_unref(same);
	is_err(seg_get(f->store, b + 32, &same, &err), &err, -ENOENT,
	       "no segment holds page 1:44");
	is_err(seg_get(f->store, 5, &same, &err), &err, -ENOENT, "no segment holds page 0:5");

	seg_forget(f->store, seg);
	is_int(seg_get(f->store, a, &same, &err), 0, "forgotten, it is found again");
	ok(same != seg, "as a new one");
	seg_forget(f->store, seg);
	seg_unref(seg);
	is_int(seg_get(f->store, a, &seg, &err), 0, "what was forgotten is not the new one");
	ok(same == seg, "which stays");
	seg_unref(seg);
	seg_unref(same);
	seg_cache_clear(f->store->segs);
	is_int(seg_get(f->store, a, &seg, &err), 0, "after the cache was cleared");
	seg_unref(seg);
}

static void test_digests(struct fixture *f)
{
	static const uint8_t spans[] = {4, 2, 16};
	static const uint16_t slots[] = {0xf, 0x0, 0x8001};
	uint64_t first = f->next;
	struct digest *list = NULL, d;
	struct seg *seg;

	fixture_put_seg(f, first, spans, slots, 3);
	f->next += 22;
	if (seg_get(f->store, first, &seg, &err) < 0)
		bail("%s", err.text);
	is_int(seg_digests(f->store, seg, &list, &err), 0, "digests");
	for (uint64_t p = first; p < first + 4; p++) {
		d = fixture_digest(p);
		ok(digest_equal(&list[seg_rank(seg, p)], &d), "page " PADDR_FMT, PADDR_ARG(p));
	}
	d = fixture_digest(first + 21);
	ok(digest_equal(&list[seg_rank(seg, first + 21)], &d), "and the last");
	free(list);
	list = NULL;

	fault_arm(FAULT_MALLOC, 2, ENOMEM);
	is_int(seg_digests(f->store, seg, &list, &err), -ENOMEM, "no memory");
	fault_disarm();
	seg->chunk[0].slots = 0x7;
	is_err(seg_digests(f->store, seg, &list, &err), &err, -EBADMSG,
	       "the digests of segment " PADDR_FMT " in pack 00000001 are not those of its pages",
	       PADDR_ARG(first));
	seg->chunk[0].slots = 0xf;
	seg->chunk[0].len ^= 1;
	is_int(seg_digests(f->store, seg, &list, &err), -EBADMSG, "a table of the same length");
	seg->chunk[0].len ^= 1;
	seg->off ^= 1;
	is_int(seg_digests(f->store, seg, &list, &err), -EBADMSG, "or of another place");
	seg->off ^= 1;
	fixture_flip(f, 1, seg->dig_off + RECORD_HEADER_LEN + 40);
	is_err(seg_digests(f->store, seg, &list, &err), &err, -EBADMSG,
	       "the digests of segment " PADDR_FMT ": record at byte %llu of pack 00000001: "
	       "checksum differs", PADDR_ARG(first), (unsigned long long)seg->dig_off);
	ok(!list, "the output is untouched");
	fixture_flip(f, 1, seg->dig_off + RECORD_HEADER_LEN + 40);
	seg_unref(seg);
}

static void test_damaged_row(struct fixture *f)
{
	struct index_seg row = {.first = f->next, .span = 3, .pack = 1, .off = 64,
				.table = "\x01\x02\x01", .table_len = 3};
	struct seg *seg;

	fixture_must(index_begin(f->store->index, &err), &err, "begin");
	fixture_must(index_seg_put(f->store->index, &row, &err), &err, "put");
	fixture_must(index_commit(f->store->index, &err), &err, "commit");
	is_err(seg_get(f->store, f->next, &seg, &err), &err, -EBADMSG,
	       "the chunk table of segment " PADDR_FMT " is damaged", PADDR_ARG(f->next));
}

/* In a cache of two. */
static bool keeps_the_last_used(struct fixture *f, const uint64_t first[3])
{
	static const int order[] = {2, 0, 2, 1, 2};
	struct seg *got[5];
	bool same;

	for (int i = 0; i < 5; i++)
		fixture_must(seg_get(f->store, first[order[i]], &got[i], &err), &err, "seg_get");
	same = got[2] == got[0] && got[4] == got[0];
	for (int i = 0; i < 5; i++)
		seg_unref(got[i]);
	return same;
}

/* Many segments through a cache of two. */
static void test_bounded(struct fixture *f)
{
	struct seg_cache *whole = f->store->segs, *small;
	struct seg *held, *seg;
	uint64_t first[20];
	int good = 0;

	fixture_new_pack(f, 2);
	for (int i = 0; i < 20; i++)
		first[i] = fixture_seg(f, 1, 2);
	fixture_must(seg_cache_new(2, &small), NULL, "seg_cache_new");
	f->store->segs = small;
	fixture_must(seg_get(f->store, first[7], &held, &err), &err, "seg_get");
	for (int i = 0; i < 200; i++) {
		uint64_t paddr = first[i * 7 % 20] + i % 2;

		if (seg_get(f->store, paddr, &seg, &err) == 0) {
			good += seg->first == first[i * 7 % 20];
			seg_unref(seg);
		}
	}
	is_int(good, 200, "a full cache still gives the right segments");
	is_int(keeps_the_last_used(f, first), 1, "and keeps those that were used last");
	is_int(seg_find(held, first[7] + 1)->span, 2, "what is held lives on");
	seg_unref(held);
	f->store->segs = whole;
	seg_cache_free(small);
	seg_cache_free(NULL);
}

int main(void)
{
	struct fixture f;

	test_decode();
	test_find();
	test_encode();
	test_malformed();
	test_span_limit();
	fixture_open(&f, "store", NULL);
	test_get(&f);
	test_digests(&f);
	test_damaged_row(&f);
	test_bounded(&f);
	fixture_close(&f);
	return tap_done();
}
