/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/frame.h"
#include "store/base/cache.h"
#include "tests/fault.h"
#include "tests/unit/fixture.h"

static struct err err;

/* Written down by hand, so that the format stands still. */
static void test_golden(void)
{
	static const uint8_t map[] = {1, 0xfc, 0x0f};	/* 512 zeros */
	uint8_t want[1 + DIGEST_LEN + 1 + sizeof(map)] = {7};
	struct digest digest = {{1, 2, 3}};
	struct buf out = {0};
	struct frame f;
	struct rd rd;

	memcpy(want + 1, digest.b, DIGEST_LEN);
	want[33] = sizeof(map);
	memcpy(want + 34, map, sizeof(map));
	frame_encode(7, &digest, map, sizeof(map), &out);
	is_int(out.len, sizeof(want), "length");
	is_mem(out.data, want, sizeof(want), "bytes");
	rd_init(&rd, out.data, out.len);
	is_int(frame_decode(&rd, &f), 0, "decode");
	ok(f.fid == 7 && digest_equal(&f.digest, &digest) && rd_done(&rd), "all of it");
	ok(f.map.n == 1 && f.map.count == FRAME_PAGES, "a map of zeros");
	frame_fini(&f);
	frame_fini(NULL);
	buf_fini(&out);
}

static int decode(uint64_t fid, const char *map, size_t len)
{
	struct digest digest = {{0}};
	struct frame f = {.fid = 99};
	struct buf out = {0};
	struct rd rd;
	int rc;

	frame_encode(fid, &digest, map, len, &out);
	rd_init(&rd, out.data, out.len);
	rc = frame_decode(&rd, &f);
	if (rc < 0 && f.fid != 99)
		rc = -EUCLEAN;
	frame_fini(&f);
	buf_fini(&out);
	return rc;
}

static void test_malformed(void)
{
	struct frame f;
	struct rd rd;

	is_int(decode(1, "\x01\xfc\x0f", 3), 0, "512 zeros");
	is_int(decode(0, "\x01\xfc\x0f", 3), -EBADMSG, "frame 0 is not stored");
	is_int(decode(1, "\x01\xf8\x0f", 3), -EBADMSG, "511 pages");
	is_int(decode(1, "\x01\x80\x10", 3), -EBADMSG, "513 pages");
	is_int(decode(1, "\x01\xfc\x0f\x00", 4), -EBADMSG, "something behind the map");
	is_int(decode(1, "", 0), -EBADMSG, "no map");
	is_int(decode(1, "\x01\xfc\x0f", 2), -EBADMSG, "half a map");
	rd_init(&rd, "\x01short", 6);
	is_int(frame_decode(&rd, &f), -EBADMSG, "half a digest");
}

static uint64_t make_frame(struct fixture *f)
{
	uint64_t first = fixture_seg(f, 2, 16), fid;
	struct runs map = {0};

	runs_add(&map, 0, 100);
	runs_add(&map, first, 32);
	runs_add(&map, 0, FRAME_PAGES - 132);
	fid = fixture_frame(f, &map);
	runs_fini(&map);
	return fid;
}

static void test_get(struct fixture *f)
{
	uint64_t fid = make_frame(f);
	struct cache_entry *e, *same;
	const struct frame *frame, *again;
	struct cache_stats stats;
	struct frame own;

	is_int(frame_get(f->store, fid, &e, &frame, &err), 0, "get");
	ok(frame->fid == fid && frame->map.n == 3, "its map");
	is_int(frame_get(f->store, fid, &same, &again, &err), 0, "get again");
	ok(frame == again, "the same one");
	frame_put(f->store, same);
	frame_put(f->store, e);
	frame_put(f->store, NULL);
	cache_stats(f->store->frames, &stats);
	ok(stats.cost > sizeof(*frame) + 3 * sizeof(struct run), "its memory is counted");
	is_int(frame_load(f->store, fid, &own, &err), 0, "load");
	ok(own.map.n == 3 && runs_at(&own.map, 131) == runs_at(&own.map, 100) + 31, "its map");
	frame_fini(&own);
	is_err(frame_get(f->store, fid + 1, &e, &frame, &err), &err, -ENOENT,
	       "there is no frame %llu", (unsigned long long)fid + 1);
	is_int(frame_load(f->store, fid + 1, &own, &err), -ENOENT, "nor to load");
}

static void test_damaged(struct fixture *f)
{
	struct index_frame row = {.fid = 50, .pack = 1, .runs = "\x01\xf8\x0f", .runs_len = 3};
	struct cache_entry *e;
	const struct frame *frame;
	uint64_t fid = make_frame(f);

	fixture_must(index_begin(f->store->index, &err), &err, "begin");
	fixture_must(index_frame_put(f->store->index, &row, &err), &err, "put");
	fixture_must(index_commit(f->store->index, &err), &err, "commit");
	is_err(frame_get(f->store, 50, &e, &frame, &err), &err, -EBADMSG,
	       "the map of frame 50 is damaged");
	/* Entry of the cache, frame, its runs. */
	for (unsigned long i = 1; i <= 3; i++) {
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		is_int(frame_get(f->store, fid, &e, &frame, &err), -ENOMEM, "no memory %lu", i);
		ok(fault_struck(), "for allocation %lu", i);
	}
	fault_disarm();
	is_int(frame_get(f->store, fid, &e, &frame, &err), 0, "a retry works");
	frame_put(f->store, e);
}

int main(void)
{
	struct fixture f;

	test_golden();
	test_malformed();
	fixture_open(&f, "store", NULL);
	test_get(&f);
	test_damaged(&f);
	fixture_close(&f);
	return tap_done();
}
