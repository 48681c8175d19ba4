/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/view.h"
#include "store/base/cache.h"
#include "store/base/fmt.h"
#include "store/chunk.h"
#include "tests/fault.h"
#include "tests/unit/fixture.h"

#include <pthread.h>

#define SIZE (5 * (uint64_t)FRAME_SIZE - 1000)	/* five frames, the last page partial */

static struct err err;
static uint64_t page_at[5 * FRAME_PAGES];	/* what the image is: 0, or a page address */
static struct layer *layer;
static struct view *view;
static char short_id[13];

/* The image as a plain file would have it. */
static void expect(uint64_t off, size_t len, uint8_t *ret)
{
	uint8_t page[PAGE_SIZE];

	for (size_t i = 0; i < len; i++) {
		uint64_t pgno = (off + i) >> PAGE_SHIFT;

		if (i == 0 || (off + i) % PAGE_SIZE == 0) {
			memset(page, 0, sizeof(page));
			if (page_at[pgno])
				fixture_page(page_at[pgno], page);
		}
		ret[i] = page[(off + i) % PAGE_SIZE];
	}
}

static void add_frame(struct fixture *f, struct runs *frames, const struct runs *map)
{
	for (uint64_t i = 0; i < FRAME_PAGES; i++)
		page_at[frames->count * FRAME_PAGES + i] = runs_at(map, i);
	runs_add(frames, fixture_frame(f, map), 1);
}

/* Zeros, data in runs that cross chunks and segments, single pages from all over. */
static void make_image(struct fixture *f)
{
	uint64_t a = fixture_seg(f, 20, 4), b = fixture_seg(f, 10, 16), c;
	struct runs map = {0}, *frames;

	fixture_new_pack(f, 2);
	c = fixture_seg(f, 40, 8);
	layer = fixture_layer(f);
	frames = fixture_image(layer, "memfile", SIZE);
	runs_add(&map, 0, 10);
	runs_add(&map, a + 2, 200);		/* 18 chunks, then on into the next segment */
	runs_add(&map, 0, 302);
	add_frame(f, frames, &map);
	runs_add(frames, 0, 1);
	runs_reset(&map);
	for (uint64_t i = 0; i < FRAME_PAGES; i++)
		runs_add(&map, i % 3 ? (i % 2 ? b : c) + i * 37 % 160 : 0, 1);
	add_frame(f, frames, &map);
	runs_reset(&map);
	runs_add(&map, c, 300);
	runs_add(&map, a, 80);
	runs_add(&map, b, 132);
	add_frame(f, frames, &map);
	runs_reset(&map);
	runs_add(&map, c + 8, 100);
	runs_add(&map, 0, 400);
	runs_add(&map, b, 12);
	add_frame(f, frames, &map);
	runs_fini(&map);
	fixture_publish_layer(f, layer);
	fmt_hex(short_id, layer->id.b, 6);
}

static void test_open(struct fixture *f)
{
	struct view *none = NULL;

	is_err(view_open(f->store, layer, "rootfs", &none, &err), &err, -ENOENT,
	       "layer %s has no image 'rootfs'", short_id);
	ok(!none, "the output is untouched");
	is_int(view_open(f->store, layer, "memfile", &view, &err), 0, "open");
	is_int(view_size(view), SIZE, "its size in bytes");
	ok(strstr(view_name(view), " image 'memfile'") && strstr(view_name(view), short_id),
	   "its name: %s", view_name(view));
	view_close(NULL);
}

static size_t flatten(const struct view_data *d, uint8_t *to)
{
	size_t len = 0;

	for (int i = 0; i < d->niov; i++) {
		memcpy(to + len, d->iov[i].iov_base, d->iov[i].iov_len);
		len += d->iov[i].iov_len;
	}
	return len;
}

