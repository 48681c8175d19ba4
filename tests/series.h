/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * series: a store and, beside it, a plain model of what it must hold.
 *
 * A page's content is a number: 0 is zeros, any other number always gives the
 * same bytes (half text, half noise).  A layer of the model has two images of
 * such pages.  What is committed is remembered; series_check() reads every
 * layer back and compares.  Whatever goes wrong that must not bails out.
 */
#ifndef LAMINA_TESTS_SERIES_H
#define LAMINA_TESTS_SERIES_H

#include <fcntl.h>
#include <sys/stat.h>

#include "store/append.h"
#include "store/commit.h"
#include "store/decide.h"
#include "store/format.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/pack.h"
#include "store/seg.h"
#include "store/store.h"
#include "store/verify.h"
#include "store/view.h"
#include "tests/tap.h"

#define SERIES_PAGES 600u		/* of memfile: a frame and a bit */
#define SERIES_DISK_PAGES 40u		/* of rootfs */
#define SERIES_MAX 64u			/* layers */

struct series_layer {
	struct digest id;
	bool removed;			/* decide_remove() was told so */
	uint32_t mem[SERIES_PAGES];
	uint32_t disk[SERIES_DISK_PAGES];
};

struct series {
	char path[PATH_MAX];		/* of the store */
	char input[2][PATH_MAX];	/* files that are committed */
	struct store *store;
	uint64_t random;
	size_t n;
	struct series_layer layer[SERIES_MAX];
};

TAP_FN void series_must(int rc, const struct err *err, const char *what)
{
	if (rc < 0)
		bail("%s: %s (%s)", what, err ? err->text : "", strerror(-rc));
}

TAP_FN uint64_t series_random(struct series *s, uint64_t below)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random % below;
}

TAP_FN void series_page(uint32_t content, uint8_t page[PAGE_SIZE])
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

/* ---- the store ---- */

TAP_FN void series_open(struct series *s)
{
	struct err err;

	series_must(store_open(s->path, NULL, &s->store, &err), &err, "store_open");
}

TAP_FN void series_reopen(struct series *s)
{
	store_close(s->store);
	series_open(s);
}

TAP_FN void series_names(struct series *s, const char *name)
{
	char file[64];

	(void)snprintf(s->path, sizeof(s->path), "%s", tap_path(name));
	for (int i = 0; i < 2; i++) {
		(void)snprintf(file, sizeof(file), "%.40s-input%d", name, i);
		(void)snprintf(s->input[i], sizeof(s->input[i]), "%s", tap_path(file));
	}
}

/* An empty store in tap_tmpdir(). */
TAP_FN void series_init(struct series *s, const char *name, uint64_t seed)
{
	struct store_params params;
	struct err err;

	memset(s, 0, sizeof(*s));
	s->random = seed | 1;
	series_names(s, name);
	store_params_default(&params);
	params.chunk_pages[IMAGE_MEMFILE] = 4;
	series_must(store_init(s->path, &params, &err), &err, "store_init");
	series_open(s);
}

/* Ends the current pack, so that small data makes many packs. */
TAP_FN void series_new_pack(struct series *s)
{
	struct append a;
	struct err err;

	series_must(store_lock(s->store, "test", 10000, &err), &err, "store_lock");
	series_must(append_begin(s->store, APPEND_NEW_PACK, &a, &err), &err, "append_begin");
	series_must(append_sync(&a, &err), &err, "append_sync");
	series_must(index_begin(s->store->index, &err), &err, "index_begin");
	series_must(append_publish(&a, &err), &err, "append_publish");
	series_must(index_commit(s->store->index, &err), &err, "index_commit");
	append_end(&a);
	store_unlock(s->store);
}

/* ---- layers ---- */

TAP_FN void series_write(const char *path, const uint32_t *pages, size_t n)
{
	uint8_t page[PAGE_SIZE];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)(n * PAGE_SIZE)) < 0)
		bail("cannot write '%s'", path);
	for (size_t i = 0; i < n; i++) {
		series_page(pages[i], page);
		if (pages[i] && pwrite(fd, page, PAGE_SIZE, (off_t)(i * PAGE_SIZE)) != PAGE_SIZE)
			bail("cannot write '%s'", path);
	}
	close(fd);
}

