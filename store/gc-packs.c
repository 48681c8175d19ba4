/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "store/base/fmt.h"
#include "store/gc-private.h"
#include "store/index.h"
#include "store/pack.h"
#include "store/progress.h"
#include "store/repack.h"
#include "store/store.h"

#define GAIN_MIN 4096u		/* bytes: less is not worth writing a pack again */

/* ---- files ---- */

struct files {
	struct gc *gc;
	uint64_t bytes;
	VEC(uint32_t) packs;
};

static int add_file(void *ctx, uint32_t pack)
{
	struct files *f = ctx;
	uint64_t len, alloc;

	if (packs_size(f->gc->store->packs, pack, &len, &alloc) == 0)
		f->bytes += len;
	return vec_push(&f->packs, pack);
}

static int list_files(struct gc *g, struct files *ret)
{
	int rc;

	*ret = (struct files){.gc = g};
	rc = packs_each(g->store->packs, add_file, ret);
	if (rc < 0)
		vec_fini(&ret->packs);
	return rc < 0 ? err_sys(g->err, rc, "cannot list the packs of '%s'", g->store->path) : 0;
}

int gc_packs_measure(struct gc *g, uint64_t *ret)
{
	struct files f;
	uint64_t index;
	int rc = list_files(g, &f);

	if (rc < 0)
		return rc;
	vec_fini(&f.packs);
	rc = index_size(g->store->index, &index);
	if (rc < 0)
		return err_sys(g->err, rc, "cannot measure the index of '%s'", g->store->path);
	*ret = index + f.bytes;
	return 0;
}

/* Whether a row names the pack: 1, 0 or -errno. */
static int is_known(struct gc *g, uint32_t pack)
{
	struct index_pack row;
	int rc = index_pack_get(g->store->index, pack, &row, g->err);

	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : 1;
}

/*
 * Who deleted the row may have been killed before that was on disk: a
 * transaction of our own puts both there.
 */
static int settle(struct gc *g)
{
	struct index *ix = g->store->index;
	uint64_t n = 0;
	int rc = index_begin(ix, g->err);

	if (rc < 0)
		return rc;
	(void)index_meta_get_u64(ix, "collected", &n, NULL);
	rc = index_meta_set_u64(ix, "collected", n + 1, g->err);
	if (rc == 0)
		rc = index_commit(ix, g->err);
	index_abort(ix);
	return rc;
}

/*
 * Numbers that were not given out yet are append_tidy()'s, which looks whether
 * the index may just be too old.
 */
static int drop_unknown(struct gc *g, const struct files *f, uint64_t next_pack)
{
	bool settled = false;
	int rc = 0;

	for (size_t i = 0; i < f->packs.n && rc >= 0; i++) {
		rc = f->packs.v[i] < next_pack ? is_known(g, f->packs.v[i]) : 1;
		if (rc != 0)
			continue;
		if (!settled)
			rc = settle(g);
		settled = true;
		if (rc == 0)
			rc = packs_unlink(g->store->packs, f->packs.v[i], g->err);
	}
	return rc < 0 ? rc : 0;
}

int gc_packs_drop_strays(struct gc *g)
{
	uint64_t next_pack;
	struct files f;
	int rc = index_meta_get_u64(g->store->index, "next_pack", &next_pack, g->err);

	if (rc == 0)
		rc = list_files(g, &f);
	if (rc < 0)
		return rc;
	rc = drop_unknown(g, &f, next_pack);
	vec_fini(&f.packs);
	return rc;
}

/* ---- what goes ---- */

/*
 * A pack without a live segment goes, and with --repack one that is too empty.
 * One that is full of maps and decisions has nothing to free.
 */
static void doom(struct gc *g, struct repack_pack *packs, size_t n)
{
	double ratio = g->opts->ratio > 0 ? g->opts->ratio : GC_RATIO_DEFAULT;

	for (size_t i = 0; i < n; i++) {
		struct repack_pack *p = &packs[i];
		bool empty = !p->segs && !p->carried;
		bool gains = p->pages || p->end - p->live >= GAIN_MIN || ratio > 1;
		bool sparse = gains && (double)p->live < ratio * (double)p->end;

		p->doomed = empty || (sparse && (!p->segs || g->opts->repack));
	}
}