static bool reads(uint64_t off, size_t len, size_t want_len)
{
	static uint8_t got[1 << 20], want[1 << 20];
	struct view_data d;
	bool good;

	if (view_read(view, off, len, &d, &err) < 0) {
		tap_diag("%s", err.text);
		return false;
	}
	expect(off, want_len, want);
	good = d.len == want_len && flatten(&d, got) == want_len &&
	       memcmp(got, want, want_len) == 0;
	view_release(view, &d);
	return good;
}

static void test_read(void)
{
	struct view_data d;

	ok(reads(0, PAGE_SIZE, PAGE_SIZE), "a page of zeros");
	ok(reads(10 * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE), "a page of data");
	ok(reads(10 * PAGE_SIZE - 5, 10, 10), "ten bytes across the border");
	ok(reads(0, 1 << 20, 1 << 20), "a MiB");
	ok(reads(1, 1 << 20, 1 << 20), "257 pages");
	ok(reads(4 * FRAME_SIZE + 1, 1 << 20, 1 << 20), "257 pages, single ones among them");
	ok(reads(FRAME_SIZE - 4096, 1 << 20, 1 << 20), "from one frame into the next");
	ok(reads(2 * FRAME_SIZE, 1 << 20, 1 << 20), "pages from all over");
	ok(reads(2 * FRAME_SIZE + 777, (1 << 20) - 1, (1 << 20) - 1), "and not aligned");
	ok(reads(SIZE - 100, 1 << 20, 100), "short at the end");
	ok(reads(0, 5 << 20, 1 << 20), "at most a MiB at once");
	is_int(view_read(view, SIZE, 10, &d, &err), 0, "at the end");
	ok(d.len == 0 && d.niov == 0, "there is nothing");
	is_int(view_read(view, UINT64_MAX, 10, &d, &err), 0, "nor far behind it");
	is_int(d.len, 0, "is there anything");
	is_int(view_read(view, 0, 0, &d, &err), 0, "a read of nothing");
	is_int(d.len, 0, "is nothing");
}

static void test_pieces(void)
{
	struct view_data d;

	view_read(view, FRAME_SIZE, 1 << 20, &d, &err);
	ok(d.niov <= 16, "zeros are few pieces");
	is_int(d.nheld, 0, "and hold nothing");
	view_release(view, &d);
	/* Page 2 of a chunk of 4, then 4 chunks of 4: neighbours are merged. */
	view_read(view, 10 * PAGE_SIZE, 2 * PAGE_SIZE, &d, &err);
	is_int(d.niov, 1, "pages of one chunk are one piece");
	is_int(d.nheld, 1, "which is held");
	view_release(view, &d);
	is_int(d.nheld, 0, "until it is released");
}

static void test_random_reads(struct fixture *f)
{
	struct cache_stats stats;
	uint64_t x = tap_seed(1234);
	int good = 0;

	for (int i = 0; i < 300; i++) {
		uint64_t off, len;

		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		off = (x >> 20) % SIZE;
		len = 1 + (x >> 7) % (i % 2 ? 9000 : 300000);
		good += reads(off, len, len < SIZE - off ? len : SIZE - off);
	}
	is_int(good, 300, "300 random reads");
	cache_stats(f->store->chunks, &stats);
	ok(stats.cost <= 1 << 20, "within the cache's bound: nothing is left held");
}

static void test_pread(void)
{
	uint8_t *got = malloc(SIZE + 10), *want = malloc(SIZE);

	expect(0, SIZE, want);
	is_int(view_pread(view, got, SIZE + 10, 0, &err), SIZE, "the whole image at once");
	is_mem(got, want, SIZE, "byte for byte");
	is_int(view_pread(view, got, 5000, 12345, &err), 5000, "a part");
	is_mem(got, want + 12345, 5000, "too");
	is_int(view_pread(view, got, 10, SIZE, &err), 0, "at the end");
	is_int(view_pread(view, got, 10, SIZE - 3, &err), 3, "near the end");
	free(got);
	free(want);
}

