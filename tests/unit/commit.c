/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/commits.h"

/* ---- full images ---- */

static void test_first(void)
{
	const char *path = make_file("first", 2000 * PAGE_SIZE, 10, 1, 100);
	struct digest id;

	put_page(path, 200, 5);		/* the same as page 14 */
	put_page(path, 300, 0);		/* zeros that are data */
	for (unsigned i = 0; i < 100; i++)
		put_page(path, 1100 + i, 7777);
	id = commit_full(path, NULL);
	ok(!result.existed, "a first layer is new");
	is_counts(&result.total, 1799, 0, 100, 101, "zero, same, known and fresh pages");
	is_int(result.total.pages, 2000, "all pages");
	is_int(result.total.frames, 4, "all frames");
	is_int(result.total.frames_touched, 2, "and those that are not zero");
	is_int(result.total.read_bytes, 202 * PAGE_SIZE, "only data was read");
	is_int(result.image[0].fresh, 101, "an image's own counts");
	is_int(result.nimages, 1, "of one image");
	ok(result.total.stored_bytes > 100 * PAGE_SIZE / 4 &&
	   result.total.stored_bytes < 102 * PAGE_SIZE, "chunks were compressed");
	ok(result.stored_bytes > result.total.stored_bytes, "packs have more than chunks");
	ok(same_as(&id, "memfile", path), "it reads as it was");
	is_int(layers(), 1, "one layer is shown");
}

static void test_again(void)
{
	const char *path = tap_path("first");
	uint64_t before = pack_bytes();
	struct digest id = commit_full(path, NULL), tagged;
	struct commit_image image = {.name = "memfile", .path = path};
	struct commit_opts opts = opts_of(&image, 1);

	ok(result.existed, "the same again is there already");
	is_counts(&result.total, 1799, 0, 201, 0, "all is known");
	is_int(result.stored_bytes, 0, "nothing is stored");
	is_int(pack_bytes(), before, "the packs are as they were");
	is_int(layers(), 1, "it is one layer");
	opts.tag = "base";
	is_int(commit_run(store, &opts, &result, &err), 0, "once more, with a tag");
	is_int(decide_tag_find(store, "base", &tagged, &err), 0, "the tag is there");
	ok(digest_equal(&tagged, &id), "and points at it");
}

static void test_child(struct digest *ret)
{
	const char *path = make_file("child", 2000 * PAGE_SIZE, 10, 1, 100);
	struct digest parent = commit_full(tap_path("first"), NULL), id;

	put_page(path, 12, 9001);	/* new */
	put_page(path, 13, 1);		/* moved: content of page 10 */
	put_page(path, 600, 3);		/* known, in a frame that was zero */
	put_page(path, 200, 0);
	for (unsigned i = 0; i < 100; i++)
		put_page(path, 1100 + i, 7777);
	id = commit_full(path, &parent);
	is_counts(&result.total, 1799, 198, 2, 1, "against its parent");
	is_int(result.total.frames_touched, 2, "two frames differ");
	is_int(frame_of(&id, 2), frame_of(&parent, 2), "an unchanged frame is the parent's");
	is_int(frame_of(&id, 3), 0, "a frame of zeros is none");
	ok(frame_of(&id, 0) != frame_of(&parent, 0), "a changed one is new");
	ok(same_as(&id, "memfile", path), "it reads as it was");
	ok(same_as(&parent, "memfile", tap_path("first")), "and so does its parent");
	*ret = id;
}

static void test_identity(const struct digest *child)
{
	struct digest id = commit_full(tap_path("child"), NULL);

	ok(!result.existed, "without its parent it is another layer");
	ok(!digest_equal(&id, child), "with another name");
	is_int(frame_of(&id, 0), frame_of(child, 0), "but its frames are the same");
	is_int(result.total.fresh, 0, "no page is new");
	is_int(result.total.stored_bytes, 0, "no chunk is written");
}

