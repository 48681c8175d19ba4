/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/dedup.h"
#include "tests/fault.h"
#include "tests/unit/fixture.h"

#include <pthread.h>

#define FIRST (UINT64_C(1) << 32)

static struct err err;
static struct fixture f;

static struct dedup *new_dedup(size_t budget)
{
	struct dedup *dd;

	if (dedup_new(f.store, budget, &dd) < 0)
		bail("dedup_new");
	return dd;
}

/* What publishing the segment would do. */
static void publish_hooks(uint64_t first, uint32_t n)
{
	fixture_must(index_begin(f.store->index, &err), &err, "index_begin");
	for (uint32_t i = 0; i < n; i++) {
		struct digest d = fixture_digest(first + i);

		if (digest_is_hook(&d))
			fixture_must(index_hook_put(f.store->index, digest_key(&d), first, &err),
				     &err, "index_hook_put");
	}
	fixture_must(index_commit(f.store->index, &err), &err, "index_commit");
}

static uint64_t segment(uint32_t nchunks, uint8_t span)
{
	uint64_t first = fixture_seg(&f, nchunks, span);

	publish_hooks(first, nchunks * span);
	return first;
}

/* The first page from `first` on that is, or is not, a hook. */
static uint64_t next_page(uint64_t first, bool hook)
{
	for (;; first++) {
		struct digest d = fixture_digest(first);

		if (digest_is_hook(&d) == hook)
			return first;
	}
}

static uint64_t find_page(struct dedup *dd, uint64_t paddr)
{
	struct digest d = fixture_digest(paddr);
	uint64_t ret = 1;

	dedup_find(dd, &d, 1, &ret);
	return ret;
}

static void test_hooks(uint64_t first, uint32_t n)
{
	struct dedup *dd = new_dedup(DEDUP_BUDGET);
	uint64_t hook = next_page(first, true), plain = next_page(first, false);
	static struct digest all[512];
	static uint64_t found[512];
	unsigned right = 0;

	ok(hook < first + n, "the segment has a hook");
	is_int(find_page(dd, plain), 0, "a page is unknown while no hook led to its segment");
	is_int(find_page(dd, hook), hook, "a hook is found");
	is_int(find_page(dd, plain), plain, "and so is its neighbour then");
	dedup_free(dd);

	dd = new_dedup(DEDUP_BUDGET);
	for (uint32_t i = 0; i < n; i++)
		all[i] = fixture_digest(first + i);
	all[7] = fixture_digest(UINT64_C(77) << 32);
	dedup_find(dd, all, n, found);
	for (uint32_t i = 0; i < n; i++)
		right += found[i] == (i == 7 ? 0 : first + i);
	is_int(right, n, "in a batch the hooks serve also those before them");
	dedup_free(dd);
	dedup_free(NULL);
}

/* Chunks of which some pages, or all, are gone. */
static const uint8_t spans[] = {16, 16, 4, 16, 16};
static const uint16_t slots[] = {0xffff, 0, 0x0a, 0xf00f, 0x8001};

static uint64_t partial_segment(void)
{
	uint64_t first = f.next;

	fixture_put_seg(&f, first, spans, slots, 5);
	f.next += 68;
	return first;
}

static bool is_there(unsigned i)
{
	static const unsigned firsts[] = {0, 16, 32, 36, 52, 68};
	unsigned c = 0;

	while (i >= firsts[c + 1])
		c++;
	return slots[c] >> (i - firsts[c]) & 1;
}

/* A page that is nowhere, and is the hook of the segment at `first`. */
static uint64_t put_hook(uint64_t first)
{
	uint64_t page = next_page(UINT64_C(50) << 32 | (uint32_t)first, true);
	struct digest d = fixture_digest(page);

	fixture_must(index_begin(f.store->index, &err), &err, "index_begin");
	fixture_must(index_hook_put(f.store->index, digest_key(&d), first, &err), &err, "hook");
	fixture_must(index_commit(f.store->index, &err), &err, "index_commit");
	return page;
}

