/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a commit does where a pack was lost: nothing counts as known because it
 * once was there, and who commits his images again has them again.
 */
#include "store/base/fmt.h"
#include "store/pack-header.h"
#include "store/verify.h"
#include "tests/unit/commits.h"

#include <unistd.h>

#define PAGES 550u

static const char *path;
static struct digest lost, neighbour;

static const char *pack_path(uint32_t pack)
{
	static char name[PATH_MAX];

	(void)snprintf(name, sizeof(name), "%s/packs/%08x.pack", store->path, pack);
	return name;
}

/* Another process: no file is open and no row is cached. */
static void reopen(void)
{
	static char where[PATH_MAX];

	(void)snprintf(where, sizeof(where), "%s", store->path);
	store_close(store);
	must(store_open(where, NULL, &store, &err), "store_open");
}

/* A store with one layer, all in pack 1. */
static void make(const char *name)
{
	store = make_store(name);
	path = make_file("image", 600 * PAGE_SIZE, 0, 1, PAGES);
	lost = commit_full(path, NULL);
	reopen();
}

/* The next layer, of another guest, is in pack 2. */
static void make_neighbour(void)
{
	struct index_pack row;

	must(index_pack_get(store->index, 1, &row, &err), "index_pack_get");
	row.sealed = true;
	must(index_pack_put(store->index, &row, &err), "index_pack_put");
	neighbour = commit_full(make_file("other", 20 * PAGE_SIZE, 0, 9000, 20), NULL);
	is_int(access(pack_path(2), F_OK), 0, "another layer has a pack of its own");
	reopen();
}

static uint64_t faults(void)
{
	struct verify_opts opts = {.deep = true};
	struct verify_result r;

	must(verify_run(store, &opts, &r, &err), "verify");
	return r.faults;
}

static void lose_file(void)
{
	if (unlink(pack_path(1)) < 0)
		bail("unlink");
}

static void lose_end(void)
{
	uint64_t len, alloc;

	must(packs_size(store->packs, 1, &len, &alloc), "packs_size");
	if (truncate(pack_path(1), (off_t)len - 1) < 0)
		bail("truncate");
}

static void write_at(uint32_t pack, uint64_t off, const void *bytes, size_t len)
{
	int fd = open(pack_path(pack), O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, bytes, len, (off_t)off) != (ssize_t)len)
		bail("cannot write '%s'", pack_path(pack));
	close(fd);
}

static void make_foreign(void)
{
	struct pack_header h = {.number = 1, .uuid = "another store's", .params = store->params};
	uint8_t bytes[PACK_HEADER_LEN];

	pack_header_encode(&h, bytes);
	write_at(1, 0, bytes, sizeof(bytes));
}

static const struct {
	const char *name;
	const char *what;
	const char *why;
	void (*lose)(void);
} losses[] = {
	{"gone", "missing", "cannot look at pack 00000001: No such file or directory", lose_file},
	{"short", "cut short", "pack 00000001 ends before byte", lose_end},
	{"foreign", "another store's", "pack 00000001 belongs to another store", make_foreign},
};
#define LOSSES (sizeof(losses) / sizeof(losses[0]))

static bool dry_run;

static int commit_image(const char *name, const char *file, const struct digest *parent)
{
	struct commit_image image = {.name = name, .path = file};
	struct commit_opts opts = opts_of(&image, 1);

	opts.parent = parent;
	opts.dry_run = dry_run;
	return commit_run(store, &opts, &result, &err);
}

/* Whether the sentence names the image of the layer that lost its pack, and the way out. */
static bool tells(const struct digest *id, const char *why)
{
	char hex[DIGEST_HEX_LEN], what[80];
	bool all;

	(void)snprintf(what, sizeof(what), "image 'memfile' of layer %.12s would be inherited",
		       fmt_hex(hex, id->b, DIGEST_LEN));
	all = strstr(err.text, what) && strstr(err.text, why) &&
	      strstr(err.text, "'lamina verify'") && strstr(err.text, "'lamina recover'");

	if (!all)
		tap_diag("%s", err.text);
	return all;
}

