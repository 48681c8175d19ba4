/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/commit.h"
#include "store/base/io.h"
#include "store/decide.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/pack.h"
#include "store/seg.h"
#include "store/store.h"
#include "store/view.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define PAGES_MAX 2048u

static struct err err;
static struct store *store;
static struct commit_result result;

static void must(int rc, const char *what)
{
	if (rc < 0)
		bail("%s: %s (%s)", what, err.text, strerror(-rc));
}

static struct store *make_store(const char *name)
{
	struct store_params params;
	struct store *s = NULL;

	store_params_default(&params);
	params.chunk_pages[IMAGE_MEMFILE] = 4;
	must(store_init(tap_path(name), &params, &err), "store_init");
	must(store_open(tap_path(name), NULL, &s, &err), "store_open");
	return s;
}

/* ---- files ---- */

/* Content 0 is zeros, any other number always the same half text, half noise. */
static void fill_page(uint32_t content, uint8_t page[PAGE_SIZE])
{
	uint64_t x = content * UINT64_C(0x9e3779b97f4a7c15);

	memset(page, content ? 'a' : 0, PAGE_SIZE);
	for (size_t i = 0; content && i < PAGE_SIZE; i += 2 * sizeof(x)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(page + i, &x, sizeof(x));
	}
}

static void put_page(const char *path, uint64_t pgno, uint32_t content)
{
	uint8_t page[PAGE_SIZE];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	fill_page(content, page);
	if (fd < 0 || pwrite(fd, page, PAGE_SIZE, (off_t)(pgno * PAGE_SIZE)) != PAGE_SIZE)
		bail("cannot write '%s'", path);
	close(fd);
}

/* A sparse file of `size` bytes; n pages of content first, first + 1, ... at `pgno`. */
static const char *make_file(const char *name, uint64_t size, uint64_t pgno, uint32_t first,
			     unsigned n)
{
	const char *path = tap_path(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		bail("cannot make '%s'", path);
	for (unsigned i = 0; i < n; i++)
		put_page(path, pgno + i, first + i);
	if (ftruncate(fd, (off_t)size) < 0)
		bail("cannot cut '%s'", path);
	close(fd);
	return path;
}

/* Whether the layer's image is byte for byte the file. */
static bool same_as(const struct digest *id, const char *image, const char *path)
{
	static uint8_t want[1 << 20], got[1 << 20];
	struct layer *layer = NULL;
	struct view *view = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t off = 0;
	ssize_t n;
	bool same;

	must(layer_open(store, id, &layer, &err), "layer_open");
	must(view_open(store, layer, image, &view, &err), "view_open");
	while ((n = io_pread(fd, want, sizeof(want), off)) > 0) {
		if (view_pread(view, got, sizeof(got), off, &err) != n || memcmp(got, want, (size_t)n))
			break;
		off += (uint64_t)n;
	}
	same = n == 0 && view_size(view) == off;
	if (!same)
		tap_diag("'%s' differs at %llu", path, (unsigned long long)off);
	view_close(view);
	layer_unref(layer);
	close(fd);
	return same;
}

/* ---- commits ---- */

static struct commit_opts opts_of(const struct commit_image *images, size_t n)
{
	return (struct commit_opts){.images = images, .nimages = n, .threads = 2};
}

static int commit_mode(const char *path, enum input_mode mode, const struct digest *parent)
{
	struct commit_image image = {.name = "memfile", .path = path, .mode = mode};
	struct commit_opts opts = opts_of(&image, 1);

	opts.parent = parent;
	return commit_run(store, &opts, &result, &err);
}

static struct digest commit_full(const char *path, const struct digest *parent)
{
	must(commit_mode(path, INPUT_FULL, parent), "commit");
	return result.id;
}

#define is_counts(c, zero_, same_, known_, fresh_, ...)				\
	ok((c)->zero == (zero_) && (c)->same == (same_) && (c)->known == (known_) && \
	   (c)->fresh == (fresh_) ? 1 :						\
	   (tap_diag("zero %llu same %llu known %llu fresh %llu",		\
		     (unsigned long long)(c)->zero, (unsigned long long)(c)->same, \
		     (unsigned long long)(c)->known, (unsigned long long)(c)->fresh), 0), \
	   __VA_ARGS__)

static uint64_t pack_bytes(void)
{
	uint64_t len = 0, alloc, sum = 0;

	for (uint32_t pack = 1; packs_size(store->packs, pack, &len, &alloc) == 0; pack++)
		sum += len;
	return sum;
}

static int count_one(void *ctx, const struct index_layer *l)
{
	(void)l;
	++*(unsigned *)ctx;
	return 0;
}

static unsigned layers(void)
{
	unsigned n = 0;

	must(decide_layer_each(store, count_one, &n, &err), "decide_layer_each");
	return n;
}

static uint64_t frame_of(const struct digest *id, uint64_t frame)
{
	struct layer *layer = NULL;
	uint64_t fid;

	must(layer_open(store, id, &layer, &err), "layer_open");
	fid = runs_at(&layer_image(layer, "memfile")->frames, frame);
	layer_unref(layer);
	return fid;
}

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

/* ---- refusals ---- */

static void refused(const struct commit_opts *opts, int want, const char *sentence)
{
	struct commit_result r = {.nimages = 77};
	int rc = commit_run(store, opts, &r, &err);

	is_err(rc, &err, want, "%s", sentence);
	ok(r.nimages == 77, "the output is untouched");
}

static void test_refusals(void)
{
	const char *path = make_file("a", 8192, 0, 62, 1);
	struct commit_image images[2] = {{.name = "memfile", .path = path},
					 {.name = "memfile", .path = path}};
	struct commit_opts opts = opts_of(images, 0);
	struct digest nowhere = {{1}}, parent;
	static struct commit_image many[IMAGES_MAX + 1];

	refused(&opts, -EINVAL, "there is no image to commit");
	opts.nimages = 2;
	refused(&opts, -EINVAL, "image 'memfile' is given twice");
	images[1].name = "../etc";
	refused(&opts, -EINVAL, "bad image name '../etc'");
	opts.images = many;
	opts.nimages = IMAGES_MAX + 1;
	refused(&opts, -EINVAL, "a layer has at most 64 images");
	opts = opts_of(images, 1);
	opts.tag = "no/slash";
	refused(&opts, -EINVAL, "bad tag name 'no/slash'");
	opts.tag = NULL;
	images[0].mode = INPUT_DIFF;
	refused(&opts, -EINVAL, "image 'memfile' is a diff, but no parent is given");
	opts.parent = &nowhere;
	is_int(commit_run(store, &opts, &result, &err), -ENOENT, "a parent that is not there");
	ok(strstr(err.text, "cannot commit upon this parent: "), "it says what it was for");
	parent = commit_full(path, NULL);
	opts.parent = &parent;
	images[0].name = "rootfs";
	refused(&opts, -EINVAL, "image 'rootfs' is a diff, but the parent has no such image");
}

static void test_bad_input(void)
{
	struct commit_image image = {.name = "memfile", .path = tap_tmpdir()};
	struct commit_opts opts = opts_of(&image, 1);
	char want[PATH_MAX + 64];

	(void)snprintf(want, sizeof(want), "'%s' is a directory", tap_tmpdir());
	refused(&opts, -EISDIR, want);
}

static void test_too_many(void)
{
	static struct commit_image images[IMAGES_MAX];
	static char names[IMAGES_MAX][8];
	const char *path = make_file("a", 100, 0, 62, 1);
	struct commit_opts opts = opts_of(images, IMAGES_MAX);
	struct digest parent;

	for (unsigned i = 0; i < IMAGES_MAX; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "d%u", i);
		images[i] = (struct commit_image){.name = names[i], .path = path};
	}
	is_int(commit_run(store, &opts, &result, &err), 0, "as many images as there may be");
	parent = result.id;
	images[0].name = "one-more";
	opts.nimages = 1;
	opts.parent = &parent;
	refused(&opts, -EINVAL, "a layer has at most 64 images");
}