static void test_same_frames(void)
{
	const char *path = make_file("twice", 3 * FRAME_SIZE, 7, 20000, 30);
	struct digest id;

	for (unsigned i = 0; i < 30; i++)
		put_page(path, 2 * FRAME_PAGES + 7 + i, 20000 + i);
	id = commit_full(path, NULL);
	is_counts(&result.total, 3 * FRAME_PAGES - 60, 0, 30, 30, "a frame that comes twice");
	ok(frame_of(&id, 0) && frame_of(&id, 0) == frame_of(&id, 2), "is one frame");
	ok(same_as(&id, "memfile", path), "and reads as it was");
}

/* In a whole image a hole is zeros, whatever the parent has there. */
static void test_holes(void)
{
	struct digest parent = commit_full(make_file("parent", 4 * FRAME_SIZE, 500, 21000, 900),
					   NULL);
	const char *path = make_file("holes", 4 * FRAME_SIZE, 500, 21000, 12);
	struct digest id = commit_full(path, &parent);

	is_int(result.total.frames_touched, 2, "two frames have become holes");
	is_int(result.total.zero, 4 * FRAME_PAGES - 12, "all in them is zero");
	is_int(frame_of(&id, 2), 0, "they are frames of zeros");
	ok(same_as(&id, "memfile", path), "and read as such");
}

static void test_sizes(void)
{
	const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, FRAME_SIZE, FRAME_SIZE + 1};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned pages = (unsigned)((sizes[i] + PAGE_SIZE - 1) / PAGE_SIZE);
		const char *path = make_file("size", sizes[i], pages ? pages - 1 : 0, 70 + i,
					     pages ? 1 : 0);
		struct digest id = commit_full(path, NULL);

		is_int(result.total.pages, pages, "%llu bytes are %u pages",
		       (unsigned long long)sizes[i], pages);
		ok(same_as(&id, "memfile", path), "and read as they were");
	}
}

/* ---- diffs ---- */

static void test_diff(void)
{
	const char *base = make_file("base", 1200 * PAGE_SIZE, 0, 100, 50);
	const char *path, *want;
	struct digest parent, id;

	put_page(base, 1100, 150);
	parent = commit_full(base, NULL);
	path = make_file("diff", 1200 * PAGE_SIZE, 5, 500, 2);
	put_page(path, 7, 0);
	put_page(path, 8, 108);		/* as it was */
	must(commit_mode(path, INPUT_DIFF, &parent), "commit a diff");
	id = result.id;
	want = make_file("want", 1200 * PAGE_SIZE, 0, 100, 50);
	put_page(want, 1100, 150);
	put_page(want, 5, 500);
	put_page(want, 6, 501);
	put_page(want, 7, 0);
	ok(same_as(&id, "memfile", want), "holes are the parent's, zeros are zeros");
	is_int(result.total.read_bytes, 4 * PAGE_SIZE, "only the diff was read");
	/* Of 512 pages that were looked at, and the frames that were not. */
	is_counts(&result.total, 463 + 512, 47 + 176, 0, 2, "what was found");
	is_int(result.total.frames_touched, 1, "one frame differs");
	is_int(frame_of(&id, 2), frame_of(&parent, 2), "others are the parent's");
	id = commit_full(want, &parent);
	ok(result.existed, "the whole image gives the same layer");
}