static void put_pack(const struct index_pack *row)
{
	fixture_must(index_begin(f.store->index, &err), &err, "index_begin");
	fixture_must(index_pack_put(f.store->index, row, &err), &err, "index_pack_put");
	fixture_must(index_commit(f.store->index, &err), &err, "index_commit");
}

static void test_partial(uint64_t first)
{
	struct dedup *dd = new_dedup(DEDUP_BUDGET);
	unsigned right = 0;

	is_int(find_page(dd, put_hook(first)), 0, "a hook may lead to a segment without its page");
	for (unsigned i = 0; i < 68; i++)
		right += find_page(dd, first + i) == (is_there(i) ? first + i : 0);
	is_int(right, 68, "pages that are there have their addresses, those gone are unknown");
	dedup_free(dd);
}

static void test_dead_ends(void)
{
	struct dedup *dd = new_dedup(DEDUP_BUDGET);
	uint64_t hook = put_hook(UINT64_C(51) << 32);

	is_int(find_page(dd, hook), 0, "a hook of a segment that is gone leads nowhere");
	is_int(find_page(dd, hook), 0, "however often");
	dedup_free(dd);
}

/* Its lists could still be read, but where are the pages? */
static void test_lost_pack(uint64_t first)
{
	struct runs map = {0};
	struct digest got[FRAME_PAGES];
	struct index_pack row, longer;
	uint64_t page = next_page(first, true);
	struct dedup *dd = new_dedup(DEDUP_BUDGET);

	fixture_must(runs_add(&map, 0, 12), NULL, "runs_add");
	fixture_must(runs_add(&map, page, 1), NULL, "runs_add");
	fixture_must(runs_add(&map, first, 4), NULL, "runs_add");
	fixture_must(runs_add(&map, 0, FRAME_PAGES - 17), NULL, "runs_add");
	ok(dedup_has(dd, &map), "a frame whose pages are there");
	dedup_free(dd);
	fixture_must(index_pack_get(f.store->index, 1, &row, &err), &err, "index_pack_get");
	longer = row;
	longer.end++;
	put_pack(&longer);
	dd = new_dedup(DEDUP_BUDGET);
	ok(!dedup_has(dd, &map), "when their pack has lost its end, they are not");
	is_int(find_page(dd, page), 0, "nor is any of them known");
	is_err(dedup_parent_digests(dd, &map, got, &err), &err, -EBADMSG,
	       "pack 00000001 ends before byte %llu", (unsigned long long)longer.end);
	put_pack(&row);
	ok(dedup_has(dd, &map), "with the pack back they are");
	is_int(find_page(dd, page), page, "and are known again");
	runs_reset(&map);
	fixture_must(runs_add(&map, UINT64_C(77) << 32, FRAME_PAGES), NULL, "runs_add");
	ok(!dedup_has(dd, &map), "a frame of pages that are in no segment is not there");
	dedup_free(dd);
	runs_fini(&map);
}

/* ---- the commit's own pages ---- */

static struct digest own_digest(uint64_t n)
{
	struct digest d;
	uint64_t x = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned i = 0; i < DIGEST_LEN; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(d.b + i, &x, 8);
	}
	return d;
}

static uint64_t own_paddr(uint64_t n)
{
	return (UINT64_C(9) << 32) + n;
}

static uint64_t next_own(uint64_t n, bool hook)
{
	for (;; n++) {
		struct digest d = own_digest(n);

		if (digest_is_hook(&d) == hook)
			return n;
	}
}

static uint64_t find_own(struct dedup *dd, uint64_t n)
{
	struct digest d = own_digest(n);
	uint64_t ret = 1;

	dedup_find(dd, &d, 1, &ret);
	return ret;
}

/* Pages [from, from + n) as one segment. */
static void add_own(struct dedup *dd, uint64_t from, uint64_t n)
{
	for (uint64_t i = from; i < from + n; i++) {
		struct digest d = own_digest(i);

		if (dedup_add(dd, &d, own_paddr(i)) < 0)
			bail("dedup_add");
	}
	dedup_seal(dd);
}