static void test_runs(void)
{
	uint64_t off = 0, data = 0, sum = 0;
	struct view_run r;
	int bad = 0, n = 0;

	while (off < SIZE && view_next_run(view, off, &r, &err) == 0) {
		uint64_t end = r.off + r.len;

		bad += r.off != off || r.len == 0 || end > SIZE;
		for (uint64_t p = off >> PAGE_SHIFT; p << PAGE_SHIFT < end; p++)
			bad += (page_at[p] != 0) != r.data;
		bad += end < SIZE && (page_at[end >> PAGE_SHIFT] != 0) == r.data;
		off = end;
		data += r.data ? r.len : 0;
		n++;
	}
	is_int(off, SIZE, "the runs cover the image");
	is_int(bad, 0, "each is of one kind, and as long as can be");
	ok(n > 300, "there are many");
	is_int(view_data_bytes(view, &sum, &err), 0, "data bytes");
	is_int(sum, data + 1000, "are those of the pages with data");
	is_int(view_data_bytes(view, &sum, &err), 0, "again");
	is_int(sum, data + 1000, "the same");
	is_int(view_next_run(view, 12345, &r, &err), 0, "from the middle of a page");
	ok(r.off == 12345 && !r.data && r.len == 10 * PAGE_SIZE - 12345, "to the end of the run");
	is_err(view_next_run(view, SIZE, &r, &err), &err, -ENXIO,
	       "layer %s image 'memfile' ends at byte %llu", short_id, (unsigned long long)SIZE);
}

/* Drops every chunk and segment that is cached. */
static void forget(struct fixture *f)
{
	cache_free(f->store->chunks);
	if (cache_new(&chunk_cache_ops, f->store, 1 << 20, &f->store->chunks) < 0)
		bail("cache_new");
	seg_cache_clear(f->store->segs);
}

/* One flipped bit: the pages of that chunk fail, and no others. */
static void test_damage(struct fixture *f)
{
	uint64_t victim = page_at[100];		/* in the first frame */
	uint8_t page[PAGE_SIZE];
	struct seg *seg;
	const struct seg_chunk *sc;
	struct view_data d;
	int wrong = 0, failed = 0;

	fixture_must(seg_get(f->store, victim, &seg, &err), &err, "seg_get");
	sc = seg_find(seg, victim);
	fixture_flip(f, seg->pack, sc->off + RECORD_HEADER_LEN + sc->len / 2);
	forget(f);
	for (uint64_t p = 0; p < SIZE >> PAGE_SHIFT; p++) {
		bool hurt = page_at[p] >= seg->first + sc->first &&
			    page_at[p] < seg->first + sc->first + sc->span;
		int64_t n = view_pread(view, page, PAGE_SIZE, p << PAGE_SHIFT, &err);

		wrong += n != (hurt ? -EBADMSG : (int64_t)PAGE_SIZE);
		failed += n < 0;
	}
	is_int(wrong, 0, "every page of the chunk fails, and no other");
	ok(failed >= 16, "%d did", failed);
	is_err((int)view_pread(view, page, 1, 100 * PAGE_SIZE + 7, &err), &err, -EBADMSG,
	       "layer %s image 'memfile' page 100: chunk " PADDR_FMT " in pack 00000001: "
	       "checksum differs", short_id, PADDR_ARG(seg->first + sc->first));
	/* Its first page in the image is 88: ten of zeros, 78 of another segment. */
	is_err(view_read(view, 0, 1 << 20, &d, &err), &err, -EBADMSG,
	       "layer %s image 'memfile' page 88: chunk " PADDR_FMT " in pack 00000001: "
	       "checksum differs", short_id, PADDR_ARG(seg->first + sc->first));
	fixture_flip(f, seg->pack, sc->off + RECORD_HEADER_LEN + sc->len / 2);
	ok(reads(0, 1 << 20, 1 << 20), "mended, it is read");
	seg_unref(seg);
}