static void test_dirty(void)
{
	const char *path = make_file("dirty", 1200 * PAGE_SIZE, 0, 100, 50), *want;
	struct digest parent = commit_full(path, NULL);
	const struct input_range ranges[] = {{3 * PAGE_SIZE, PAGE_SIZE}, {900 * PAGE_SIZE, 1}};
	struct commit_image image = {.name = "memfile", .path = path, .mode = INPUT_DIRTY,
				     .ranges = ranges, .nranges = 2};
	struct commit_opts opts = opts_of(&image, 1);

	put_page(path, 3, 600);
	put_page(path, 4, 601);		/* changed, but nobody said so */
	put_page(path, 900, 602);
	opts.parent = &parent;
	is_int(commit_run(store, &opts, &result, &err), 0, "changed ranges are committed");
	is_int(result.total.read_bytes, 2 * PAGE_SIZE, "nothing else is read");
	want = make_file("want", 1200 * PAGE_SIZE, 0, 100, 50);
	put_page(want, 3, 600);
	put_page(want, 900, 602);
	ok(same_as(&result.id, "memfile", want), "the rest is the parent's");
	image.nranges = 0;
	is_int(commit_run(store, &opts, &result, &err), 0, "no ranges at all");
	is_int(result.total.frames_touched, 0, "change nothing");
	want = make_file("want", 1200 * PAGE_SIZE, 0, 100, 50);
	ok(same_as(&result.id, "memfile", want), "all is the parent's");
}

/* A diff of another size. */
static void resized(uint64_t was, uint64_t is, enum input_mode mode, const char *what)
{
	const char *base = make_file("base", was, 0, 3000, 700), *path, *want;
	struct digest parent = commit_full(base, NULL);
	unsigned left = (unsigned)((is < was ? is : was) + PAGE_SIZE - 1) / PAGE_SIZE;

	path = make_file("diff", is, 2, 4000, 1);
	want = make_file("want", left * (uint64_t)PAGE_SIZE, 0, 3000, left < 700 ? left : 700);
	put_page(want, 2, 4000);
	/* First to where the parent ended, so that what is behind is zeros. */
	if (truncate(want, (off_t)(is < was ? is : was)) < 0 || truncate(want, (off_t)is) < 0)
		bail("truncate");
	must(commit_mode(mode == INPUT_FULL ? want : path, mode, &parent), "commit");
	ok(same_as(&result.id, "memfile", want), "%s: %llu bytes become %llu", what,
	   (unsigned long long)was, (unsigned long long)is);
}

static void test_resized(void)
{
	const uint64_t full = 700 * PAGE_SIZE;

	for (int mode = INPUT_FULL; mode <= INPUT_DIFF; mode++) {
		const char *what = mode == INPUT_FULL ? "a whole image" : "a diff";

		resized(full, full + 900 * PAGE_SIZE, mode, what);
		resized(full, full + 5, mode, what);
		resized(full, 600 * PAGE_SIZE, mode, what);
		resized(full, 600 * PAGE_SIZE + 100, mode, what);
		resized(full, FRAME_SIZE, mode, what);
		resized(full, 10 * PAGE_SIZE - 1, mode, what);
		resized(full - 100, full, mode, what);
		resized(full - 100, full - 200, mode, what);
		resized(full - 100, full + FRAME_SIZE, mode, what);
	}
}

/* What the parent has behind the new end must leave no trace in the name. */
static void test_cut_tail(void)
{
	const uint64_t size = 600 * PAGE_SIZE + 100;
	struct digest parent = commit_full(make_file("base", 700 * PAGE_SIZE, 0, 3000, 700), NULL);
	struct digest cut;

	must(commit_mode(make_file("diff", size, 0, 0, 0), INPUT_DIFF, &parent), "commit");
	cut = result.id;
	commit_full(make_file("want", size, 0, 3000, 601), &parent);
	ok(result.existed && digest_equal(&cut, &result.id), "cut by a diff or whole: one layer");
}

/* All that a page has is behind the new end: it is a page of zeros now. */
static void test_cut_to_zeros(void)
{
	const char *base = make_file("base", 3 * PAGE_SIZE, 0, 3100, 2);
	struct digest parent, cut;
	int fd = open(base, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, "x", 1, 2 * PAGE_SIZE + 3000) != 1)
		bail("pwrite");
	close(fd);
	parent = commit_full(base, NULL);
	is_int(result.total.zero, 0, "a page with one byte is not zero");
	must(commit_mode(make_file("diff", 2 * PAGE_SIZE + 100, 0, 0, 0), INPUT_DIFF, &parent),
	     "commit");
	cut = result.id;
	is_int(result.total.zero, 1, "without it it is");
	commit_full(make_file("want", 2 * PAGE_SIZE + 100, 0, 3100, 2), &parent);
	ok(result.existed && digest_equal(&cut, &result.id), "as in the whole image");
}

