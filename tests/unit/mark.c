/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/fmt.h"
#include "store/mark.h"
#include "tests/fault.h"
#include "tests/unit/fixture.h"

static struct fixture f;

static uint64_t frame_of(const struct run *run, size_t n)
{
	struct runs map = {0};
	uint64_t fid;

	for (size_t i = 0; i < n; i++)
		if (runs_add(&map, run[i].addr, run[i].len) < 0)
			bail("out of memory");
	if (runs_add(&map, 0, FRAME_PAGES - map.count) < 0)
		bail("out of memory");
	fid = fixture_frame(&f, &map);
	runs_fini(&map);
	return fid;
}

static struct mark *new_mark(void)
{
	struct mark *mark;

	if (mark_new(f.store, &mark) < 0)
		bail("out of memory");
	return mark;
}

static unsigned live_in(const struct mark *mark, uint64_t first)
{
	const struct mark_seg *seg = mark_seg_find(mark, first);

	return seg ? seg->live : 0;
}

static void test_frames(void)
{
	/* Two segments, one behind the other, and one far away. */
	uint64_t a = fixture_seg(&f, 4, 4), b = fixture_seg(&f, 2, 8), c;
	uint64_t fid, other;
	struct mark *mark = new_mark();
	struct err err;

	fixture_new_pack(&f, 2);
	c = fixture_seg(&f, 3, 16);
	fid = frame_of((struct run[]){{.addr = a + 10, .len = 10}, {.addr = c, .len = 48}}, 2);
	other = frame_of((struct run[]){{.addr = a + 10, .len = 7}, {.addr = 0, .len = 9},
					{.addr = c + 5, .len = 1}}, 3);

	is_int(mark_pages(mark), 0, "a new mark has nothing");
	ok(!mark_has_frame(mark, fid) && !mark_has_page(mark, a + 10) &&
	   !mark_seg_find(mark, a), "no frame, no page, no segment");
	is_int(mark_frame(mark, fid, &err), 0, "a frame is marked");
	ok(mark_has_frame(mark, fid) && !mark_has_frame(mark, other), "that one and no other");
	is_int(mark_pages(mark), 58, "with its pages");
	is_int(live_in(mark, a), 6, "a run over the border of two segments: the first's part");
	is_int(live_in(mark, b), 4, "and the second's");
	is_int(live_in(mark, c), 48, "and the whole of a third");
	ok(!mark_has_page(mark, a + 9) && mark_has_page(mark, a + 10) &&
	   mark_has_page(mark, b + 3) && !mark_has_page(mark, b + 4), "to the page");
	ok(!mark_seg_find(mark, a + 1), "a segment is found by its first page only");
	is_int(mark_frame(mark, other, &err), 0, "a frame that shares pages");
	is_int(mark_pages(mark), 58, "counts them once");
	is_int(mark_frame(mark, fid, &err), 0, "the same frame again is fine");
	is_int(mark_frame(mark, 0, &err), 0, "so is the frame of zeros");
	ok(!mark_has_frame(mark, UINT64_MAX) && !mark_has_page(mark, UINT64_MAX),
	   "what never was is not marked");
	mark_free(mark);
}

static void test_layers(void)
{
	uint64_t a = fixture_seg(&f, 8, 4);
	uint64_t one = frame_of((struct run[]){{.addr = a, .len = 5}}, 1);
	uint64_t two = frame_of((struct run[]){{.addr = a + 20, .len = 12}}, 1);
	struct layer *layer = fixture_layer(&f), *again;
	struct mark *mark = new_mark();
	struct runs *frames;
	struct err err;

	frames = fixture_image(layer, "memfile", 4 * (uint64_t)FRAME_SIZE);
	runs_add(frames, one, 1);
	runs_add(frames, 0, 2);
	runs_add(frames, two, 1);
	frames = fixture_image(layer, "rootfs", FRAME_SIZE);
	runs_add(frames, one, 1);
	fixture_publish_layer(&f, layer);
	ok(!mark_has_layer(mark, &layer->id), "a layer is not marked before");
	is_int(mark_layer(mark, layer, &err), 0, "a layer of two images");
	ok(mark_has_layer(mark, &layer->id), "is marked");
	is_int(mark_pages(mark), 17, "with the pages of its frames, each once");
	is_int(mark_layer(mark, layer, &err), 0, "again it is fine");
	for (unsigned i = 0; i < 1000; i++) {
		again = fixture_layer(&f);
		again->id = fixture_digest(i + 1);
		if (mark_layer(mark, again, &err) < 0 || !mark_has_layer(mark, &again->id))
			bail("layer %u", i);
		layer_unref(again);
	}
	ok(mark_has_layer(mark, &layer->id), "a thousand others do not push it out");
	layer_unref(layer);
	mark_free(mark);
}

