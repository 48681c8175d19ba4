/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/emit.h"
#include "store/append.h"
#include "store/dedup.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/seg.h"
#include "store/store.h"
#include "tests/fault.h"
#include "tests/tap.h"

static struct err err;
static struct store *store;
static struct dedup *dd;

static void must(int rc, const char *what)
{
	if (rc < 0)
		bail("%s: %s (%s)", what, err.text, strerror(-rc));
}

static struct digest digest_of(uint32_t n)
{
	struct digest d;

	digest_bytes(DIGEST_BLAKE2B_256, &n, sizeof(n), &d);
	return d;
}

/* A record of `npages` pages; what is in it does not matter here. */
static int put_chunk(struct emit *e, uint64_t id, unsigned npages)
{
	static uint8_t bytes[RECORD_HEADER_LEN + 1000];
	struct record r = {.type = RECORD_CHUNK, .slots = (uint16_t)((1u << npages) - 1),
			   .len = 1000, .id = id};
	struct emit_chunk c = {.id = id, .npages = npages, .record = bytes, .len = sizeof(bytes)};
	int rc;

	record_encode(0, &r, bytes + RECORD_HEADER_LEN, bytes);
	rc = emit_chunk(e, &c, &err);
	for (unsigned i = 0; i < npages && rc == 0; i++) {
		struct digest d = digest_of((uint32_t)id + i);

		rc = emit_digest(e, &d);
	}
	return rc;
}

/* An encoded map: eight pages from `paddr` on. */
static struct buf map_of(uint64_t paddr)
{
	struct runs runs = {0};
	struct buf map = {0};

	must(runs_add(&runs, paddr, 8), "runs_add");
	must(runs_add(&runs, 0, FRAME_PAGES - 8), "runs_add");
	runs_encode(&runs, &map);
	runs_fini(&runs);
	return map;
}

static int put_frame(struct emit *e, uint64_t fid, uint64_t paddr)
{
	struct digest d = digest_of((uint32_t)fid + 1000000);
	struct buf map = map_of(paddr);
	int rc = emit_frame(e, fid, &d, &map);

	buf_fini(&map);
	return rc;
}

static void test_dry(void)
{
	const uint64_t first = UINT64_C(0xffffffff) << 32;
	struct emit e;
	size_t hooks = 0;

	emit_init(&e, NULL, dd);
	is_int(emit_flush(&e, &err), 0, "nothing can be flushed");
	is_int(e.bytes, 0, "and takes nothing");
	for (unsigned i = 0; i < 50; i++)
		must(put_chunk(&e, first + 4 * i, 4), "put_chunk");
	for (uint32_t i = 0; i < 200; i++) {
		struct digest d = digest_of(i);

		hooks += digest_is_hook(&d);
	}
	is_int(e.bytes, 50 * 1024, "records are counted");
	is_int(e.hooks.n, hooks, "and hooks kept");
	must(put_frame(&e, 5, first), "put_frame");
	is_int(emit_flush(&e, &err), 0, "the segment ends");
	is_int(e.segs.n, 1, "it is one");
	is_int(e.segs.v[0].span, 200, "of all its pages");
	ok(e.bytes > 50 * 1024 + 200 * DIGEST_LEN, "with its list and the map");
	is_int(put_chunk(&e, first + 200, 1), 0, "another begins");
	is_int(emit_roll(&e, &err), 0, "and ends where the pack would");
	is_int(e.segs.n, 2, "these are two");
	emit_fini(&e);
}

static void check_seg(uint64_t first, uint32_t npages)
{
	struct digest *list = NULL;
	struct seg *seg = NULL;
	unsigned right = 0;

	must(seg_get(store, first, &seg, &err), "seg_get");
	is_int(seg->first, first, "a segment begins where it was put");
	is_int(seg->npages, npages, "and has its pages");
	must(seg_digests(store, seg, &list, &err), "seg_digests");
	for (uint32_t i = 0; i < npages; i++) {
		struct digest d = digest_of((uint32_t)first + i);

		right += digest_equal(&list[i], &d);
	}
	is_int(right, npages, "and their digests");
	free(list);
	seg_unref(seg);
}

