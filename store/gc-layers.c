/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which layers are roots.  A removed one is a root while its lease is held; to
 * forget it, gc holds the lease itself while the row is deleted, so that
 * whoever takes the lease afterwards finds no layer.
 */
#include <unistd.h>

#include "store/decide.h"
#include "store/gc-private.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/lease.h"
#include "store/mark.h"
#include "store/store.h"

#define FORGET_BATCH 64		/* removed layers locked at a time: each holds a descriptor */

static int add_layer(void *ctx, const struct index_layer *l)
{
	struct gc *g = ctx;
	struct gc_layer item = {.id = l->id, .fd = -1};
	int removed = decide_removed(g->store, &l->id, l->seq);

	if (removed < 0)
		return err_set(g->err, removed, "cannot tell whether a layer was removed");
	item.removed = removed;
	return vec_push(&g->layers, item) < 0 ? err_set(g->err, -ENOMEM, "out of memory") : 0;
}

static int list_layers(struct gc *g)
{
	g->layers.n = 0;
	return index_layer_each(g->store->index, add_layer, g, g->err);
}

struct loading {
	struct layer *layer;
	struct err *err;
};

static int decode_layer(void *ctx, const struct index_layer *l)
{
	struct loading *loading = ctx;
	struct rd rd;
	int rc;

	rd_init(&rd, l->manifest, l->manifest_len);
	rc = layer_decode(&rd, l->seq, &loading->layer);
	return rc < 0 ? err_set(loading->err, rc, "a layer's manifest in the index is damaged") : 0;
}

/* A removed one, too. */
static int mark_one(struct gc *g, const struct digest *id)
{
	struct loading loading = {.err = g->err};
	int rc = index_layer_get(g->store->index, id, decode_layer, &loading, g->err);

	if (rc < 0)
		return rc;
	rc = mark_layer(g->mark, loading.layer, g->err);
	layer_unref(loading.layer);
	return rc;
}

static int mark_layers(struct gc *g, bool (*is_root)(const struct gc_layer *l))
{
	int rc = 0;

	for (size_t i = 0; i < g->layers.n && rc == 0; i++) {
		if (!is_root(&g->layers.v[i]) || mark_has_layer(g->mark, &g->layers.v[i].id))
			continue;
		rc = progress_tell(&g->opts->progress, "marking", PROGRESS_COUNT, i, g->layers.n);
		if (rc == 0)
			rc = mark_one(g, &g->layers.v[i].id);
	}
	return rc;
}

static bool exists(const struct gc_layer *l)
{
	return !l->removed;
}

static bool is_kept(const struct gc_layer *l)
{
	return !l->forgotten;
}

static int new_mark(struct gc *g)
{
	mark_free(g->mark);
	g->mark = NULL;
	return mark_new(g->store, &g->mark) < 0 ? err_set(g->err, -ENOMEM, "out of memory") : 0;
}

int gc_layers_mark(struct gc *g)
{
	int rc = list_layers(g);

	if (rc == 0)
		rc = new_mark(g);
	if (rc == 0)
		rc = mark_layers(g, exists);
	for (size_t i = 0; i < g->layers.n; i++)
		g->nmarked += exists(&g->layers.v[i]);
	return rc;
}

/* Locks removed layers of [from, to); one that somebody reads stays a root. */
static int lock_removed(struct gc *g, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		struct gc_layer *l = &g->layers.v[i];

		if (!l->removed)
			continue;
		l->fd = lease_take_exclusive(g->store, &l->id);
		if (l->fd == -EBUSY)
			g->res.leased++;
		else if (l->fd < 0)
			return err_sys(g->err, l->fd, "cannot look for readers of a removed layer");
		l->forgotten = l->fd >= 0;
	}
	return 0;
}

static int delete_rows(struct gc *g, size_t from, size_t to)
{
	struct index *ix = g->store->index;
	int rc = index_begin(ix, g->err);

	if (rc < 0)
		return rc;
	for (size_t i = from; i < to && rc == 0; i++) {
		const struct digest *id = &g->layers.v[i].id;

		if (!g->layers.v[i].forgotten)
			continue;
		rc = index_layer_delete(ix, id, g->err);
		if (rc == 0)
			rc = index_decision_delete(ix, DECISION_ATTRS, id, sizeof(*id), g->err);
	}
	if (rc == 0)
		rc = index_commit(ix, g->err);
	index_abort(ix);
	return rc;
}

/* The lease file goes once the row has: who locks it then finds no layer. */
static void unlock_removed(struct gc *g, size_t from, size_t to, bool deleted)
{
	for (size_t i = from; i < to; i++) {
		struct gc_layer *l = &g->layers.v[i];

		if (l->fd < 0)
			continue;
		if (deleted)
			lease_remove(g->store, &l->id, l->fd);
		else
			close(l->fd);
		g->res.layers += deleted;
		l->fd = -1;
	}
}

static int forget_some(struct gc *g, size_t from, size_t to)
{
	int rc = lock_removed(g, from, to);

	if (rc == 0)
		rc = delete_rows(g, from, to);
	if (rc == -ENOSPC) {
		store_reserve_release(g->store);
		rc = delete_rows(g, from, to);
	}
	unlock_removed(g, from, to, rc == 0);
	return rc;
}

int gc_layers_forget(struct gc *g)
{
	size_t from = 0, to, n;
	int rc = list_layers(g);

	while (from < g->layers.n && rc == 0) {
		for (to = from, n = 0; to < g->layers.n && n < FORGET_BATCH; to++)
			n += g->layers.v[to].removed;
		if (n)
			rc = forget_some(g, from, to);
		from = to;
	}
	return rc;
}

int gc_layers_count(struct gc *g)
{
	for (size_t i = 0; i < g->layers.n; i++) {
		struct gc_layer *l = &g->layers.v[i];
		int held = l->removed ? lease_held(g->store, &l->id) : 0;

		if (held < 0)
			return err_sys(g->err, held, "cannot look for readers of a removed layer");
		l->forgotten = l->removed && !held;
		g->res.layers += l->forgotten;
		g->res.leased += l->removed && held;
	}
	return 0;
}

/* Layers that were marked without the lock, and are no roots under it. */
static bool mark_is_stale(const struct gc *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->layers.n; i++)
		n += is_kept(&g->layers.v[i]) && mark_has_layer(g->mark, &g->layers.v[i].id);
	return n < g->nmarked;
}

int gc_layers_mark_rest(struct gc *g)
{
	int rc = mark_is_stale(g) ? new_mark(g) : 0;

	return rc < 0 ? rc : mark_layers(g, is_kept);
}
