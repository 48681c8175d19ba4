/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The new index now has all that was found.  Here it is reduced to what counts:
 * layers that were not removed and of which every frame and page is there, what
 * they reach, and the decisions that still speak about something.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/fmt.h"
#include "store/decide.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/live-row.h"
#include "store/mark.h"
#include "store/recover-private.h"
#include "store/seg.h"
#include "store/store.h"
#include "store/sweep.h"

#define NAME_BYTES 6		/* of a layer's id, in notes */

enum fate { LIVES, REMOVED, LOST };

struct layer_row {
	struct digest id;
	uint64_t seq;
	enum fate fate;
};

struct decision_row {
	uint8_t kind;
	uint8_t key[TAG_NAME_MAX];
	uint32_t key_len;
	uint64_t seq;
	bool has_value;
	struct digest layer;	/* that it is about */
};

struct settle {
	struct recover *r;
	VEC(struct layer_row) layers;		/* by seq */
	VEC(struct decision_row) decisions;
	VEC(struct digest) missed;		/* named, but there is no manifest */
};

static int no_memory(struct recover *r)
{
	return err_set(r->err, -ENOMEM, "out of memory");
}

/* ---- what there is ---- */

static int add_layer(void *ctx, const struct index_layer *l)
{
	struct settle *s = ctx;
	struct layer_row row = {.id = l->id, .seq = l->seq};
	int removed = decide_removed(s->r->store, &l->id, l->seq);

	if (removed < 0)
		return err_set(s->r->err, removed, "cannot tell whether a layer was removed");
	row.fate = removed ? REMOVED : LIVES;
	return vec_push(&s->layers, row) < 0 ? no_memory(s->r) : 0;
}

/* Zeros: none. */
static struct digest layer_of(const struct index_decision *d)
{
	struct digest id = {{0}};
	struct live_row live;

	if (d->kind == DECISION_LIVE)
		return live_row_decode(d, &live) == 0 ? live.base : id;
	if (d->kind != DECISION_TAG)
		memcpy(&id, d->key, sizeof(id));
	else if (d->has_value)
		memcpy(&id, d->value, sizeof(id));
	return id;
}

static int add_decision(void *ctx, const struct index_decision *d)
{
	struct settle *s = ctx;
	struct decision_row row = {
		.kind = d->kind, .key_len = d->key_len, .seq = d->seq, .has_value = d->has_value,
		.layer = layer_of(d),
	};

	memcpy(row.key, d->key, d->key_len);
	return vec_push(&s->decisions, row) < 0 ? no_memory(s->r) : 0;
}

static const struct layer_row *find_layer(const struct settle *s, const struct digest *id)
{
	for (size_t i = 0; i < s->layers.n; i++)
		if (digest_equal(&s->layers.v[i].id, id))
			return &s->layers.v[i];
	return NULL;
}

/* ---- layers without a manifest ---- */

static bool is_removed(const struct settle *s, const struct digest *id)
{
	for (size_t i = 0; i < s->decisions.n; i++)
		if (s->decisions.v[i].kind == DECISION_REMOVE &&
		    digest_equal(&s->decisions.v[i].layer, id))
			return true;
	return false;
}

/* `by` names it: counted once, whoever else does. */
static int miss(struct settle *s, const struct digest *id, const char *by)
{
	char name[2 * NAME_BYTES + 1];

	if (find_layer(s, id) || is_removed(s, id))
		return 0;
	for (size_t i = 0; i < s->missed.n; i++)
		if (digest_equal(&s->missed.v[i], id))
			return 0;
	recover_note(s->r, "layer %s is lost: %s it, but no pack has its manifest",
		     fmt_hex(name, id->b, NAME_BYTES), by);
	return vec_push(&s->missed, *id) < 0 ? no_memory(s->r) : 0;
}

static int miss_decided(struct settle *s, const struct decision_row *d)
{
	char by[TAG_NAME_MAX + 32];

	if (d->kind == DECISION_REMOVE || !d->has_value || digest_is_zero(&d->layer))
		return 0;
	if (d->kind == DECISION_ATTRS)
		return miss(s, &d->layer, "attributes name");
	if (d->kind == DECISION_TRACE)
		return miss(s, &d->layer, "a trace names");
	(void)snprintf(by, sizeof(by), d->kind == DECISION_LIVE ? "live image '%.*s' stands on" :
								  "tag '%.*s' names",
		       (int)d->key_len, (const char *)d->key);
	return miss(s, &d->layer, by);
}

/* An index that is behind may name what was removed since, and is swept by now. */
static int find_missed(struct settle *s)
{
	const struct recover_old *old = &s->r->old;
	const char *by = old->next_seq < s->r->next_seq ?
		"the old index, which is older than the packs, names" : "the old index names";
	int rc = 0;

	for (size_t i = 0; i < old->layers.n && rc == 0; i++)
		rc = miss(s, &old->layers.v[i], by);
	for (size_t i = 0; i < s->decisions.n && rc == 0; i++)
		rc = miss_decided(s, &s->decisions.v[i]);
	return rc;
}

/* ---- layers ---- */

static int check_layer(struct settle *s, struct mark *mark, const struct digest *id,
		       struct err *err)
{
	struct layer *layer;
	int rc = layer_open(s->r->store, id, &layer, err);

	if (rc < 0)
		return rc;
	rc = mark_layer(mark, layer, err);
	layer_unref(layer);
	return rc;
}