static int get_pack(void *ctx, const struct index_frame *row)
{
	*(uint32_t *)ctx = row->pack;
	return 0;
}

/* The pack whose record has the frame's map. */
static uint32_t pack_of(uint64_t fid)
{
	uint32_t pack = 0;

	must(index_frame_get(store->index, fid, get_pack, &pack, &err), "index_frame_get");
	return pack;
}

static void publish(struct emit *e, struct append *a)
{
	must(append_sync(a, &err), "append_sync");
	must(index_begin(store->index, &err), "index_begin");
	is_int(emit_publish(e, store->index, &err), 0, "the rows are put");
	must(append_publish(a, &err), "append_publish");
	must(index_commit(store->index, &err), "index_commit");
	append_end(a);
}

static void test_real(void)
{
	struct cache_entry *entry = NULL;
	const struct frame *frame = NULL;
	uint64_t first, second, fid, hook = 0, got = 0;
	struct append a;
	struct emit e;

	must(store_lock(store, "test", 0, &err), "store_lock");
	must(append_begin(store, 0, &a, &err), "append_begin");
	first = (uint64_t)a.w.number << 32 | a.next_ord;
	second = (uint64_t)a.next_pack << 32;
	fid = a.next_fid;
	emit_init(&e, &a, dd);
	for (unsigned i = 0; i < 20; i++)
		must(put_chunk(&e, first + 4 * i, 4), "put_chunk");
	for (unsigned i = 0; i < 600; i++)
		must(put_frame(&e, fid + i, first), "put_frame");
	is_int(emit_roll(&e, &err), 0, "the pack is rolled over");
	is_int(a.w.number, second >> 32, "another one is begun");
	must(put_chunk(&e, second, 4), "put_chunk");
	must(put_frame(&e, fid + 600, second), "put_frame");
	is_int(emit_flush(&e, &err), 0, "and the last segment ends");
	is_int(e.bytes, a.bytes, "what was appended is counted");
	publish(&e, &a);
	check_seg(first, 80);
	check_seg(second, 4);
	for (uint64_t i = 0; i <= 600; i += 300) {
		must(frame_get(store, fid + i, &entry, &frame, &err), "frame_get");
		is_int(frame->map.v[0].addr, i < 600 ? first : second, "a frame's map");
		frame_put(store, entry);
		is_int(pack_of(fid + i), (i < 600 ? first : second) >> 32, "and its pack");
	}
	for (uint32_t i = 0; i < 80 && !hook; i++) {
		struct digest d = digest_of((uint32_t)first + i);

		hook = digest_is_hook(&d) ? digest_key(&d) : 0;
	}
	ok(hook && index_hook_find(store->index, hook, &got) == 0 && got == first,
	   "a hook leads to its segment");
	emit_fini(&e);
	store_unlock(store);
}

static void test_no_memory(void)
{
	const uint64_t first = UINT64_C(0xffffffff) << 32;
	struct digest d = digest_of(7);
	struct buf map = map_of(first);
	bool done = false;
	unsigned n;

	for (n = 1; n < 100 && !done; n++) {
		struct emit e;
		int rc;

		emit_init(&e, NULL, dd);
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		rc = put_chunk(&e, first, 4);
		if (rc == 0)
			rc = emit_frame(&e, 1, &d, &map);
		if (rc == 0)
			rc = emit_flush(&e, &err);
		done = !fault_struck();
		fault_disarm();
		if (rc == 0 && !done)
			bail("allocation %u failed and nobody said so", n);
		emit_fini(&e);
	}
	buf_fini(&map);
	ok(done && n > 5, "each of %u allocations may fail", n - 2);
}

int main(void)
{
	struct store_params params;

	must(digest_init(), "digest_init");
	store_params_default(&params);
	must(store_init(tap_path("store"), &params, &err), "store_init");
	must(store_open(tap_path("store"), NULL, &store, &err), "store_open");
	must(dedup_new(store, 0, &dd), "dedup_new");
	test_dry();
	test_real();
	test_no_memory();
	dedup_free(dd);
	store_close(store);
	return tap_done();
}
