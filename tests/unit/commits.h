/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * commits: sparse files of numbered pages, and commits of them into one store.
 * Content 0 of a page is zeros; any other number always gives the same bytes.
 */
#ifndef LAMINA_TESTS_UNIT_COMMITS_H
#define LAMINA_TESTS_UNIT_COMMITS_H

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
#include "tests/series.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct err err;
static struct store *store;
static struct commit_result result;

TAP_FN void must(int rc, const char *what)
{
	if (rc < 0)
		bail("%s: %s (%s)", what, err.text, strerror(-rc));
}

TAP_FN struct store *make_store(const char *name)
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

TAP_FN void put_page(const char *path, uint64_t pgno, uint32_t content)
{
	uint8_t page[PAGE_SIZE];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	series_page(content, page);
	if (fd < 0 || pwrite(fd, page, PAGE_SIZE, (off_t)(pgno * PAGE_SIZE)) != PAGE_SIZE)
		bail("cannot write '%s'", path);
	close(fd);
}

/* A sparse file of `size` bytes; n pages of content first, first + 1, ... at `pgno`. */
TAP_FN const char *make_file(const char *name, uint64_t size, uint64_t pgno, uint32_t first,
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
TAP_FN bool same_as(const struct digest *id, const char *image, const char *path)
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
		if (view_pread(view, got, sizeof(got), off, &err) != n ||
		    memcmp(got, want, (size_t)n) != 0)
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

TAP_FN struct commit_opts opts_of(const struct commit_image *images, size_t n)
{
	return (struct commit_opts){.images = images, .nimages = n, .threads = 2};
}

TAP_FN int commit_mode(const char *path, enum input_mode mode, const struct digest *parent)
{
	struct commit_image image = {.name = "memfile", .path = path, .mode = mode};
	struct commit_opts opts = opts_of(&image, 1);

	opts.parent = parent;
	return commit_run(store, &opts, &result, &err);
}

TAP_FN struct digest commit_full(const char *path, const struct digest *parent)
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

TAP_FN uint64_t pack_bytes(void)
{
	uint64_t len = 0, alloc, sum = 0;

	for (uint32_t pack = 1; packs_size(store->packs, pack, &len, &alloc) == 0; pack++)
		sum += len;
	return sum;
}

TAP_FN int count_one(void *ctx, const struct index_layer *l)
{
	(void)l;
	++*(unsigned *)ctx;
	return 0;
}

TAP_FN unsigned layers(void)
{
	unsigned n = 0;

	must(decide_layer_each(store, count_one, &n, &err), "decide_layer_each");
	return n;
}

TAP_FN uint64_t frame_of(const struct digest *id, uint64_t frame)
{
	struct layer *layer = NULL;
	uint64_t fid;

	must(layer_open(store, id, &layer, &err), "layer_open");
	fid = runs_at(&layer_image(layer, "memfile")->frames, frame);
	layer_unref(layer);
	return fid;
}

#endif