/* Which layers are complete; the mark may have too much when one is not. */
static int check_layers(struct settle *s, struct mark *mark)
{
	char name[2 * NAME_BYTES + 1];

	for (size_t i = 0; i < s->layers.n; i++) {
		struct layer_row *l = &s->layers.v[i];
		struct err err = {{0}};
		int rc;

		if (l->fate != LIVES)
			continue;
		rc = progress_tell(&s->r->opts->progress, "checking layers", PROGRESS_COUNT, i,
				   s->layers.n);
		if (rc < 0)
			return rc;
		rc = check_layer(s, mark, &l->id, &err);
		if (rc == 0)
			continue;
		if (rc != -EBADMSG && rc != -ENOENT)
			return err_set(s->r->err, rc, "%s", err.text);
		l->fate = LOST;
		recover_note(s->r, "layer %s is incomplete and left out: %s",
			     fmt_hex(name, l->id.b, NAME_BYTES), err.text);
	}
	return 0;
}

static void count_layers(struct settle *s)
{
	struct recover_result *res = &s->r->res;

	res->lost = s->missed.n;
	for (size_t i = 0; i < s->layers.n; i++) {
		res->layers += s->layers.v[i].fate == LIVES;
		res->removed += s->layers.v[i].fate == REMOVED;
		res->lost += s->layers.v[i].fate == LOST;
	}
}

static int drop_layers(struct settle *s)
{
	int rc = 0;

	for (size_t i = 0; i < s->layers.n && rc == 0; i++)
		if (s->layers.v[i].fate != LIVES)
			rc = index_layer_delete(s->r->store->index, &s->layers.v[i].id, s->r->err);
	return rc;
}

/* ---- decisions ---- */

/* Whether it still says something that nothing else says. */
static bool is_needed(const struct settle *s, const struct decision_row *d)
{
	const struct layer_row *l;

	if (d->kind == DECISION_LIVE)
		return true;
	if ((d->kind == DECISION_TAG || d->kind == DECISION_TRACE) && !d->has_value)
		return true;
	l = find_layer(s, &d->layer);
	if (d->kind == DECISION_REMOVE)
		return l && l->fate == REMOVED;
	return l && l->fate == LIVES;
}

static void note_tag(struct settle *s, const struct decision_row *d)
{
	char name[2 * NAME_BYTES + 1];

	if (d->kind == DECISION_TAG)
		recover_note(s->r, "tag '%.*s' is left out: its layer %s is not there",
			     (int)d->key_len, (const char *)d->key,
			     fmt_hex(name, d->layer.b, NAME_BYTES));
}

static void count_decision(struct settle *s, const struct decision_row *d)
{
	const struct layer_row *l;
	char name[2 * NAME_BYTES + 1];

	s->r->res.tags += d->kind == DECISION_TAG && d->has_value;
	if (d->kind != DECISION_LIVE || !d->has_value)
		return;
	s->r->res.live++;
	l = find_layer(s, &d->layer);
	if (digest_is_zero(&d->layer) || (l && l->fate == LIVES))
		return;
	/* What was written to it is there: perhaps the layer comes back. */
	s->r->res.live_lost++;
	recover_note(s->r, "live image '%.*s' cannot be opened: its layer %s is not there",
		     (int)d->key_len, (const char *)d->key,
		     fmt_hex(name, d->layer.b, NAME_BYTES));
}

static int drop_decisions(struct settle *s)
{
	int rc = 0;

	for (size_t i = 0; i < s->decisions.n && rc == 0; i++) {
		const struct decision_row *d = &s->decisions.v[i];

		if (is_needed(s, d)) {
			count_decision(s, d);
			continue;
		}
		note_tag(s, d);
		rc = index_decision_delete(s->r->store->index, d->kind, d->key, d->key_len,
					   s->r->err);
	}
	return rc;
}

static int drop_rows(struct settle *s)
{
	struct index *ix = s->r->store->index;
	int rc = index_begin(ix, s->r->err);

	if (rc < 0)
		return rc;
	rc = drop_layers(s);
	if (rc == 0)
		rc = drop_decisions(s);
	if (rc == 0)
		rc = index_commit(ix, s->r->err);
	index_abort(ix);
	return rc;
}

/* ---- the whole ---- */

static int list(struct settle *s)
{
	int rc = index_layer_each(s->r->store->index, add_layer, s, s->r->err);

	if (rc == 0)
		rc = index_decision_each(s->r->store->index, 0, add_decision, s, s->r->err);
	return rc;
}

static int sweep(struct settle *s)
{
	struct mark *mark;
	struct sweep gone;
	int rc = mark_new(s->r->store, &mark);

	if (rc < 0)
		return no_memory(s->r);
	for (size_t i = 0; i < s->layers.n && rc == 0; i++)
		if (s->layers.v[i].fate == LIVES)
			rc = check_layer(s, mark, &s->layers.v[i].id, s->r->err);
	if (rc == 0)
		rc = sweep_run(s->r->store, mark, &gone, s->r->err);
	mark_free(mark);
	return rc;
}

static int find_fates(struct settle *s)
{
	struct mark *mark;
	int rc = mark_new(s->r->store, &mark);

	if (rc < 0)
		return no_memory(s->r);
	rc = check_layers(s, mark);
	mark_free(mark);
	return rc;
}

int recover_layers_settle(struct recover *r)
{
	struct settle s = {.r = r};
	int rc = list(&s);

	seg_cache_clear(r->store->segs);
	if (rc == 0)
		rc = find_missed(&s);
	if (rc == 0)
		rc = find_fates(&s);
	if (rc == 0)
		rc = drop_rows(&s);
	if (rc == 0)
		rc = sweep(&s);
	if (rc == 0)
		count_layers(&s);
	vec_fini(&s.layers);
	vec_fini(&s.decisions);
	vec_fini(&s.missed);
	return rc;
}