static void test_lock(void)
{
	struct commit_image image = {.name = "memfile", .path = make_file("a", 100, 0, 62, 1)};
	struct commit_opts opts = opts_of(&image, 1);
	int fd = openat(store->dirfd, "lock", O_RDWR | O_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		bail("flock");
	is_int(commit_run(store, &opts, &result, &err), -EBUSY, "while another one writes");
	close(fd);
	is_int(commit_run(store, &opts, &result, &err), 0, "and afterwards");
}

/* ---- what happens on the way ---- */

struct teller {
	const char *path;
	unsigned calls;
	uint64_t done, total;
	enum { COUNT, CANCEL, TOUCH, SHRINK } act;
};

static int told(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	struct teller *t = ctx;

	t->calls++;
	if (strcmp(what, "memfile") != 0 || done < t->done || done > total)
		t->calls = UINT32_MAX / 2;
	t->done = done;
	t->total = total;
	if (t->act == TOUCH)
		put_page(t->path, 0, 12345);
	if (t->act == SHRINK && truncate(t->path, 100) < 0)
		bail("truncate");
	return t->act == CANCEL;
}

/* 20 MiB: enough to be told of. */
static const char *large_file(void)
{
	return make_file("large", 5500 * PAGE_SIZE, 100, 100000, 5200);
}

static int commit_told(struct teller *t, int act)
{
	struct commit_image image = {.name = "memfile", .path = t->path};
	struct commit_opts opts = opts_of(&image, 1);

	*t = (struct teller){.path = t->path, .act = act};
	opts.progress = (struct progress){.fn = told, .ctx = t};
	return commit_run(store, &opts, &result, &err);
}

static void test_progress(void)
{
	struct teller t = {.path = large_file()};
	uint64_t before = pack_bytes();
	unsigned shown = layers();

	is_err(commit_told(&t, CANCEL), &err, -ECANCELED, "the commit was cancelled");
	is_int(t.calls, 1, "after the first no");
	is_int(pack_bytes(), before, "nothing is left in the packs");
	is_int(layers(), shown, "nothing is shown");
	is_err(commit_told(&t, TOUCH), &err, -ESTALE, "'%s' changed while it was read", t.path);
	is_int(pack_bytes(), before, "nothing is left of a file that changed");
	t.path = large_file();
	is_int(commit_told(&t, SHRINK), -ESTALE, "a file that shrinks is refused");
	ok(strstr(err.text, "while it was read"), "with a sentence");
	is_int(pack_bytes(), before, "nothing is left of it");
	is_int(layers(), shown, "nor shown");
	t.path = large_file();
	is_int(commit_told(&t, COUNT), 0, "one that stays as it is is committed");
	ok(t.calls >= 2 && t.calls < 100, "and told of now and then");
	ok(t.total >= 5200 * PAGE_SIZE && t.total < 5600 * PAGE_SIZE, "with what there is to do");
	ok(same_as(&result.id, "memfile", t.path), "it reads as it was");
}

static void test_full_disk(void)
{
	const char *path = make_file("full", 3000 * PAGE_SIZE, 0, 200000, 2500);
	uint64_t before = pack_bytes();

	fault_arm_from(FAULT_PWRITE, 2, ENOSPC);
	is_err(commit_mode(path, INPUT_FULL, NULL), &err, -ENOSPC,
	       "cannot write pack 00000001: No space left on device");
	fault_disarm();
	is_int(pack_bytes(), before, "the pack is cut back");
	is_int(commit_mode(path, INPUT_FULL, NULL), 0, "with room again it works");
	ok(same_as(&result.id, "memfile", path), "and reads as it was");
}

static void test_bad_sector(void)
{
	const char *path = make_file("full", 3000 * PAGE_SIZE, 0, 300000, 100);
	uint64_t before = pack_bytes();
	int rc = 0;

	/* The pack is looked at before the input is. */
	for (unsigned n = 1; n < 10 && !(rc == -EIO && strstr(err.text, path)); n++) {
		fault_arm(FAULT_PREAD, n, EIO);
		rc = commit_mode(path, INPUT_FULL, NULL);
	}
	fault_disarm();
	is_err(rc, &err, -EIO, "cannot read '%s' at offset 0: Input/output error", path);
	is_int(pack_bytes(), before, "nothing is left");
}

/* ---- a parent that is damaged ---- */

static void flip(uint32_t pack, uint64_t off)
{
	char name[32];
	uint8_t byte;
	int fd;

	(void)snprintf(name, sizeof(name), "packs/%08x.pack", pack);
	fd = openat(store->dirfd, name, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &byte, 1, (off_t)off) != 1)
		bail("flip");
	byte ^= 4;
	if (pwrite(fd, &byte, 1, (off_t)off) != 1)
		bail("flip");
	close(fd);
}

