/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a commit refuses, and what it leaves when it fails on the way: nothing. */
#include "tests/fault.h"
#include "tests/unit/commits.h"

#include <sys/file.h>

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

static int told(void *ctx, const char *what, enum progress_unit unit, uint64_t done,
		uint64_t total)
{
	struct teller *t = ctx;

	t->calls++;
	if (strcmp(what, "memfile") != 0 || unit != PROGRESS_BYTES || done < t->done ||
	    done > total)
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
	uint64_t before = 0;
	int rc = 0;

	/* The pack is looked at before the input is; some of these looks may fail. */
	for (unsigned n = 1; n < 10 && !(rc == -EIO && strstr(err.text, path)); n++) {
		before = pack_bytes();
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
	path = make_file("zeros", 600 * PAGE_SIZE, 0, 0, 1);
	put_page(path, 600 - 1, 0);
	is_int(commit_mode(path, INPUT_FULL, &parent), 0, "an image of zeros does not either");
	ok(same_as(&result.id, "memfile", path), "and is zeros");
	flip(seg->pack, seg->dig_off + 4000);
	seg_unref(seg);
	frame_put(store, entry);
	layer_unref(layer);
}

int main(void)
{
	must(digest_init(), "digest_init");
	store = make_store("store");
	commit_full(make_file("first", 2000 * PAGE_SIZE, 10, 1, 100), NULL);
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