/* Writes the files that series_commit_files() commits. */
TAP_FN void series_write_files(struct series *s, const struct series_layer *l)
{
	series_write(s->input[0], l->mem, SERIES_PAGES);
	series_write(s->input[1], l->disk, SERIES_DISK_PAGES);
}

TAP_FN int series_commit_files(struct series *s, struct series_layer *l,
			       const struct series_layer *parent, const char *tag,
			       struct err *err)
{
	struct commit_image images[2] = {
		{.name = "memfile", .path = s->input[0]}, {.name = "rootfs", .path = s->input[1]},
	};
	struct commit_opts opts = {
		.images = images, .nimages = 2, .parent = parent ? &parent->id : NULL, .tag = tag,
		.threads = 1, .lock_wait_ms = 10000,
	};
	struct commit_result result;
	int rc;

	rc = commit_run(s->store, &opts, &result, err);
	if (rc == 0)
		l->id = result.id;
	return rc;
}

/* Commits the contents of `l`; `parent` may be NULL.  commit_run()'s answer. */
TAP_FN int series_try_commit(struct series *s, struct series_layer *l,
			     const struct series_layer *parent, const char *tag, struct err *err)
{
	series_write_files(s, l);
	return series_commit_files(s, l, parent, tag, err);
}

/* Changes about `percent` of the pages of `l`, some to zeros, some to old ones. */
TAP_FN void series_change(struct series *s, struct series_layer *l, unsigned percent)
{
	for (size_t i = 0; i < SERIES_PAGES; i++)
		if (series_random(s, 100) < percent)
			l->mem[i] = series_random(s, 4) ? (uint32_t)series_random(s, 5000) : 0;
	for (size_t i = 0; i < SERIES_DISK_PAGES; i++)
		if (series_random(s, 100) < percent)
			l->disk[i] = (uint32_t)series_random(s, 5000);
}

/* A child of layer `parent` (or of none: SIZE_MAX); its place. */
TAP_FN size_t series_commit(struct series *s, size_t parent, unsigned percent, const char *tag)
{
	struct series_layer *p = parent < s->n ? &s->layer[parent] : NULL, *l = &s->layer[s->n];
	struct err err;

	if (s->n == SERIES_MAX)
		bail("too many layers");
	memset(l, 0, sizeof(*l));
	if (p)
		*l = *p;
	l->removed = false;
	series_change(s, l, percent);
	series_must(series_try_commit(s, l, p && !p->removed ? p : NULL, tag, &err), &err,
		    "commit");
	return s->n++;
}

TAP_FN void series_remove(struct series *s, size_t i)
{
	struct err err;

	series_must(decide_remove(s->store, &s->layer[i].id, true, 10000, &err), &err, "remove");
	s->layer[i].removed = true;
}

/* ---- reading back ---- */

TAP_FN const char *series_check_image(struct series *s, struct layer *layer, const char *name,
				      const uint32_t *pages, size_t n)
{
	static char why[512];
	static uint8_t got[SERIES_PAGES * PAGE_SIZE];
	uint8_t want[PAGE_SIZE];
	struct view *view;
	struct err err;
	int64_t len;

	if (view_open(s->store, layer, name, &view, &err) < 0)
		goto broken;
	len = view_pread(view, got, n * PAGE_SIZE, 0, &err);
	view_close(view);
	if (len < 0)
		goto broken;
	if ((size_t)len != n * PAGE_SIZE)
		return "it is too short";
	for (size_t i = 0; i < n; i++) {
		series_page(pages[i], want);
		if (memcmp(got + i * PAGE_SIZE, want, PAGE_SIZE) == 0)
			continue;
		(void)snprintf(why, sizeof(why), "%s page %zu differs", name, i);
		return why;
	}
	return NULL;
broken:
	(void)snprintf(why, sizeof(why), "%s", err.text);
	return why;
}