static void test_damaged_parent(void)
{
	const char *path = make_file("whole", 600 * PAGE_SIZE, 0, 400000, 550);
	struct digest parent = commit_full(path, NULL);
	struct layer *layer = NULL;
	const struct frame *frame;
	struct cache_entry *entry;
	struct seg *seg = NULL;

	must(layer_open(store, &parent, &layer, &err), "layer_open");
	must(frame_get(store, runs_at(&layer->image[0].frames, 0), &entry, &frame, &err), "frame");
	must(seg_get(store, frame->map.v[0].addr, &seg, &err), "seg_get");
	flip(seg->pack, seg->dig_off + 4000);
	put_page(path, 5, 5);
	is_int(commit_mode(path, INPUT_DIFF, &parent), -EBADMSG, "a diff needs its parent");
	ok(strstr(err.text, "parent of image 'memfile': the digests of segment"), "it says why");
	is_int(commit_mode(path, INPUT_FULL, &parent), 0, "a whole image does not");
	/* The second frame is found by its digest, which is not in that list. */
	is_counts(&result.total, 50, 0, 38, 512, "what cannot be told from new is stored again");
	is_int(result.total.frames_touched, 2, "as if it were new");
	ok(same_as(&result.id, "memfile", path), "and reads as it was");
	flip(seg->pack, seg->dig_off + 4000);
	seg_unref(seg);
	frame_put(store, entry);
	layer_unref(layer);
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
	test_sizes();
	test_diff();
	test_dirty();
	test_resized();
	test_cut_tail();
	test_images();
	test_attrs();
	test_removed();
	test_dry_run();
	test_refusals();
	test_bad_input();
	test_too_many();
	test_lock();
	test_progress();
	test_full_disk();
	test_bad_sector();
	test_damaged_parent();
	store_close(store);
	return tap_done();
}