/* gc moves the segments of pack 2 to pack 3, then unlinks it. */
static void test_moved(struct fixture *f)
{
	uint64_t first = UINT64_C(2) << 32;
	uint8_t spans[40];
	struct seg *old;

	memset(spans, 8, sizeof(spans));
	fixture_must(seg_get(f->store, first, &old, &err), &err, "seg_get");
	fixture_new_pack(f, 3);
	fixture_put_seg(f, first, spans, NULL, 40);
	packs_unlink(f->store->packs, 2, NULL);
	cache_free(f->store->chunks);
	if (cache_new(&chunk_cache_ops, f->store, 1 << 20, &f->store->chunks) < 0)
		bail("cache_new");
	ok(reads(3 * FRAME_SIZE, 1 << 20, 1 << 20), "a segment that was moved is found again");
	packs_unlink(f->store->packs, 3, NULL);
	forget(f);
	is_err((int)view_pread(view, spans, 1, 3 * FRAME_SIZE, &err), &err, -EBADMSG,
	       "layer %s image 'memfile' page 1536: chunk 2:0 in pack 00000003: "
	       "cannot open pack 00000003: No such file or directory", short_id);
	ok(reads(0, 1 << 20, 1 << 20), "what lies elsewhere is still read");
	seg_unref(old);
	fixture_new_pack(f, 3);
	fixture_put_seg(f, first, spans, NULL, 40);
}

static void delete_rows(struct fixture *f, uint64_t seg_first, uint64_t fid)
{
	fixture_must(index_begin(f->store->index, &err), &err, "begin");
	if (seg_first)
		fixture_must(index_seg_delete(f->store->index, seg_first, &err), &err, "delete");
	if (fid)
		fixture_must(index_frame_delete(f->store->index, fid, &err), &err, "delete");
	fixture_must(index_commit(f->store->index, &err), &err, "commit");
}

/* An index that lost rows is damage, not "no such file". */
static void test_lost_rows(struct fixture *f)
{
	uint64_t fid = runs_at(&layer->image[0].frames, 4);
	struct view_run r;
	struct view *v;
	uint64_t sum;
	char c;

	forget(f);
	delete_rows(f, UINT64_C(2) << 32, 0);
	is_err((int)view_pread(view, &c, 1, 3 * FRAME_SIZE, &err), &err, -EBADMSG,
	       "layer %s image 'memfile' page 1536: no segment holds page 2:0", short_id);
	delete_rows(f, 0, fid);
	cache_drop(f->store->frames, fid);
	is_err((int)view_pread(view, &c, 1, 4 * FRAME_SIZE, &err), &err, -EBADMSG,
	       "layer %s image 'memfile' page 2048: there is no frame %llu", short_id,
	       (unsigned long long)fid);
	is_err(view_next_run(view, 4 * FRAME_SIZE, &r, &err), &err, -EBADMSG,
	       "layer %s image 'memfile' page 2048: there is no frame %llu", short_id,
	       (unsigned long long)fid);
	is_int(view_next_run(view, 3 * FRAME_SIZE, &r, &err), 0, "a run before it");
	is_int(r.len, FRAME_SIZE, "ends where the damage begins");
	fixture_must(view_open(f->store, layer, "memfile", &v, &err), &err, "view_open");
	is_err(view_data_bytes(v, &sum, &err), &err, -EBADMSG,
	       "layer %s image 'memfile': there is no frame %llu", short_id,
	       (unsigned long long)fid);
	view_close(v);
}

static void test_no_memory(struct fixture *f)
{
	struct view_data d;
	struct view *v = NULL;
	int rc = -ENOMEM;

	for (unsigned long i = 1; rc == -ENOMEM; i++) {
		forget(f);
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		rc = view_read(view, 10 * PAGE_SIZE, 20 * PAGE_SIZE, &d, &err);
		fault_disarm();
	}
	is_int(rc, 0, "out of memory is survived");
	view_release(view, &d);
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(view_open(f->store, layer, "memfile", &v, &err), -ENOMEM, "no memory to open");
	fault_disarm();
}

