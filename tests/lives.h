/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lives: a live image upon the first layer of a series, and what its images must hold: one plain
 * array each.  Every write goes to both.
 */
#ifndef LAMINA_TESTS_LIVES_H
#define LAMINA_TESTS_LIVES_H

#include "store/live-commit.h"
#include "store/live.h"
#include "tests/series.h"

#define LIVES_BYTES_MAX (SERIES_PAGES * PAGE_SIZE * 3)

struct lives_image {
	const char *name;
	struct live_image *image;
	uint64_t size;
	uint8_t *bytes;			/* LIVES_BYTES_MAX, zeros behind the end */
};

struct lives {
	struct series s;
	struct live *live;
	struct lives_image of[2];	/* memfile, rootfs */
};

TAP_FN int lives_try_open(struct lives *l, struct err *err)
{
	int rc = live_open(l->s.store, "guest", &l->live, err);

	if (rc < 0)
		return rc;
	for (int i = 0; i < 2; i++)
		l->of[i].image = live_find(l->live, l->of[i].name);
	return 0;
}

TAP_FN void lives_open(struct lives *l)
{
	struct err err;

	series_must(lives_try_open(l, &err), &err, "live_open");
}

TAP_FN void lives_close(struct lives *l)
{
	live_close(l->live);
	l->live = NULL;
}

TAP_FN void lives_reopen(struct lives *l)
{
	lives_close(l);
	lives_open(l);
}

TAP_FN void lives_model(struct lives_image *of, const uint32_t *pages, size_t n)
{
	of->bytes = calloc(1, LIVES_BYTES_MAX);
	of->size = n * PAGE_SIZE;
	if (!of->bytes)
		bail("out of memory");
	for (size_t i = 0; i < n; i++)
		series_page(pages[i], of->bytes + i * PAGE_SIZE);
}

/* A store, a layer with holes in it, and "guest" upon it, open. */
TAP_FN void lives_init(struct lives *l, const char *name, uint64_t seed)
{
	struct err err;

	series_init(&l->s, name, seed);
	(void)series_commit(&l->s, SIZE_MAX, 70, NULL);
	l->of[0].name = "memfile";
	l->of[1].name = "rootfs";
	lives_model(&l->of[0], l->s.layer[0].mem, SERIES_PAGES);
	lives_model(&l->of[1], l->s.layer[0].disk, SERIES_DISK_PAGES);
	series_must(live_create(l->s.store,
		&(const struct live_new){.name = "guest", .from = &l->s.layer[0].id},
		0, &err), &err,
		    "live_create");
	lives_open(l);
}

TAP_FN void lives_fini(struct lives *l)
{
	lives_close(l);
	for (int i = 0; i < 2; i++)
		free(l->of[i].bytes);
	store_close(l->s.store);
}

/* ---- what is done to both ---- */

TAP_FN void lives_expect_write(struct lives_image *of, const void *buf, size_t len, uint64_t off)
{
	memcpy(of->bytes + off, buf, len);
	of->size = off + len > of->size ? off + len : of->size;
}

TAP_FN void lives_expect_zero(struct lives_image *of, uint64_t off, uint64_t len)
{
	if (off < of->size)
		memset(of->bytes + off, 0, len < of->size - off ? len : of->size - off);
}

TAP_FN void lives_expect_size(struct lives_image *of, uint64_t size)
{
	if (size < of->size)
		memset(of->bytes + size, 0, of->size - size);
	of->size = size;
}

TAP_FN void lives_write(struct lives_image *of, const void *buf, size_t len, uint64_t off)
{
	struct err err;

	series_must(live_write(of->image, buf, len, off, &err), &err, "live_write");
	lives_expect_write(of, buf, len, off);
}

/* `content` as in series_page(), byte by byte from there. */
TAP_FN void lives_fill(struct lives_image *of, uint64_t off, size_t len, uint32_t content)
{
	size_t pages = len / PAGE_SIZE + 1;
	uint8_t *buf = malloc(pages * PAGE_SIZE);

	if (!buf)
		bail("out of memory");
	for (size_t i = 0; i < pages; i++)
		series_page(content + (uint32_t)i, buf + i * PAGE_SIZE);
	lives_write(of, buf, len, off);
	free(buf);
}

TAP_FN void lives_zero(struct lives_image *of, uint64_t off, uint64_t len)
{
	struct err err;

	series_must(live_zero(of->image, off, len, &err), &err, "live_zero");
	lives_expect_zero(of, off, len);
}

TAP_FN void lives_truncate(struct lives_image *of, uint64_t size)
{
	struct err err;

	series_must(live_truncate(of->image, size, &err), &err, "live_truncate");
	lives_expect_size(of, size);
}

TAP_FN uint64_t lives_seal(struct lives *l)
{
	struct err err;
	uint64_t seq = 0;

	series_must(live_seal(l->live, &seq, &err), &err, "live_seal");
	return seq;
}

TAP_FN int lives_try_commit(struct lives *l, uint64_t upto, struct digest *ret, struct err *err)
{
	struct live_commit_opts opts = {.name = "guest", .upto = upto, .threads = 1,
					.lock_wait_ms = 10000};
	struct commit_result result;
	int rc = live_commit(l->s.store, &opts, &result, NULL, err);

	if (rc == 0)
		*ret = result.id;
	return rc;
}