/* The list of such a segment, in pack 9; where. */
static uint64_t write_own(uint64_t from, uint32_t n)
{
	struct record r = {.type = RECORD_DIGESTS, .id = own_paddr(from)};
	struct buf list = {0};
	uint64_t off;

	buf_u64(&list, 1234);
	buf_varint(&list, (n + 15) / 16);
	for (uint32_t i = 0; i < n; i += 16) {
		buf_u8(&list, (uint8_t)(n - i < 16 ? n - i : 16));
		buf_varint(&list, 100);
	}
	for (uint64_t i = from; i < from + n; i++) {
		struct digest d = own_digest(i);

		buf_bytes(&list, d.b, DIGEST_LEN);
	}
	r.len = (uint32_t)list.len;
	fixture_must(pack_put(&f.w, &r, list.data, &off, &err), &err, "pack_put");
	fixture_must(pack_sync(&f.w, &err), &err, "pack_sync");
	buf_fini(&list);
	return off;
}

static void test_own(void)
{
	struct dedup *dd = new_dedup(DEDUP_BUDGET);
	struct digest d = own_digest(3);

	is_int(dedup_peek(dd, &d), 0, "nothing was added");
	dedup_seal(dd);
	add_own(dd, 0, 100);
	is_int(dedup_peek(dd, &d), own_paddr(3), "a page that was added is known");
	is_int(find_own(dd, 99), own_paddr(99), "in a batch, too");
	is_int(find_own(dd, 100), 0, "the next is not");
	add_own(dd, 100, 1);
	is_int(find_own(dd, 100), own_paddr(100), "until it is, in a segment of its own");
	is_int(find_own(dd, 0), own_paddr(0), "the segment before is still known");
	dedup_free(dd);
}

/* More of them than the budget has room for. */
static void test_evicted(void)
{
	enum { LISTS = 14 };
	struct dedup *dd = new_dedup(0);
	uint64_t off[LISTS], hook = next_own(0, true), plain = next_own(0, false);
	uint64_t last = (LISTS - 1) * SEG_PAGES;

	for (unsigned i = 0; i < LISTS; i++) {
		off[i] = write_own(i * (uint64_t)SEG_PAGES, SEG_PAGES);
		add_own(dd, i * (uint64_t)SEG_PAGES, SEG_PAGES);
	}
	is_int(find_own(dd, plain), 0, "the first list is no longer among the active ones");
	is_int(find_own(dd, hook), 0, "nor can it be read again before it was written");
	is_int(find_own(dd, last + 5), own_paddr(last + 5), "the last one is");
	is_int(dedup_written(dd, own_paddr(0), off[0]), 0, "once it is in its pack");
	is_int(find_own(dd, hook), own_paddr(hook), "its hook leads to it");
	is_int(find_own(dd, plain), own_paddr(plain), "with all its pages");
	for (unsigned i = 1; i < LISTS; i++)
		is_int(dedup_written(dd, own_paddr(i * (uint64_t)SEG_PAGES), off[i]), 0,
		       "list %u is written", i);
	for (unsigned i = 0; i < LISTS; i++) {
		uint64_t k = next_own(i * (uint64_t)SEG_PAGES, true);

		is_int(find_own(dd, k), own_paddr(k), "and found again");
	}
	dedup_free(dd);
}

static void test_short_list(void)
{
	struct dedup *dd = new_dedup(0);
	uint64_t off = write_own(0, 1000), at = SEG_PAGES, hook = next_own(0, true);

	add_own(dd, 0, 1000);
	is_int(dedup_written(dd, own_paddr(0), off), 0, "a short list is written");
	for (unsigned i = 0; i < 8; i++, at += SEG_PAGES)
		add_own(dd, at, SEG_PAGES);
	is_int(find_own(dd, 1), 0, "it fell out");
	is_int(find_own(dd, hook), own_paddr(hook), "and comes back");
	is_int(find_own(dd, 999), own_paddr(999), "as long as it was");
	is_int(find_own(dd, 1000), 0, "and no longer");
	dedup_free(dd);
}