/* Many segments, marked in a bad order. */
static void test_order(void)
{
	struct mark *mark = new_mark();
	uint64_t first[40], fid[40];
	struct err err;
	unsigned bad = 0;

	for (unsigned i = 0; i < 40; i++) {
		first[i] = fixture_seg(&f, 1, 3);
		fid[i] = frame_of((struct run[]){{.addr = first[i] + 1, .len = 2}}, 1);
	}
	for (unsigned i = 0; i < 40; i++)
		if (mark_frame(mark, fid[i * 27 % 40], &err) < 0)
			bail("%s", err.text);
	for (unsigned i = 0; i < 40; i++)
		bad += live_in(mark, first[i]) != 2 || mark_has_page(mark, first[i]);
	is_int(bad, 0, "forty segments are kept apart, in whatever order they come");
	is_int(mark_pages(mark), 80, "and counted");
	mark_free(mark);
}

static void test_missing(void)
{
	const uint8_t spans[] = {4, 4, 4};
	const uint16_t slots[] = {15, 0, 5};
	struct layer *layer = fixture_layer(&f);
	uint64_t seg = f.next, nowhere, gone, partly, far;
	struct mark *mark = new_mark();
	char hex[DIGEST_HEX_LEN];
	struct err err;

	fixture_put_seg(&f, seg, spans, slots, 3);
	f.next += 12;
	partly = frame_of((struct run[]){{.addr = seg + 8, .len = 1}}, 1);
	gone = frame_of((struct run[]){{.addr = seg + 8, .len = 2}}, 1);
	nowhere = frame_of((struct run[]){{.addr = f.next + 100, .len = 2}}, 1);
	far = frame_of((struct run[]){{.addr = seg + 10, .len = 3}}, 1);
	is_int(mark_frame(mark, partly, &err), 0, "a page that repack has left is there");
	is_err(mark_frame(mark, gone, &err), &err, -EBADMSG,
	       "frame %u: page " PADDR_FMT " is not in the store", (unsigned)gone,
	       PADDR_ARG(seg + 9));
	ok(!mark_has_frame(mark, gone), "a frame that has one it dropped is not marked");
	is_int(mark_frame(mark, gone, &err), -EBADMSG, "and fails again");
	is_err(mark_frame(mark, nowhere, &err), &err, -EBADMSG,
	       "frame %u: page " PADDR_FMT " is not in the store", (unsigned)nowhere,
	       PADDR_ARG(f.next + 100));
	is_int(mark_frame(mark, far, &err), -EBADMSG, "a run beyond its segment's end");
	is_int(mark_frame(mark, 4711, &err), -EBADMSG, "a frame that is not there");
	ok(strstr(err.text, "frame 4711"), "is named: %s", err.text);
	runs_add(fixture_image(layer, "memfile", FRAME_SIZE), gone, 1);
	fixture_publish_layer(&f, layer);
	(void)fmt_hex(hex, layer->id.b, 6);
	is_err(mark_layer(mark, layer, &err), &err, -EBADMSG,
	       "layer %s: frame %u: page " PADDR_FMT " is not in the store", hex, (unsigned)gone,
	       PADDR_ARG(seg + 9));
	ok(!mark_has_layer(mark, &layer->id), "its layer is not marked");
	layer_unref(layer);
	mark_free(mark);
	mark_free(NULL);
}

static void test_memory(void)
{
	uint64_t a = fixture_seg(&f, 2, 2);
	uint64_t fid = frame_of((struct run[]){{.addr = a, .len = 4}}, 1);
	struct mark *mark = NULL;
	int rc = -ENOMEM, made = -ENOMEM;
	unsigned long n;
	struct err err;

	for (n = 1; n < 100 && rc == -ENOMEM; n++) {
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		made = mark_new(f.store, &mark);
		rc = made < 0 ? made : mark_frame(mark, fid, &err);
		fault_disarm();
		if (made == 0 && rc < 0 && mark_has_frame(mark, fid))
			bail("marked without memory");
		if (made == 0)
			mark_free(mark);
		seg_cache_clear(f.store->segs);
	}
	is_int(rc, 0, "without memory it fails, with it it works");
	ok(n > 4, "each of %lu allocations has failed once", n - 2);
}

int main(void)
{
	fixture_open(&f, "store", NULL);
	test_frames();
	test_layers();
	test_order();
	test_missing();
	test_memory();
	fixture_close(&f);
	return tap_done();
}