/* Why the layer is not what was committed, or NULL. */
TAP_FN const char *series_check_layer(struct series *s, const struct series_layer *l)
{
	static char why[512];
	struct layer *layer;
	struct err err;
	const char *wrong;

	if (layer_open(s->store, &l->id, &layer, &err) < 0) {
		(void)snprintf(why, sizeof(why), "%s", err.text);
		return why;
	}
	wrong = series_check_image(s, layer, "memfile", l->mem, SERIES_PAGES);
	if (!wrong)
		wrong = series_check_image(s, layer, "rootfs", l->disk, SERIES_DISK_PAGES);
	layer_unref(layer);
	return wrong;
}

TAP_FN int series_count_layer(void *ctx, const struct index_layer *l)
{
	(void)l;
	++*(size_t *)ctx;
	return 0;
}

/* Whether another place of the model that is not removed has the same id. */
TAP_FN bool series_lives(const struct series *s, const struct digest *id)
{
	for (size_t i = 0; i < s->n; i++)
		if (!s->layer[i].removed && digest_equal(&s->layer[i].id, id))
			return true;
	return false;
}

TAP_FN size_t series_count_live(const struct series *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		bool again = false;

		for (size_t j = 0; j < i; j++)
			again |= !s->layer[j].removed &&
				 digest_equal(&s->layer[i].id, &s->layer[j].id);
		n += !s->layer[i].removed && !again;
	}
	return n;
}

/* Every layer of the model is whole, and the store shows no other: NULL, or why not. */
TAP_FN const char *series_check(struct series *s)
{
	static char why[600];
	size_t shown = 0, live = series_count_live(s);
	struct err err;

	for (size_t i = 0; i < s->n; i++) {
		const char *wrong = s->layer[i].removed ? NULL :
			series_check_layer(s, &s->layer[i]);

		if (!wrong)
			continue;
		(void)snprintf(why, sizeof(why), "layer %zu: %s", i, wrong);
		return why;
	}
	series_must(decide_layer_each(s->store, series_count_layer, &shown, &err), &err, "layers");
	if (shown == live)
		return NULL;
	(void)snprintf(why, sizeof(why), "%zu layers are shown, there should be %zu", shown, live);
	return why;
}

#define series_ok(s, ...)						\
	({								\
		const char *why_ = series_check(s);			\
		bool good_ = ok(!why_, __VA_ARGS__);			\
		if (!good_)						\
			tap_diag("%s", why_);				\
		good_;							\
	})

/* ---- files ---- */

TAP_FN void series_pack_path(const struct series *s, uint32_t pack, char *out, size_t size)
{
	(void)snprintf(out, size, "%s/packs/%08x.pack", s->path, pack);
}

TAP_FN void series_flip(const struct series *s, uint32_t pack, uint64_t off)
{
	char path[PATH_MAX + 64];
	uint8_t byte;
	int fd;

	series_pack_path(s, pack, path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &byte, 1, (off_t)off) != 1)
		bail("cannot flip a bit of '%s'", path);
	byte ^= 1;
	if (pwrite(fd, &byte, 1, (off_t)off) != 1)
		bail("cannot flip a bit of '%s'", path);
	close(fd);
}

TAP_FN int series_add_size(void *ctx, uint32_t pack)
{
	struct series *s = ctx;
	uint64_t len, alloc;

	(void)pack;
	return packs_size(s->store->packs, pack, &len, &alloc);
}

TAP_FN int series_count_pack(void *ctx, uint32_t pack)
{
	(void)pack;
	++*(size_t *)ctx;
	return 0;
}

/* Files in packs/. */
TAP_FN size_t series_packs(struct series *s)
{
	size_t n = 0;

	series_must(packs_each(s->store->packs, series_count_pack, &n), NULL, "packs_each");
	return n;
}

/* How many faults a deep verify finds. */
TAP_FN uint64_t series_faults(struct series *s)
{
	struct verify_opts opts = {.deep = true};
	struct verify_result r;
	struct err err;

	series_must(verify_run(s->store, &opts, &r, &err), &err, "verify");
	return r.faults;
}

#endif