/* Those added last may not have been written yet: they must not fall out. */
static void test_pinned(void)
{
	struct dedup *dd = new_dedup(0);
	uint64_t at, k;

	for (at = 0; at < 14 * (uint64_t)SEG_PAGES; at += SEG_PAGES) {
		uint64_t off = at < 8 * SEG_PAGES ? write_own(at, SEG_PAGES) : 0;

		add_own(dd, at, SEG_PAGES);
		if (off && dedup_written(dd, own_paddr(at), off) < 0)
			bail("dedup_written");
	}
	for (unsigned i = 0; i < 8; i++) {
		k = next_own(i * (uint64_t)SEG_PAGES, true);
		is_int(find_own(dd, k), own_paddr(k), "old list %u comes back", i);
	}
	for (unsigned i = 10; i < 14; i++) {
		k = i * (uint64_t)SEG_PAGES + 3;
		is_int(find_own(dd, k), own_paddr(k), "and new list %u has stayed", i);
	}
	dedup_free(dd);
}

static void test_many_short(void)
{
	struct dedup *dd = new_dedup(0);
	unsigned right = 0;

	for (unsigned i = 0; i < 50; i++)
		add_own(dd, i * 100, 100);
	for (unsigned i = 0; i < 50; i++)
		right += find_own(dd, i * 100 + 7) == own_paddr(i * 100 + 7);
	is_int(right, 50, "short lists take only the room that they need");
	dedup_free(dd);
}

/* ---- the parent ---- */

static struct digest got[FRAME_PAGES];

static unsigned right_digests(const struct runs *map)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FRAME_PAGES; i++) {
		uint64_t paddr = runs_at(map, i);
		struct digest want = paddr ? fixture_digest(paddr) : (struct digest){{0}};

		n += digest_equal(&got[i], &want);
	}
	return n;
}

static void test_parent(uint64_t a, uint64_t b, uint64_t partial)
{
	struct dedup *dd = new_dedup(DEDUP_BUDGET);
	struct runs map = {0};
	uint64_t plain = next_page(a, false);

	runs_add(&map, b + 5, 20);
	runs_add(&map, 0, 30);
	runs_add(&map, a, 100);
	runs_add(&map, b, 10);
	runs_add(&map, a + 200, 100);	/* on into the next segment */
	runs_add(&map, 0, 200);
	runs_add(&map, partial, 16);
	runs_add(&map, partial + 33, 1);
	runs_add(&map, partial + 35, 5);
	runs_add(&map, partial + 52, 1);
	runs_add(&map, partial + 67, 1);
	runs_add(&map, a, FRAME_PAGES - map.count);
	memset(got, 0xee, sizeof(got));
	is_int(dedup_parent_digests(dd, &map, got, &err), 0, "the digests of a frame");
	is_int(right_digests(&map), FRAME_PAGES, "are those of its pages");
	is_int(find_page(dd, plain), 0, "which does not change what is found");
	runs_reset(&map);
	runs_add(&map, 0, FRAME_PAGES);
	is_int(dedup_parent_digests(dd, &map, got, &err), 0, "a frame of zeros");
	is_int(right_digests(&map), FRAME_PAGES, "has zero digests");
	runs_fini(&map);
	dedup_free(dd);
}

static void test_parent_errors(uint64_t partial)
{
	struct dedup *dd = new_dedup(DEDUP_BUDGET);
	struct runs map = {0};

	runs_add(&map, partial, FRAME_PAGES);
	is_err(dedup_parent_digests(dd, &map, got, &err), &err, -EBADMSG,
	       "page 1:%u is gone from its segment", (unsigned)partial + 16);
	runs_reset(&map);
	runs_add(&map, UINT64_C(70) << 32, FRAME_PAGES);
	is_err(dedup_parent_digests(dd, &map, got, &err), &err, -ENOENT,
	       "no segment holds page 70:0");
	runs_fini(&map);
	dedup_free(dd);
}

struct asking {
	struct dedup *dd;
	const struct runs *map;
	unsigned bad;
};

static void *ask(void *arg)
{
	struct asking *a = arg;
	static __thread struct digest mine[FRAME_PAGES];

	for (unsigned i = 0; i < 50; i++)
		a->bad += dedup_parent_digests(a->dd, a->map, mine, NULL) < 0 ||
			  memcmp(mine, got, sizeof(got)) != 0;
	return NULL;
}

