/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a commit does where a pack was lost: nothing counts as known because it
 * once was there, and who commits his images again has them again.
 */
#include "store/pack-header.h"
#include "store/verify.h"
#include "tests/unit/commits.h"

#include <unistd.h>

#define PAGES 550u

static const char *path;
static struct digest lost;

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

static void test_same_again(size_t i)
{
	make(losses[i].name);
	is_int(commit_mode(path, INPUT_FULL, NULL), 0, "a pack is there: the same image again");
	ok(result.existed, "is there already");
	losses[i].lose();
	reopen();
	is_int(commit_mode(path, INPUT_FULL, NULL), 0, "a pack is %s", losses[i].what);
	is_counts(&result.total, 50, 0, 0, PAGES, "its pages are stored anew");
	ok(digest_equal(&result.id, &lost) && !result.existed, "the layer is made once more");
	is_int(layers(), 1, "instead of the one that lost them");
	reopen();
	ok(same_as(&lost, "memfile", path), "and can be read");
	store_close(store);
}

static void test_child(size_t i)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "%s-child", losses[i].name);
	make(name);
	losses[i].lose();
	reopen();
	put_page(path, 3, 7000);
	is_int(commit_mode(path, INPUT_DIFF, &lost), i == 0 ? -ENOENT : -EBADMSG,
	       "a diff needs its parent's pack");
	ok(strstr(err.text, losses[i].why) != NULL ? 1 : (tap_diag("%s", err.text), 0),
	   "which is %s", losses[i].what);
	is_int(commit_mode(path, INPUT_FULL, &lost), 0, "a whole image does not");
	is_counts(&result.total, 50, 0, 0, PAGES, "it is stored anew");
	reopen();
	ok(same_as(&result.id, "memfile", path), "and can be read");
	store_close(store);
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
	}
	test_hurt_header();
	return tap_done();
}