static void test_same_again(size_t i)
{
	make(losses[i].name);
	make_neighbour();
	is_int(commit_mode(path, INPUT_FULL, NULL), 0, "a pack is there: the same image again");
	ok(result.existed, "is there already");
	losses[i].lose();
	reopen();
	is_int(commit_mode(path, INPUT_FULL, NULL), 0, "a pack is %s", losses[i].what);
	is_counts(&result.total, 50, 0, 0, PAGES, "its pages are stored anew");
	ok(digest_equal(&result.id, &lost) && !result.existed, "the layer is made once more");
	is_int(layers(), 2, "instead of the one that lost them");
	reopen();
	ok(same_as(&lost, "memfile", path), "and can be read");
	store_close(store);
}

/* What was said of a layer is not lost with its pages. */
static void test_attributes(void)
{
	struct commit_image image = {.name = "memfile"};
	struct attrs first = {0}, second = {0}, got = {0};
	struct commit_opts opts = opts_of(&image, 1);

	make("attributes");
	image.path = path;
	must(attrs_set(&first, "host", "a"), "attrs_set");
	must(attrs_set(&first, "rack", "7"), "attrs_set");
	must(attrs_set(&second, "host", "b"), "attrs_set");
	opts.attrs = &first;
	must(commit_run(store, &opts, &result, &err), "commit");
	lose_file();
	reopen();
	opts.attrs = &second;
	must(commit_run(store, &opts, &result, &err), "commit");
	ok(!result.existed, "a layer that has lost its pack is made once more");
	must(attrs_load(store, &result.id, &got, &err), "attrs_load");
	is_str(attrs_get(&got, "rack"), "7", "what was said of it stays");
	is_str(attrs_get(&got, "host"), "b", "unless it is said anew");
	attrs_fini(&got);
	attrs_fini(&first);
	attrs_fini(&second);
	store_close(store);
}

static void test_child(size_t i)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "%s-child", losses[i].name);
	make(name);
	make_neighbour();
	losses[i].lose();
	reopen();
	put_page(path, 3, 7000);
	is_int(commit_mode(path, INPUT_DIFF, &lost), -EBADMSG, "a diff needs its parent's pack");
	ok(tells(&lost, losses[i].why), "which is %s", losses[i].what);
	is_int(commit_mode(path, INPUT_FULL, &lost), 0, "a whole image does not");
	is_counts(&result.total, 50, 0, 0, PAGES, "it is stored anew");
	reopen();
	ok(same_as(&result.id, "memfile", path), "and can be read");
	store_close(store);
}

/* What is not given is the parent's, and nobody would have looked at it. */
static void test_inherited(size_t i)
{
	const char *small = make_file("small", 2 * PAGE_SIZE, 0, 8000, 2);
	char name[32];

	(void)snprintf(name, sizeof(name), "%s-inherited", losses[i].name);
	make(name);
	make_neighbour();
	is_int(commit_image("state", small, &lost), 0, "a pack is there: the memfile is inherited");
	losses[i].lose();
	reopen();
	is_int(commit_image("state", small, &lost), -EBADMSG, "not from a pack that is %s",
	       losses[i].what);
	ok(tells(&lost, losses[i].why), "and the sentence says which image of which layer");
	dry_run = true;
	is_int(commit_image("state", small, &lost), -EBADMSG, "a dry run says the same");
	dry_run = false;
	is_int(layers(), 3, "nothing was published");
	is_int(commit_image("state", small, &neighbour), 0,
	       "the image of another layer is not hurt");
	is_int(commit_image("memfile", path, &lost), 0, "nor does who gives all images inherit");
	reopen();
	ok(same_as(&result.id, "memfile", path), "which can be read");
	store_close(store);
}