/* ---- several images ---- */

static void test_images(void)
{
	struct commit_image images[3] = {
		{.name = "state", .path = make_file("state", 5000, 0, 40, 2)},
		{.name = "rootfs", .path = make_file("disk", 900 * PAGE_SIZE, 0, 800, 300)},
		{.name = "memfile", .path = make_file("mem", 600 * PAGE_SIZE, 100, 900, 250)},
	};
	struct commit_opts opts = opts_of(images, 3);
	struct digest parent;
	struct layer *layer = NULL;

	is_int(commit_run(store, &opts, &result, &err), 0, "three images");
	parent = result.id;
	is_int(result.image[0].pages, 2, "counts are in the order of the caller");
	is_int(result.image[1].pages, 900, "of each image");
	is_int(result.image[2].fresh, 250, "memory comes first");
	is_int(result.image[1].known, 200, "and the disk finds its pages there");
	is_int(result.total.pages, 1502, "the sum is of all");
	for (int i = 0; i < 3; i++)
		ok(same_as(&parent, images[i].name, images[i].path), "%s reads as it was",
		   images[i].name);

	images[0] = (struct commit_image){.name = "data", .path = make_file("data", 100, 0, 9, 1)};
	opts.nimages = 1;
	opts.parent = &parent;
	is_int(commit_run(store, &opts, &result, &err), 0, "one more image");
	must(layer_open(store, &result.id, &layer, &err), "layer_open");
	is_int(layer->nimages, 4, "the others are inherited");
	ok(layer->has_parent && digest_equal(&layer->parent, &parent), "its parent is known");
	is_str(layer->image[0].name, "data", "images are in order of name");
	layer_unref(layer);
	ok(same_as(&result.id, "rootfs", images[1].path), "what was inherited reads the same");
	is_int(result.total.pages, 1, "only what was given counts");
}

/* ---- attributes, tags, removal ---- */

/* The same content again: what is said of it is added. */
static void test_more_attrs(void)
{
	struct commit_image image = {.name = "memfile", .path = make_file("more", 4096, 0, 91, 1)};
	struct commit_opts opts = opts_of(&image, 1);
	struct attrs given = {0}, old = {0}, got = {0};
	uint64_t before;

	must(attrs_set(&given, "host", "a"), "attrs_set");
	must(attrs_set(&given, "rack", "7"), "attrs_set");
	opts.attrs = &given;
	opts.old_attrs = &old;
	must(commit_run(store, &opts, &result, &err), "commit");
	is_int(old.n, 0, "a new layer has no older attributes");
	before = pack_bytes();
	must(commit_run(store, &opts, &result, &err), "commit");
	ok(result.existed && pack_bytes() == before, "the same again writes nothing");
	is_str(attrs_get(&old, "rack"), "7", "what there was is told");
	attrs_fini(&old);
	old = (struct attrs){0};
	attrs_fini(&given);
	given = (struct attrs){0};
	must(attrs_set(&given, "host", "b"), "attrs_set");
	must(attrs_set(&given, "zone", "x"), "attrs_set");
	must(commit_run(store, &opts, &result, &err), "commit");
	ok(result.existed, "the layer is there");
	is_str(attrs_get(&old, "host"), "a", "with what it had");
	must(attrs_load(store, &result.id, &got, &err), "attrs_load");
	is_str(attrs_get(&got, "host"), "b", "which is replaced");
	is_str(attrs_get(&got, "rack"), "7", "or stays");
	is_str(attrs_get(&got, "zone"), "x", "or is joined");
	is_str(attrs_get(&got, "lamina.fresh"), "1", "the counts are those of the first time");
	attrs_fini(&got);
	attrs_fini(&old);
	attrs_fini(&given);
}

