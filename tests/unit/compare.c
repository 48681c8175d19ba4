/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/compare.h"

#include "tests/unit/fixture.h"

static struct err err;
static struct fixture f;

/* What a callback saw: "frame:npages(first page that differs) ". */
struct seen {
	char text[512];
	struct compare_frame last;
	int stop;
};

static int see(void *ctx, const struct compare_frame *frame)
{
	struct seen *s = ctx;
	unsigned first = 0;

	while (first < 512 && !(frame->differ[first / 8] >> first % 8 & 1))
		first++;
	(void)sprintf(s->text + strlen(s->text), "%llu:%u(%u) ", (unsigned long long)frame->frame,
		      frame->npages, first);
	s->last = *frame;
	return s->stop;
}

static bool bit(const uint8_t *bits, unsigned i)
{
	return bits[i / 8] >> i % 8 & 1;
}

/* An image by hand: `n` frame ids. */
static struct image image_of(const uint64_t *fids, size_t n)
{
	struct image im = {.name = "memfile", .size = n * FRAME_SIZE, .nframes = n};

	for (size_t i = 0; i < n; i++)
		if (runs_add(&im.frames, fids[i], 1) < 0)
			bail("out of memory");
	return im;
}

/* A frame of zeros but for `n` pages from position `pos` on, at `paddr`. */
static uint64_t frame_of(uint64_t pos, uint64_t paddr, uint64_t n)
{
	struct runs map = {0};
	uint64_t fid;

	(void)(runs_add(&map, 0, pos), runs_add(&map, paddr, n), runs_add(&map, 0, 512 - pos - n));
	fid = fixture_frame(&f, &map);
	runs_fini(&map);
	return fid;
}

/*
 * A segment whose pages have the same content as those from `like` on, but for
 * page `other`: only its digest list, because no page is read.
 */
static uint64_t copy_seg(uint64_t like, uint8_t n, unsigned other)
{
	struct seg *seg = calloc(1, sizeof(*seg) + sizeof(seg->chunk[0]));
	struct record r = {.type = RECORD_DIGESTS, .id = f.next};
	struct buf list = {0}, table = {0};
	struct index_seg row;
	uint64_t first = f.next;

	*seg = (struct seg){.refs = 1, .first = first, .span = n, .npages = n,
			     .pack = f.w.number, .nchunks = 1, .off = f.w.end};
	seg->chunk[0] = (struct seg_chunk){.off = (uint32_t)f.w.end, .len = 100, .span = n,
					    .slots = (uint16_t)((1u << n) - 1)};
	buf_u64(&list, seg->off);
	seg_encode_table(seg, &table);
	buf_bytes(&list, table.data, table.len);
	for (unsigned i = 0; i < n; i++) {
		struct digest d = fixture_digest(i == other ? first : like + i);

		buf_bytes(&list, d.b, DIGEST_LEN);
	}
	r.len = (uint32_t)list.len;
	row = (struct index_seg){.first = first, .span = n, .pack = seg->pack, .off = seg->off,
				  .table = table.data, .table_len = (uint32_t)table.len,
				  .dig_len = r.len};
	fixture_must(pack_put(&f.w, &r, list.data, &row.dig_off, &err), &err, "pack_put");
	fixture_must(pack_sync(&f.w, &err), &err, "pack_sync");
	fixture_must(index_seg_put(f.store->index, &row, &err), &err, "index_seg_put");
	buf_fini(&list);
	buf_fini(&table);
	seg_unref(seg);
	f.next += n;
	return first;
}

static void compare(const struct image *a, const struct image *b, struct seen *s)
{
	memset(s, 0, sizeof(*s));
	is_int(compare_images(f.store, a, b, see, s, &err), 0, "two images");
}

