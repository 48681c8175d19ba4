/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Figures of layers whose every page is known. */
#include "store/usage.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "store/commit.h"
#include "store/decide.h"
#include "store/index.h"
#include "store/store.h"
#include "tests/fault.h"
#include "tests/tap.h"

#define PAGES(n) ((uint64_t)(n) * PAGE_SIZE)

static struct err err;
static struct store *store;

/* `n` pages from page `pgno` on, different for every seed and place. */
static void write_pages(const char *name, uint64_t pgno, unsigned n, unsigned seed)
{
	int fd = open(tap_path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	uint32_t page[PAGE_SIZE / 4];
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (unsigned i = 0; i < n; i++) {
		for (size_t j = 0; j < PAGE_SIZE / 4; j++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			page[j] = (uint32_t)x & 0xffff;
		}
		if (pwrite(fd, page, sizeof(page), (off_t)PAGES(pgno + i)) != PAGE_SIZE)
			bail("cannot write '%s'", name);
	}
	close(fd);
}

static struct digest commit(const char *file, uint64_t pages, const struct digest *parent)
{
	struct commit_image image = {.name = "memfile", .path = tap_path(file)};
	struct commit_opts opts = {.images = &image, .nimages = 1, .parent = parent};
	struct commit_result res;

	if (truncate(tap_path(file), (off_t)PAGES(pages)) < 0 ||
	    commit_run(store, &opts, &res, &err) < 0)
		bail("cannot commit: %s", err.text);
	return res.id;
}

static struct usage usage(void)
{
	struct usage u = {.layers = 99};

	is_int(usage_store(store, &u, &err), 0, "usage");
	return u;
}

static off_t file_size(const char *name)
{
	struct stat st;

	return stat(tap_path(name), &st) < 0 ? 0 : st.st_size;
}

static void test_empty(void)
{
	struct usage u = usage();
	struct usage_layer *layers = NULL;
	size_t n = 9;

	ok(u.layers == 0 && u.packs == 0 && u.stored == 0 && u.dead == 0 && u.chunks == 0,
	   "an empty store has nothing");
	is_int(u.index, file_size("s/index.db") + file_size("s/index.db-wal"), "but an index");
	is_int(usage_layers(store, &layers, &n, &err), 0, "layers");
	is_int(n, 0, "none");
	free(layers);
}

/* 100 pages of their own, then a generation with ten of them changed. */
static struct digest a, b;

static void test_two_layers(void)
{
	struct usage u;

	write_pages("mem", 10, 100, 1);
	a = commit("mem", 1024, NULL);
	write_pages("mem", 50, 10, 2);
	b = commit("mem", 1024, &a);
	if (decide_tag(store, "web", &b, 0, &err) < 0)
		bail("%s", err.text);
	u = usage();
	is_int(u.layers, 2, "two layers");
	is_int(u.tags, 1, "a tag");
	is_int(u.removed, 0, "none removed");
	is_int(u.packs, 1, "one pack");
	is_int(u.frames, 2, "two frames that are not all zeros");
	is_int(u.logical, PAGES(2 * 1024), "their sizes");
	is_int(u.data, PAGES(200), "of which this is data");
	is_int(u.distinct, PAGES(110), "and this different");
	is_int(u.stored, file_size("s/packs/00000001.pack"), "what is on disk");
	is_int(u.chunk_bytes + u.digest_bytes + u.map_bytes + PACK_HEADER_LEN, u.stored,
	       "is chunks, lists and maps");
	is_int(u.digest_bytes >= 110 * 32 && u.digest_bytes < 110 * 32 + 200, 1,
	       "a digest for each page: %llu", (unsigned long long)u.digest_bytes);
	ok(u.chunk_bytes > PAGES(110) / 3 && u.chunk_bytes < PAGES(110), "the rest compressed");
	ok(u.dead < 200, "nothing of it is dead: %llu", (unsigned long long)u.dead);
	ok(u.segs >= 1 && u.chunks >= 110 / 8, "segments and chunks are counted");
}

static struct usage_layer *find(struct usage_layer *list, size_t n, const struct digest *id)
{
	for (size_t i = 0; i < n; i++)
		if (digest_equal(&list[i].id, id))
			return &list[i];
	bail("a layer is missing");
}

static void test_exclusive(void)
{
	struct usage_layer *list = NULL, *x;
	size_t n = 0;

	is_int(usage_layers(store, &list, &n, &err), 0, "layers");
	is_int(n, 2, "two");
	ok(digest_equal(&list[0].id, &a) && digest_equal(&list[1].id, &b), "oldest first");
	for (size_t i = 0; i < n; i++) {
		x = &list[i];
		is_int(x->logical, PAGES(1024), "size of layer %zu", i);
		is_int(x->data, PAGES(100), "data");
		is_int(x->exclusive, PAGES(10), "of its own");
		is_int(x->shared, PAGES(90), "and shared");
		ok(x->exclusive_stored > PAGES(10) / 3 && x->exclusive_stored < PAGES(10),
		   "what its removal would free: %llu", (unsigned long long)x->exclusive_stored);
	}
	free(list);
}

/* A third layer with one frame of a's and a frame in which all pages are alike. */
static void test_three_layers(void)
{
	struct usage_layer *list = NULL, *x;
	struct digest c;
	size_t n = 0;

	write_pages("third", 10, 100, 1);
	for (unsigned i = 0; i < 50; i++)
		write_pages("third", 600 + i, 1, 3);
	c = commit("third", 1024, NULL);
	is_int(usage_layers(store, &list, &n, &err), 0, "layers");
	is_int(n, 3, "three");
	x = find(list, n, &a);
	is_int(x->exclusive, 0, "the first has nothing of its own any more");
	is_int(x->exclusive_stored, 0, "and frees nothing");
	is_int(x->shared, PAGES(100), "all is shared");
	x = find(list, n, &b);
	is_int(x->exclusive, PAGES(10), "the second still has");
	x = find(list, n, &c);
	is_int(x->data, PAGES(150), "the third has data");
	is_int(x->exclusive, PAGES(50), "of its own, as often as it is there");
	is_int(x->shared, PAGES(100), "and shared");
	ok(x->exclusive_stored > 0 && x->exclusive_stored < PAGES(1),
	   "but it is stored once: %llu", (unsigned long long)x->exclusive_stored);
	free(list);
	if (decide_remove(store, &c, false, 0, &err) < 0)
		bail("%s", err.text);
}

static void test_dead(void)
{
	struct usage u;

	if (decide_remove(store, &b, true, 0, &err) < 0)
		bail("%s", err.text);
	u = usage();
	is_int(u.layers, 1, "one layer is left");
	is_int(u.removed, 2, "two were removed");
	is_int(u.tags, 0, "a tag went with it");
	is_int(u.distinct, PAGES(100), "what is left");
	ok(u.dead > PAGES(11) / 3 && u.dead < PAGES(12), "what gc --repack would free: %llu",
	   (unsigned long long)u.dead);
}

static void test_no_memory(void)
{
	struct usage u = {.layers = 99};
	struct usage_layer *list = NULL;
	size_t n;
	int failed = 0;

	for (unsigned long i = 1; i < 60; i++) {
		int rc;

		fault_arm(FAULT_MALLOC, i, ENOMEM);
		rc = i % 2 ? usage_store(store, &u, &err) : usage_layers(store, &list, &n, &err);
		fault_disarm();
		failed += rc < 0;
		if (rc < 0 && rc != -ENOMEM)
			ok(false, "allocation %lu: %s", i, err.text);
		free(list);
		list = NULL;
	}
	ok(failed > 3, "%d allocations failed and said so", failed);
	is_int(usage_store(store, &u, &err), 0, "and then it works");
}

int main(void)
{
	struct store_params params;

	store_params_default(&params);
	if (store_init(tap_path("s"), &params, &err) < 0 ||
	    store_open(tap_path("s"), NULL, &store, &err) < 0)
		bail("no store: %s", err.text);
	test_empty();
	test_two_layers();
	test_exclusive();
	test_three_layers();
	test_dead();
	test_no_memory();
	store_close(store);
	return tap_done();
}