static void test_attrs(void)
{
	struct commit_image image = {.name = "memfile", .path = make_file("a", 8192, 0, 60, 1)};
	struct commit_opts opts = opts_of(&image, 1);
	struct attrs given = {0}, got = {0};

	must(attrs_set(&given, "hypervisor", "qemu"), "attrs_set");
	opts.attrs = &given;
	opts.tag = "noted";
	must(commit_run(store, &opts, &result, &err), "commit");
	must(attrs_load(store, &result.id, &got, &err), "attrs_load");
	is_str(attrs_get(&got, "hypervisor"), "qemu", "what the caller said is kept");
	is_str(attrs_get(&got, "lamina.pages"), "2", "the pages are counted");
	is_str(attrs_get(&got, "lamina.zero"), "1", "zero");
	is_str(attrs_get(&got, "lamina.same"), "0", "same");
	is_str(attrs_get(&got, "lamina.known"), "0", "known");
	is_str(attrs_get(&got, "lamina.fresh"), "1", "fresh");
	is_str(attrs_get(&got, "lamina.frames_touched"), "1", "frames");
	is_str(attrs_get(&got, "lamina.read_bytes"), "4096", "bytes read");
	ok(attrs_get(&got, "lamina.stored_bytes") && attrs_get(&got, "lamina.seconds"),
	   "bytes stored and seconds are told");
	is_int(given.n, 1, "the caller's are left alone");
	attrs_fini(&got);
	attrs_fini(&given);
}

static void test_removed(void)
{
	const char *path = make_file("a", 8192, 0, 61, 1);
	struct digest id = commit_full(path, NULL);
	unsigned before = layers();

	must(decide_remove(store, &id, false, 0, &err), "decide_remove");
	is_int(layers(), before - 1, "a layer is removed");
	commit_full(path, NULL);
	ok(digest_equal(&id, &result.id) && !result.existed, "and committed again");
	is_int(result.total.fresh, 0, "its pages were still there");
	is_int(layers(), before, "it is back");
	ok(same_as(&id, "memfile", path), "and reads as it was");
}

/* ---- dry runs ---- */

static void test_dry_run(void)
{
	struct commit_image image = {.name = "memfile",
				     .path = make_file("dry", 1500 * PAGE_SIZE, 3, 5000, 700)};
	struct commit_opts opts = opts_of(&image, 1);
	uint64_t before = pack_bytes();
	unsigned shown = layers();
	struct commit_result dry;

	put_page(image.path, 1000, 5001);
	opts.dry_run = true;
	opts.tag = "never";
	is_int(commit_run(store, &opts, &dry, &err), 0, "a dry run");
	is_int(pack_bytes(), before, "appends nothing");
	is_int(layers(), shown, "publishes nothing");
	is_int(decide_tag_find(store, "never", &dry.id, NULL), -ENOENT, "and tags nothing");
	is_int(commit_run(store, &opts, &dry, &err), 0, "again");
	opts.dry_run = false;
	is_int(commit_run(store, &opts, &result, &err), 0, "the real one");
	ok(digest_equal(&dry.id, &result.id), "has the name that was foretold");
	ok(memcmp(&dry.total, &result.total, sizeof(dry.total)) == 0, "and the counts");
	ok(dry.stored_bytes > dry.total.stored_bytes && dry.stored_bytes <= result.stored_bytes,
	   "and about the bytes");
}

int main(void)
{
	struct digest child;

	must(digest_init(), "digest_init");
	store = make_store("store");
	test_first();
	test_again();
	test_child(&child);
	test_identity(&child);
	test_same_frames();
	test_holes();
	test_sizes();
	test_diff();
	test_dirty();
	test_resized();
	test_cut_tail();
	test_cut_to_zeros();
	test_images();
	test_attrs();
	test_more_attrs();
	test_removed();
	test_dry_run();
	store_close(store);
	return tap_done();
}