static void *read_all(void *arg)
{
	uint8_t *got = malloc(SIZE);

	if (view_pread(view, got, SIZE, 0, NULL) == (int64_t)SIZE)
		digest_bytes(DIGEST_SHA256, got, SIZE, arg);
	free(got);
	return NULL;
}

static void test_threads(struct fixture *f)
{
	struct digest got[4] = {0}, d;
	uint8_t *want = malloc(SIZE);
	pthread_t t[4];

	expect(0, SIZE, want);
	digest_bytes(DIGEST_SHA256, want, SIZE, &d);
	free(want);
	forget(f);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, read_all, &got[i]))
			bail("cannot make a thread");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 4; i++)
		ok(digest_equal(&got[i], &d), "thread %d read every byte", i);
}

/* 1 TiB of nothing with a frame in the middle. */
static void test_sparse(struct fixture *f)
{
	uint64_t size = UINT64_C(1) << 40, frames = size >> FRAME_SHIFT, sum;
	uint64_t fid = runs_at(&layer->image[0].frames, 0);
	struct layer *big = fixture_layer(f);
	struct runs *map = fixture_image(big, "disk", size);
	struct view_data d;
	struct view_run r;
	struct view *v;

	runs_add(map, 0, frames / 2);
	runs_add(map, fid, 1);
	runs_add(map, 0, frames - frames / 2 - 1);
	fixture_publish_layer(f, big);
	fixture_must(view_open(f->store, big, "disk", &v, &err), &err, "view_open");
	is_int(view_next_run(v, 1, &r, &err), 0, "a run of zeros");
	is_int(r.len, size / 2 + 10 * PAGE_SIZE - 1, "of half a TiB");
	is_int(view_next_run(v, r.off + r.len, &r, &err), 0, "the data behind it");
	is_int(r.len, 200 * PAGE_SIZE, "of 200 pages");
	is_int(view_next_run(v, r.off + r.len, &r, &err), 0, "and zeros again");
	is_int(r.off + r.len, size, "to the end");
	is_int(view_data_bytes(v, &sum, &err), 0, "data bytes");
	is_int(sum, 200 * PAGE_SIZE, "of 200 pages");
	is_int(view_read(v, size - 10, 1000, &d, &err), 0, "the last bytes");
	is_int(d.len, 10, "are ten");
	view_release(v, &d);
	view_close(v);
	layer_unref(big);
}

static void test_empty(struct fixture *f)
{
	struct layer *empty = fixture_layer(f);
	struct view_data d;
	struct view_run r;
	struct view *v;
	uint64_t sum = 1;

	fixture_image(empty, "state", 0);
	fixture_publish_layer(f, empty);
	fixture_must(view_open(f->store, empty, "state", &v, &err), &err, "view_open");
	is_int(view_read(v, 0, 10, &d, &err), 0, "an empty image");
	is_int(d.len, 0, "has nothing to read");
	is_int(view_next_run(v, 0, &r, &err), -ENXIO, "nor runs");
	is_int(view_data_bytes(v, &sum, &err), 0, "nor data");
	is_int(sum, 0, "at all");
	view_close(v);
	layer_unref(empty);
}

int main(void)
{
	struct store_limits limits = {.chunk_cache = 1 << 20, .frame_cache = 64 << 10,
				      .open_packs = 4, .segs = 8};
	struct fixture f;

	fixture_open(&f, "store", &limits);
	make_image(&f);
	test_open(&f);
	test_read();
	test_pieces();
	test_random_reads(&f);
	test_pread();
	test_runs();
	test_threads(&f);
	test_no_memory(&f);
	test_damage(&f);
	test_sparse(&f);
	test_empty(&f);
	test_moved(&f);
	test_lost_rows(&f);
	view_close(view);
	layer_unref(layer);
	fixture_close(&f);
	return tap_done();
}