TAP_FN struct digest lives_commit(struct lives *l, uint64_t upto)
{
	struct digest id;
	struct err err;

	series_must(lives_try_commit(l, upto, &id, &err), &err, "live_commit");
	return id;
}

TAP_FN void lives_fold(struct lives *l)
{
	struct err err;

	series_must(live_fold(l->live, &err), &err, "live_fold");
	live_trash_empty(live_trash_take(l->live));
}

/* ---- comparing ---- */

TAP_FN const char *lives_differs(const struct lives_image *of, const uint8_t *got, uint64_t off,
				 size_t len)
{
	static char why[160];

	for (size_t i = 0; i < len; i++) {
		if (got[i] == of->bytes[off + i])
			continue;
		(void)snprintf(why, sizeof(why), "%s byte %llu (page %llu + %u) is %02x, not %02x",
			       of->name, (unsigned long long)(off + i),
			       (unsigned long long)((off + i) / PAGE_SIZE),
			       (unsigned)((off + i) % PAGE_SIZE), got[i], of->bytes[off + i]);
		return why;
	}
	return NULL;
}

/* One read. */
TAP_FN const char *lives_check_read(const struct lives_image *of, uint64_t off, size_t len)
{
	static char why[600];
	uint64_t left = off < of->size ? of->size - off : 0;
	struct live_data data;
	const char *wrong = NULL;
	struct err err;
	size_t want;

	len = len < (1u << 20) ? len : 1u << 20;
	want = len < left ? len : left;
	if (live_read(of->image, off, len, &data, &err) < 0) {
		(void)snprintf(why, sizeof(why), "%s at %llu: %s", of->name,
			       (unsigned long long)off, err.text);
		return why;
	}
	if (data.view.len != want)
		wrong = "a read has another length";
	for (int i = 0; i < data.view.niov && !wrong; i++) {
		wrong = lives_differs(of, data.view.iov[i].iov_base, off,
				      data.view.iov[i].iov_len);
		off += data.view.iov[i].iov_len;
		want -= data.view.iov[i].iov_len;
	}
	if (!wrong && want)
		wrong = "the pieces of a read are not as long as it says";
	live_release(of->image, &data);
	return wrong;
}

/* Runs cover the image; what they call a hole is zero.  Counts data pages. */
TAP_FN const char *lives_check_runs(const struct lives_image *of, uint64_t *ret_pages)
{
	static const uint8_t zeros[PAGE_SIZE];
	struct view_run run;
	struct err err;
	uint64_t off = 0;

	*ret_pages = 0;
	for (; off < of->size; off += run.len) {
		if (live_next_run(of->image, off, &run, &err) < 0 || run.off != off || !run.len)
			return "a run cannot be told";
		if (run.data)
			*ret_pages += (run.len + PAGE_SIZE - 1) / PAGE_SIZE;
		for (uint64_t i = 0; !run.data && i < run.len; i += PAGE_SIZE)
			if (memcmp(of->bytes + off + i, zeros, PAGE_SIZE) != 0)
				return "what is called a hole is data";
	}
	return off == of->size ? NULL : "the runs are longer than the image";
}

/* Size, all bytes, runs, and the count of data pages. */
TAP_FN const char *lives_check_image(const struct lives_image *of)
{
	uint64_t pages, bytes;
	struct timespec mtime;
	const char *wrong;
	struct err err;

	if (live_size(of->image) != of->size)
		return "the size differs";
	for (uint64_t off = 0; off <= of->size; off += 1u << 20) {
		wrong = lives_check_read(of, off, 1u << 20);
		if (wrong)
			return wrong;
	}
	wrong = lives_check_runs(of, &pages);
	if (wrong)
		return wrong;
	if (live_stat(of->image, &bytes, &mtime, &err) < 0)
		return "live_stat fails";
	return bytes == pages * PAGE_SIZE ? NULL : "the count of data pages is wrong";
}

TAP_FN const char *lives_check(const struct lives *l)
{
	const char *wrong = lives_check_image(&l->of[0]);

	return wrong ? wrong : lives_check_image(&l->of[1]);
}

#define lives_ok(l, ...)						\
	({								\
		const char *why_ = lives_check(l);			\
		bool good_ = ok(!why_, __VA_ARGS__);			\
		if (!good_)						\
			tap_diag("%s", why_);				\
		good_;							\
	})

/* What a layer holds is what the arrays hold. */
TAP_FN const char *lives_check_layer(struct lives *l, const struct digest *id)
{
	static uint8_t got[LIVES_BYTES_MAX];
	static char why[512];
	const char *wrong = NULL;
	struct layer *layer;
	struct view *view;
	struct err err;

	series_must(layer_open(l->s.store, id, &layer, &err), &err, "layer_open");
	for (int i = 0; i < 2 && !wrong; i++) {
		const struct lives_image *of = &l->of[i];
		int64_t n;

		series_must(view_open(l->s.store, layer, of->name, &view, &err), &err, "view");
		n = view_pread(view, got, sizeof(got), 0, &err);
		if (n < 0)
			(void)snprintf(why, sizeof(why), "%s", err.text);
		if (n < 0)
			wrong = why;
		else if ((uint64_t)n != of->size)
			wrong = "the layer's size differs";
		else
			wrong = lives_differs(of, got, 0, of->size);
		view_close(view);
	}
	layer_unref(layer);
	return wrong;
}

#endif