static void test_threads(uint64_t a, uint64_t b)
{
	struct dedup *dd = new_dedup(0);
	struct runs map = {0};
	struct asking asking[4];
	pthread_t thread[4];
	unsigned bad = 0;

	for (unsigned i = 0; i < FRAME_PAGES / 4; i++) {
		runs_add(&map, a + i, 2);
		runs_add(&map, b + i % 100, 2);
	}
	is_int(dedup_parent_digests(dd, &map, got, &err), 0, "one thread");
	is_int(right_digests(&map), FRAME_PAGES, "has the right ones");
	for (unsigned i = 0; i < 4; i++) {
		asking[i] = (struct asking){.dd = dd, .map = &map};
		if (pthread_create(&thread[i], NULL, ask, &asking[i]) != 0)
			bail("pthread_create");
	}
	add_own(dd, 0, 1000);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		bad += asking[i].bad;
	}
	is_int(bad, 0, "and so have four at once");
	runs_fini(&map);
	dedup_free(dd);
}

/* ---- what goes wrong ---- */

static void test_no_memory(uint64_t first)
{
	uint64_t hook = next_page(first, true), got_paddr;
	struct digest d = own_digest(0);
	struct dedup *dd;
	unsigned wrong = 0;

	for (unsigned n = 1; n <= 4; n++) {
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		is_int(dedup_new(f.store, 0, &dd), -ENOMEM, "no memory at %u, no dedup", n);
	}
	fault_disarm();
	for (unsigned n = 1; n <= 12; n++) {
		dd = new_dedup(0);
		seg_cache_clear(f.store->segs);
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		got_paddr = find_page(dd, hook);
		fault_disarm();
		wrong += got_paddr != 0 && got_paddr != hook;
		wrong += find_page(dd, hook) != hook;
		dedup_free(dd);
	}
	is_int(wrong, 0, "without memory a page is unknown, and found later");
	for (unsigned n = 1; n <= 2; n++) {
		dd = new_dedup(0);
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		is_int(dedup_add(dd, &d, own_paddr(0)), -ENOMEM, "no memory for a list");
		fault_disarm();
		is_int(dedup_add(dd, &d, own_paddr(0)), 0, "there is later");
		fault_arm(FAULT_MALLOC, 1, ENOMEM);
		dedup_seal(dd);
		is_int(dedup_written(dd, own_paddr(0), 1), 0, "sealing cannot fail");
		fault_disarm();
		dedup_free(dd);
	}
}

static void test_damage(uint64_t first)
{
	struct dedup *dd = new_dedup(DEDUP_BUDGET);
	uint64_t hook = next_page(first, true);
	struct runs map = {0};
	struct seg *seg;

	runs_add(&map, first, 100);
	runs_add(&map, 0, FRAME_PAGES - 100);
	fixture_must(seg_get(f.store, first, &seg, &err), &err, "seg_get");
	fixture_flip(&f, seg->pack, seg->dig_off + 5000);
	is_int(find_page(dd, hook), 0, "pages of a damaged list are unknown");
	is_err(dedup_parent_digests(dd, &map, got, &err), &err, -EBADMSG,
	       "the digests of segment %u:%u: record at byte %llu of pack %08x: checksum differs",
	       (unsigned)(first >> 32), (unsigned)first, (unsigned long long)seg->dig_off,
	       seg->pack);
	fixture_flip(&f, seg->pack, seg->dig_off + 5000);
	is_int(find_page(dd, hook), hook, "and known once it is whole");
	seg_unref(seg);
	runs_fini(&map);
	dedup_free(dd);
}

int main(void)
{
	uint64_t a, b, partial;

	fixture_open(&f, "store", NULL);
	partial = partial_segment();
	a = segment(16, 16);
	b = segment(32, 8);
	test_hooks(a, 256);
	test_hooks(b, 256);
	test_partial(partial);
	test_dead_ends();
	test_parent(a, b, partial);
	test_parent_errors(partial);
	test_threads(a, b);
	test_no_memory(b);
	test_damage(a);
	test_lost_pack(a);
	fixture_new_pack(&f, 9);
	test_own();
	test_evicted();
	test_short_list();
	test_pinned();
	test_many_short();
	fixture_close(&f);
	return tap_done();
}