/* Dead packs first; then the cheapest. */
static int by_cost(const void *va, const void *vb)
{
	const struct repack_pack *a = *(struct repack_pack *const *)va;
	const struct repack_pack *b = *(struct repack_pack *const *)vb;

	if (!a->segs != !b->segs)
		return a->segs ? 1 : -1;
	if (a->live != b->live)
		return a->live < b->live ? -1 : 1;
	return a->number < b->number ? -1 : 1;
}

static int out_of_room(struct repack_pack *pack, struct err *err)
{
	char size[FMT_SIZE_LEN];

	return err_set(err, -ENOSPC,
		       "the disk is full: pack %08x can be freed when there is room for %s: "
		       "make that on the store's file system, or remove more layers (a pack "
		       "that none of them needs is freed without)",
		       pack->number, fmt_size(size, pack->live));
}

static int note_trouble(struct gc *g, int rc, const struct err *err)
{
	if (g->ntrouble++ == 0) {
		g->trouble = rc;
		g->trouble_err = *err;
	}
	return 0;
}

/* One that cannot be freed is kept; the others are not held up by it. */
static int free_pack(struct gc *g, struct repack *r, struct repack_pack *pack)
{
	struct err err = {{0}};
	int rc = repack_run(r, pack, &err);

	if (rc == -ENOSPC) {
		store_reserve_release(g->store);
		rc = repack_run(r, pack, &err);
	}
	if (pack->gone) {
		g->res.packs++;
		g->res.repacked += pack->segs > 0;
		g->res.pages += pack->pages;
	}
	if (rc == -ENOSPC)
		rc = out_of_room(pack, &err);
	if (rc == -ENOSPC || rc == -EBADMSG)
		return note_trouble(g, rc, &err);
	if (rc < 0 && g->err)
		*g->err = err;
	return rc;
}

static int free_packs(struct gc *g, struct repack *r, struct repack_pack **order, size_t n)
{
	int rc = 0;

	qsort(order, n, sizeof(*order), by_cost);
	/* Where there is no room for one there is none for the dearer ones after it. */
	for (size_t i = 0; i < n && rc == 0 && g->trouble != -ENOSPC; i++) {
		rc = progress_tell(&g->opts->progress, "freeing packs", PROGRESS_COUNT, i, n);
		if (rc == 0)
			rc = free_pack(g, r, order[i]);
	}
	return rc;
}

static void pretend(struct gc *g, const struct repack_pack *packs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t live = packs[i].segs || packs[i].carried ? packs[i].live : 0;

		if (!packs[i].doomed)
			continue;
		g->res.packs++;
		g->res.repacked += packs[i].segs > 0;
		g->res.pages += packs[i].pages;
		if (live < packs[i].end)
			g->res.bytes_after -= packs[i].end - live;
	}
}

static void count_dead(struct gc *g, const struct repack_pack *packs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!packs[i].gone && !(g->opts->dry_run && packs[i].doomed) &&
		    packs[i].live < packs[i].end)
			g->res.dead_bytes += packs[i].end - packs[i].live;
}

static int each_pack(struct gc *g, struct repack *r)
{
	struct repack_pack *packs, **order;
	size_t n, norder = 0;
	int rc = 0;

	packs = repack_packs(r, &n);
	order = calloc(n ? n : 1, sizeof(*order));
	if (!order)
		return err_set(g->err, -ENOMEM, "out of memory");
	doom(g, packs, n);
	for (size_t i = 0; i < n; i++)
		if (packs[i].doomed)
			order[norder++] = &packs[i];
	if (g->opts->dry_run)
		pretend(g, packs, n);
	else
		rc = free_packs(g, r, order, norder);
	count_dead(g, packs, n);
	free(order);
	return rc;
}

int gc_packs_free(struct gc *g)
{
	struct repack *r;
	int rc = repack_new(g->store, g->mark, &r, g->err);

	if (rc < 0)
		return rc;
	rc = each_pack(g, r);
	repack_free(r);
	return rc;
}