static void test_frames(void)
{
	uint64_t seg = fixture_seg(&f, 4, 8);
	uint64_t x = frame_of(0, seg, 8), y = frame_of(3, seg + 8, 8), z = frame_of(0, seg, 8);
	struct image a = image_of((uint64_t[]){x, 0, y, y}, 4);
	struct image b = image_of((uint64_t[]){x, y, 0, y}, 4);
	struct image same = image_of((uint64_t[]){z, 0, y, y}, 4);
	struct image shorter = image_of((uint64_t[]){x, 0}, 2);
	struct seen s;

	compare(&a, &a, &s);
	is_str(s.text, "", "an image is like itself");
	compare(&a, &same, &s);
	is_str(s.text, "", "and like one whose frames have other ids but the same content");
	compare(&a, &b, &s);
	is_str(s.text, "1:8(3) 2:8(3) ", "frames that differ, in order");
	ok(bit(s.last.b_zero, 3) && !bit(s.last.a_zero, 3), "there b is zero and a is not");
	ok(bit(s.last.a_zero, 0) && bit(s.last.b_zero, 0), "elsewhere both are");
	compare(&a, &shorter, &s);
	is_str(s.text, "2:8(3) 3:8(3) ", "behind the end are zeros");
	compare(&shorter, &a, &s);
	is_str(s.text, "2:8(3) 3:8(3) ", "on either side");
	compare(NULL, &a, &s);
	is_str(s.text, "0:8(0) 2:8(3) 3:8(3) ", "no image is all zeros");
	compare(&a, NULL, &s);
	is_str(s.text, "0:8(0) 2:8(3) 3:8(3) ", "on either side");
	compare(NULL, NULL, &s);
	is_str(s.text, "", "and like itself");
	memset(&s, 0, sizeof(s));
	s.stop = 5;
	is_int(compare_images(f.store, NULL, &a, see, &s, &err), 5, "a callback's answer");
	is_str(s.text, "0:8(0) ", "ends the walk");
	runs_fini(&a.frames);
	runs_fini(&b.frames);
	runs_fini(&same.frames);
	runs_fini(&shorter.frames);
}

/* The same content under two addresses is found out by its digest. */
static void test_pages(void)
{
	uint64_t seg = fixture_seg(&f, 1, 16), copy = copy_seg(seg, 16, 5);
	uint64_t x = frame_of(0, seg, 16), y = frame_of(0, copy, 16);
	struct image a = image_of((uint64_t[]){x}, 1), b = image_of((uint64_t[]){y}, 1);
	struct seen s;

	compare(&a, &b, &s);
	is_str(s.text, "0:1(5) ", "one page of sixteen differs");
	ok(!bit(s.last.a_zero, 5) && !bit(s.last.b_zero, 5), "and is zero in neither");
	ok(bit(s.last.a_zero, 16) && bit(s.last.b_zero, 16), "where there is nothing both are");
	runs_fini(&a.frames);
	runs_fini(&b.frames);
}

/* More segments than lists are kept. */
static void test_many_segs(void)
{
	struct runs map_a = {0}, map_b = {0};
	struct image a, b;
	struct seen s;

	for (unsigned i = 0; i < 32; i++) {
		uint64_t seg = fixture_seg(&f, 1, 4), copy = copy_seg(seg, 4, i == 30 ? 1 : 99);

		(void)(runs_add(&map_a, seg, 4), runs_add(&map_b, copy, 4));
	}
	(void)(runs_add(&map_a, 0, 512 - 128), runs_add(&map_b, 0, 512 - 128));
	a = image_of((uint64_t[]){fixture_frame(&f, &map_a)}, 1);
	b = image_of((uint64_t[]){fixture_frame(&f, &map_b)}, 1);
	compare(&a, &b, &s);
	is_str(s.text, "0:1(121) ", "one page of 128 in 64 segments");
	runs_fini(&map_a);
	runs_fini(&map_b);
	runs_fini(&a.frames);
	runs_fini(&b.frames);
}

static void test_damage(void)
{
	uint64_t seg = fixture_seg(&f, 1, 8), copy = copy_seg(seg, 8, 99);
	struct image a = image_of((uint64_t[]){frame_of(0, seg, 8)}, 1);
	struct image b = image_of((uint64_t[]){frame_of(0, copy, 8)}, 1);
	struct image gone = image_of((uint64_t[]){12345}, 1);
	struct image nowhere = image_of((uint64_t[]){frame_of(0, 9ull << 32, 8)}, 1);
	struct seen s = {.stop = 0};

	is_err(compare_images(f.store, &a, &gone, see, &s, &err), &err, -EBADMSG,
	       "there is no frame 12345");
	is_err(compare_images(f.store, &a, &nowhere, see, &s, &err), &err, -EBADMSG,
	       "no segment holds page 9:0");
	fixture_flip(&f, 1, f.w.end - 1);
	is_int(compare_images(f.store, &a, &b, see, &s, &err), -EBADMSG, "a damaged list: %s",
	       err.text);
	is_str(s.text, "", "and nothing is claimed of the frame");
	runs_fini(&a.frames);
	runs_fini(&b.frames);
	runs_fini(&gone.frames);
	runs_fini(&nowhere.frames);
}

int main(void)
{
	fixture_open(&f, "store", NULL);
	test_frames();
	test_pages();
	test_many_segs();
	test_damage();
	fixture_close(&f);
	return tap_done();
}
