/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-fixture: a live image that is written to through its deltas, as live.c does, and
 * beside each of its images a plain file that has what it must read as.
 */
#ifndef LAMINA_TESTS_UNIT_LIVE_FIXTURE_H
#define LAMINA_TESTS_UNIT_LIVE_FIXTURE_H

#include "store/attrs.h"
#include "store/delta.h"
#include "store/live-commit.h"
#include "store/live-row.h"
#include "store/live.h"
#include "tests/unit/commits.h"

#define MEMFILE 0
#define ROOTFS 1

struct lively {
	const char *name;
	uint64_t seq;			/* that is written to */
	unsigned nimages;
	const char *image[2];
	struct delta *delta[2];
	char want[2][PATH_MAX];
};

TAP_FN int lively_dir(const struct lively *v, uint64_t seq)
{
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/live/%s/%llu", store->path, v->name,
		       (unsigned long long)seq);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		bail("cannot open '%s'", path);
	return fd;
}

TAP_FN void lively_open(struct lively *v)
{
	int dirfd = lively_dir(v, v->seq);

	for (unsigned i = 0; i < v->nimages; i++) {
		struct delta_place place = {store, dirfd, v->image[i], v->seq};

		must(delta_open(&place, 0, &v->delta[i], &err), "delta_open");
	}
	close(dirfd);
}

TAP_FN void lively_close(struct lively *v)
{
	for (unsigned i = 0; i < v->nimages; i++) {
		must(delta_sync(v->delta[i], &err), "delta_sync");
		delta_unref(v->delta[i]);
	}
}

/* The file of what image i must be; empty, or the layer's image of that name. */
TAP_FN void lively_want(struct lively *v, unsigned i, const struct digest *from, uint64_t size)
{
	struct layer *layer = NULL;
	struct view *view = NULL;
	static uint8_t buf[4 << 20];
	char file[64];
	int64_t n = 0;

	(void)snprintf(file, sizeof(file), "want-%s-%s", v->name, v->image[i]);
	(void)snprintf(v->want[i], sizeof(v->want[i]), "%s", make_file(file, 0, 0, 0, 0));
	if (from)
		must(layer_open(store, from, &layer, &err), "layer_open");
	if (layer && layer_image(layer, v->image[i])) {
		int fd = open(v->want[i], O_WRONLY | O_CLOEXEC);

		must(view_open(store, layer, v->image[i], &view, &err), "view_open");
		for (uint64_t off = 0; (n = view_pread(view, buf, sizeof(buf), off, &err)) > 0;
		     off += (uint64_t)n)
			if (pwrite(fd, buf, (size_t)n, (off_t)off) != n)
				bail("pwrite");
		view_close(view);
		close(fd);
	}
	layer_unref(layer);
	if (size && truncate(v->want[i], (off_t)size) < 0)
		bail("truncate");
}

/* With memfile and, if disk is true, rootfs; sizes of 0 are the layer's. */
TAP_FN struct lively lively_new(const char *name, const struct digest *from, uint64_t memfile,
				uint64_t rootfs)
{
	struct lively v = {.name = name, .seq = 1, .image = {"memfile", "rootfs"}};
	struct live_size sizes[2];
	size_t n = 0;

	v.nimages = rootfs ? 2 : 1;
	if (memfile)
		sizes[n++] = (struct live_size){"memfile", memfile};
	if (rootfs)
		sizes[n++] = (struct live_size){"rootfs", rootfs};
	must(live_create(store,
		&(const struct live_new){.name = name, .from = from, .sizes = sizes, .nsizes = n},
		0, &err), "live_create");
	lively_want(&v, MEMFILE, from, memfile);
	if (rootfs)
		lively_want(&v, ROOTFS, from, rootfs);
	lively_open(&v);
	return v;
}

TAP_FN void lively_write(struct lively *v, unsigned i, uint64_t page, uint32_t content)
{
	uint8_t bytes[PAGE_SIZE];
	struct stat st;

	series_page(content, bytes);
	must(delta_write(v->delta[i], bytes, page, 1, &err), "delta_write");
	if (stat(v->want[i], &st) < 0)
		bail("stat");
	put_page(v->want[i], page, content);
	if ((uint64_t)st.st_size < (page + 1) * PAGE_SIZE &&
	    truncate(v->want[i], st.st_size) < 0)
		bail("truncate");
}

TAP_FN void lively_zero(struct lively *v, unsigned i, uint64_t page, uint64_t n)
{
	must(delta_zero(v->delta[i], page, n, &err), "delta_zero");
	for (uint64_t k = 0; k < n; k++)
		put_page(v->want[i], page + k, 0);
}

/* As live.c: what is cut off is zero, should it come back. */
TAP_FN void lively_resize(struct lively *v, unsigned i, uint64_t size)
{
	uint64_t was = delta_size(v->delta[i]);
	uint64_t first = (size + PAGE_SIZE - 1) / PAGE_SIZE;
	uint64_t end = (was + PAGE_SIZE - 1) / PAGE_SIZE;

	if (first < end)
		must(delta_zero(v->delta[i], first, end - first, &err), "delta_zero");
	must(delta_set_size(v->delta[i], size, &err), "delta_set_size");
	if (truncate(v->want[i], (off_t)size) < 0)
		bail("truncate");
}

TAP_FN void lively_seal(struct lively *v)
{
	uint64_t size[2] = {0};
	char path[PATH_MAX];
	int dirfd;

	for (unsigned i = 0; i < v->nimages; i++)
		size[i] = delta_size(v->delta[i]);
	lively_close(v);
	(void)snprintf(path, sizeof(path), "%s/live/%s/%llu", store->path, v->name,
		       (unsigned long long)++v->seq);
	if (mkdir(path, 0700) < 0)
		bail("cannot make '%s'", path);
	dirfd = lively_dir(v, v->seq);
	for (unsigned i = 0; i < v->nimages; i++) {
		struct delta_place place = {store, dirfd, v->image[i], v->seq};

		must(delta_create(&place, size[i], &v->delta[i], &err), "delta_create");
	}
	close(dirfd);
}

TAP_FN struct live_commit_opts lively_opts(const struct lively *v)
{
	return (struct live_commit_opts){.name = v->name, .upto = v->seq, .threads = 2};
}

TAP_FN int lively_commit(struct lively *v)
{
	struct live_commit_opts opts = lively_opts(v);

	return live_commit(store, &opts, &result, NULL, &err);
}

TAP_FN struct live_row lively_row(const struct lively *v)
{
	struct live_row row;

	must(live_row_get(store, v->name, &row, &err), "live_row_get");
	return row;
}

/* The layer is what the images were, and the row stands on it. */
TAP_FN bool lively_is(const struct lively *v, const struct digest *id)
{
	struct live_row row = lively_row(v);
	bool good = row.has_base && digest_equal(&row.base, id) && row.first == v->seq;

	if (!good)
		tap_diag("the row has not moved");
	for (unsigned i = 0; i < v->nimages && good; i++)
		good = same_as(id, v->image[i], v->want[i]);
	return good;
}

/* It stands where it stood. */
TAP_FN bool lively_stands(const struct lively *v, const struct live_row *was)
{
	struct live_row row = lively_row(v);

	return row.first == was->first && row.has_base == was->has_base &&
	       digest_equal(&row.base, &was->base);
}

#endif
