/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * 1. Without the lock, on a snapshot of the index: mark what the layers reach.
 * 2. Under the lock: forget removed layers that nobody reads, mark what was
 *    published since.  A layer that was marked and then removed would keep its
 *    bytes for no reason: then all is marked again.
 * 3. Delete: rows of layers, then frames, then segments, each in transactions
 *    of bounded size; then dead packs, then, if asked, copy the live part of
 *    others.  What is reachable from a row is deleted after the row, so a crash
 *    between two transactions leaves rows that nothing reaches, never the
 *    opposite; the next gc finds them again.
 *
 * On a full disk deleting needs a little room for the index's log, and gets it
 * from the reserve.  Packs are freed in the order of what freeing them costs.
 */
#include "store/gc.h"

#include "store/base/clock.h"
#include "store/carry.h"
#include "store/gc-private.h"
#include "store/index.h"
#include "store/live.h"
#include "store/mark.h"
#include "store/seg.h"
#include "store/store.h"
#include "store/sweep.h"

static void note_sweep(struct gc *g, const struct sweep *s)
{
	g->res.frames = s->frames;
	g->res.segs = s->segs;
	g->res.pages = s->pages;
}

static int count_all(struct gc *g)
{
	struct sweep s;
	int rc = gc_layers_count(g);

	if (rc == 0)
		rc = gc_layers_mark_rest(g);
	if (rc == 0)
		rc = sweep_count(g->store, g->mark, &s, g->err);
	if (rc < 0)
		return rc;
	note_sweep(g, &s);
	return gc_packs_free(g);
}

/* Hooks to segments that are gone do no harm: the next gc may find room for this. */
static int sweep_hooks(struct gc *g)
{
	struct index *ix = g->store->index;
	int rc = index_begin(ix, g->err);

	if (rc == 0)
		rc = index_hook_sweep(ix, g->err);
	if (rc == 0)
		rc = index_commit(ix, g->err);
	index_abort(ix);
	return rc == -ENOSPC ? 0 : rc;
}

static int tidy_index(struct gc *g)
{
	int rc = sweep_hooks(g);

	if (rc == 0)
		rc = carry_sweep(g->store, g->err);
	if (rc < 0)
		return rc == -ENOSPC ? 0 : rc;
	index_shrink(g->store->index);
	index_checkpoint(g->store->index);
	return 0;
}

static int delete_all(struct gc *g)
{
	struct sweep s;
	struct err why;
	int tidied = live_tidy(g->store, &why), rc = gc_packs_drop_strays(g);

	/* What was cached before the lock may have moved. */
	seg_cache_clear(g->store->segs);
	if (rc == 0)
		rc = gc_layers_forget(g);
	if (rc == 0)
		rc = gc_layers_mark_rest(g);
	if (rc == 0)
		rc = sweep_run(g->store, g->mark, &s, g->err);
	if (rc < 0)
		return rc;
	note_sweep(g, &s);
	seg_cache_clear(g->store->segs);
	rc = gc_packs_free(g);
	if (rc == 0)
		rc = tidy_index(g);
	return rc == 0 && tidied < 0 ? err_set(g->err, tidied, "%s", why.text) : rc;
}

static int run_snapshot(struct gc *g)
{
	int rc = index_snapshot_begin(g->store->index, g->err);

	if (rc < 0)
		return rc;
	rc = gc_layers_mark(g);
	if (rc == 0)
		rc = gc_packs_measure(g, &g->res.bytes_before);
	g->res.bytes_after = g->res.bytes_before;
	if (rc == 0 && g->opts->dry_run)
		rc = count_all(g);
	index_snapshot_end(g->store->index);
	return rc;
}

static int run_locked(struct gc *g)
{
	int rc = store_lock_told(g->store, "gc", g->opts->lock_wait_ms, &g->opts->progress,
				 g->err);

	if (rc < 0)
		return rc;
	rc = delete_all(g);
	store_reserve_make(g->store);
	if (rc == 0)
		rc = gc_packs_measure(g, &g->res.bytes_after);
	store_unlock(g->store);
	return rc;
}

static int tell_trouble(const struct gc *g)
{
	if (g->ntrouble == 1)
		return err_set(g->err, g->trouble, "%s", g->trouble_err.text);
	return err_set(g->err, g->trouble, "%s (and %zu more packs were kept)",
		       g->trouble_err.text, g->ntrouble - 1);
}

int gc_run(struct store *store, const struct gc_opts *opts, struct gc_result *ret,
	   struct err *err)
{
	struct gc g = {.store = store, .opts = opts, .err = err};
	double start = clock_s();
	int rc = run_snapshot(&g);

	if (rc == 0 && !opts->dry_run)
		rc = run_locked(&g);
	mark_free(g.mark);
	vec_fini(&g.layers);
	if (rc < 0)
		return rc;
	g.res.seconds = clock_s() - start;
	*ret = g.res;
	return g.ntrouble ? tell_trouble(&g) : 0;
}