/* More packs than frames: only those that the image reaches are looked at. */
static void test_many_packs(void)
{
	const char *small = make_file("small", 2 * PAGE_SIZE, 0, 8000, 2);

	make("many");
	make_neighbour();
	lose_file();
	reopen();
	is_int(commit_image("state", small, &neighbour), 0, "one frame, two packs");
	if (unlink(pack_path(2)) < 0)
		bail("unlink");
	reopen();
	is_int(commit_image("state", make_file("tiny", PAGE_SIZE, 0, 8900, 1), &neighbour),
	       -EBADMSG, "and its own is gone");
	ok(tells(&neighbour, "cannot look at pack 00000002: No such file or directory"),
	   "which the sentence says");
	store_close(store);
}

/* The frame of zeros is in no pack. */
static void test_zeros(void)
{
	const char *small = make_file("small", 2 * PAGE_SIZE, 0, 8000, 2);
	struct digest zeros;

	make("zeros");
	zeros = commit_full(make_file("holes", 600 * PAGE_SIZE, 0, 0, 0), NULL);
	lose_file();
	reopen();
	is_int(commit_image("state", small, &zeros), 0, "an image of zeros needs no pack");
	store_close(store);
}

/* A diff that is shorter than its parent leaves what is behind its end. */
static void test_short_diff(void)
{
	const char *small = make_file("small", 2 * PAGE_SIZE, 0, 8000, 2);
	const char *wide = make_file("wide", 1024 * PAGE_SIZE, 512, 8100, 2);
	struct digest parent;

	make("short-diff");
	parent = commit_full(wide, NULL);
	lose_file();
	reopen();
	is_int(commit_mode(wide, INPUT_DIFF, &parent), -EBADMSG, "a diff of all its parent");
	is_int(commit_mode(small, INPUT_DIFF, &parent), 0, "one that ends before what is lost");
	is_counts(&result.total, 0, 0, 0, 2, "is stored");
	store_close(store);
}

/* All packs of the store name another one: it is the index that is wrong. */
static void test_foreign_index(void)
{
	static const char *const all = "index.db and the packs of '";
	char where[PATH_MAX];

	make("foreign-index");
	make_foreign();
	(void)snprintf(where, sizeof(where), "%s", store->path);
	store_close(store);
	is_int(store_open(where, NULL, &store, &err), -EBADMSG, "an index of another store");
	ok(strncmp(err.text, all, strlen(all)) == 0 && strstr(err.text, "lamina recover"),
	   "is told from one that is too old");
}

/* One flipped bit of the header hurts no page, so nothing is stored anew. */
static void test_hurt_header(void)
{
	struct digest child;

	make("header");
	write_at(1, 21, "\1", 1);
	reopen();
	ok(same_as(&lost, "memfile", path), "a bit of the header: all is read");
	ok(faults() > 0, "verify tells of it");
	is_int(commit_mode(path, INPUT_FULL, NULL), 0, "the same image again");
	ok(result.existed, "is there already");
	put_page(path, 3, 7001);
	is_int(commit_mode(path, INPUT_FULL, &lost), 0, "one with a new page");
	child = result.id;
	is_counts(&result.total, 50, PAGES - 1, 0, 1, "has one to store");
	is_int(access(pack_path(2), F_OK), 0, "which goes to another pack");
	reopen();
	ok(same_as(&child, "memfile", path), "and it can be read");
	write_at(1, 21, "\0", 1);
	reopen();
	is_int(faults(), 0, "with that bit flipped back nothing is damaged");
	store_close(store);
}

int main(void)
{
	must(digest_init(), "digest_init");
	for (size_t i = 0; i < LOSSES; i++) {
		test_same_again(i);
		test_child(i);
		test_inherited(i);
	}
	test_attributes();
	test_many_packs();
	test_zeros();
	test_short_diff();
	test_foreign_index();
	test_hurt_header();
	return tap_done();
}
