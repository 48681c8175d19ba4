/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Items are gathered once with the pack that their rows name.  carry_put()
 * notes in `to` where their new copies are, carry_publish() writes that to the
 * rows, and carry_end() makes it true here or forgets it.
 *
 * The manifest of a removed layer that a lease still keeps is not written
 * again: its row then names pack 0.  A copy behind the removal would have to
 * be outlived by it.
 */
#include "store/carry.h"

#include <stdlib.h>
#include <string.h>

#include "store/append.h"
#include "store/base/vec.h"
#include "store/decide.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/mark.h"
#include "store/record.h"
#include "store/store.h"

#define MAPS_LEN (1u << 20)	/* of a record of maps, about */
#define FRAME_COST (DIGEST_LEN + 12)	/* in such a record, beside the runs */
#define DECISION_COST 8

enum standing { VALID, TOMBSTONE, GARBAGE };

struct frame_item {
	uint64_t fid;
	uint32_t pack;
	uint32_t to;
	uint32_t len;
};

struct layer_item {
	struct digest id;
	bool removed;
	uint32_t pack;
	uint32_t to;
	uint32_t len;
};

struct decision_item {
	enum standing standing;
	uint8_t kind;
	uint8_t key[TAG_NAME_MAX];
	uint32_t key_len;
	uint32_t pack;
	uint32_t opack;
	uint32_t to;
	uint32_t len;
};

struct carry {
	struct store *store;
	const struct mark *mark;	/* while gathering, as err */
	struct err *err;
	VEC(uint32_t) packs;		/* that are there */
	VEC(struct frame_item) frames;
	VEC(struct layer_item) layers;
	VEC(struct decision_item) decisions;
};

/* ---- gathering ---- */

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

static int add_pack(void *ctx, const struct index_pack *p)
{
	struct carry *c = ctx;

	return vec_push(&c->packs, p->number) < 0 ? no_memory(c->err) : 0;
}

static int add_frame(void *ctx, const struct index_frame *f)
{
	struct carry *c = ctx;
	struct frame_item item = {.fid = f->fid, .pack = f->pack, .len = f->runs_len};

	if (!mark_has_frame(c->mark, f->fid))
		return 0;
	return vec_push(&c->frames, item) < 0 ? no_memory(c->err) : 0;
}

static int add_layer(void *ctx, const struct index_layer *l)
{
	struct carry *c = ctx;
	struct layer_item item = {.id = l->id, .pack = l->pack, .len = l->manifest_len};
	int removed = decide_removed(c->store, &l->id, l->seq);

	if (removed < 0)
		return err_set(c->err, removed, "cannot tell whether a layer was removed");
	item.removed = removed;
	return vec_push(&c->layers, item) < 0 ? no_memory(c->err) : 0;
}

static int get_seq(void *ctx, const struct index_layer *l)
{
	*(uint64_t *)ctx = l->seq;
	return 0;
}

/* What the decision still means: a standing, or -errno. */
static int standing_of(struct carry *c, const struct index_decision *d)
{
	struct digest id;
	uint64_t seq;
	int rc;

	if (d->kind == DECISION_TAG || d->kind == DECISION_LIVE ||
	    (d->kind == DECISION_TRACE && !d->has_value))
		return d->has_value ? VALID : TOMBSTONE;
	if (d->key_len < sizeof(id))
		return err_set(c->err, -EBADMSG, "decision %llu names no layer",
			       (unsigned long long)d->seq);
	memcpy(&id, d->key, sizeof(id));
	rc = index_layer_get(c->store->index, &id, get_seq, &seq, c->err);
	if (rc == -ENOENT)
		return d->kind == DECISION_REMOVE ? TOMBSTONE : GARBAGE;
	if (rc < 0)
		return rc;
	/* A layer that was committed again after it was removed. */
	return d->kind == DECISION_REMOVE && d->seq < seq ? GARBAGE : VALID;
}

static int add_decision(void *ctx, const struct index_decision *d)
{
	struct carry *c = ctx;
	struct decision_item item = {
		.kind = d->kind, .key_len = d->key_len, .pack = d->pack, .opack = d->opack,
		.len = d->value_len,
	};
	int rc = standing_of(c, d);

	if (rc < 0)
		return rc;
	item.standing = (enum standing)rc;
	memcpy(item.key, d->key, d->key_len);	/* the index holds none longer */
	return vec_push(&c->decisions, item) < 0 ? no_memory(c->err) : 0;
}

static int gather_decisions(struct carry *c, struct err *err)
{
	int rc = index_pack_each(c->store->index, add_pack, c, err);

	return rc < 0 ? rc : index_decision_each(c->store->index, 0, add_decision, c, err);
}

static int gather(struct carry *c, struct err *err)
{
	int rc = gather_decisions(c, err);

	if (rc == 0)
		rc = index_frame_each(c->store->index, add_frame, c, err);
	if (rc == 0)
		rc = index_layer_each(c->store->index, add_layer, c, err);
	return rc;
}

int carry_new(struct store *store, const struct mark *mark, struct carry **ret, struct err *err)
{
	struct carry *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return no_memory(err);
	c->store = store;
	c->mark = mark;
	c->err = err;
	rc = gather(c, err);
	c->mark = NULL;
	c->err = NULL;
	if (rc < 0) {
		carry_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void carry_free(struct carry *carry)
{
	if (!carry)
		return;
	vec_fini(&carry->packs);
	vec_fini(&carry->frames);
	vec_fini(&carry->layers);
	vec_fini(&carry->decisions);
	free(carry);
}

/* ---- what goes where ---- */

/* Whether the decision must be kept when `without` is no longer there. */
static bool is_needed(const struct carry *c, const struct decision_item *d, uint32_t without)
{
	if (d->standing != TOMBSTONE)
		return d->standing == VALID;
	for (size_t i = 0; i < c->packs.n; i++)
		if (c->packs.v[i] != without && c->packs.v[i] <= d->opack)
			return true;
	return false;
}

uint64_t carry_bytes(const struct carry *c, uint32_t pack)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < c->frames.n; i++)
		if (c->frames.v[i].pack == pack)
			bytes += FRAME_COST + c->frames.v[i].len;
	for (size_t i = 0; i < c->layers.n; i++)
		if (c->layers.v[i].pack == pack && !c->layers.v[i].removed)
			bytes += RECORD_HEADER_LEN + c->layers.v[i].len;
	for (size_t i = 0; i < c->decisions.n; i++) {
		const struct decision_item *d = &c->decisions.v[i];

		if (d->pack == pack && is_needed(c, d, pack))
			bytes += RECORD_HEADER_LEN + DECISION_COST + d->key_len + d->len;
	}
	return bytes;
}

/* ---- records ---- */

struct job {
	struct carry *carry;
	struct append *a;
	uint32_t pack;
	struct err *err;
	struct buf maps;		/* of the next record of maps, after its count */
	uint64_t nmaps;
	uint64_t first_fid;
	size_t flushed;			/* frame items before this one have been written */
};

static int put(struct job *j, struct record *r, const struct buf *payload, uint32_t *ret_to)
{
	if (buf_error(payload) < 0)
		return no_memory(j->err);
	if (payload->len > RECORD_LEN_MAX)
		return err_set(j->err, -EFBIG, "a record of %zu bytes is too long", payload->len);
	r->codec = CODEC_NONE;
	r->len = (uint32_t)payload->len;
	return append_record(j->a, r, payload->data, ret_to, j->err);
}

static int flush_maps(struct job *j, size_t end)
{
	struct record r = {.type = RECORD_MAPS, .id = j->first_fid};
	struct buf payload = {0};
	uint32_t to;
	int rc;

	if (buf_error(&j->maps) < 0)
		return no_memory(j->err);
	buf_varint(&payload, j->nmaps);
	buf_bytes(&payload, j->maps.data, j->maps.len);
	rc = put(j, &r, &payload, &to);
	buf_fini(&payload);
	if (rc < 0)
		return rc;
	for (; j->flushed < end; j->flushed++)
		j->carry->frames.v[j->flushed].to = to;
	buf_reset(&j->maps);
	j->nmaps = 0;
	return 0;
}

static int gather_map(void *ctx, const struct index_frame *f)
{
	struct job *j = ctx;

	if (j->nmaps++ == 0)
		j->first_fid = f->fid;
	frame_encode(f->fid, &f->digest, f->runs, f->runs_len, &j->maps);
	return 0;
}

static int put_frames(struct job *j)
{
	struct carry *c = j->carry;
	int rc = 0;

	for (size_t i = 0; i < c->frames.n && rc == 0; i++) {
		if (c->frames.v[i].pack != j->pack)
			continue;
		rc = index_frame_get(c->store->index, c->frames.v[i].fid, gather_map, j, j->err);
		if (rc == 0 && j->maps.len >= MAPS_LEN)
			rc = flush_maps(j, i + 1);
	}
	if (rc == 0 && j->nmaps)
		rc = flush_maps(j, c->frames.n);
	return rc;
}

struct putting {
	struct job *job;
	uint32_t *to;
};

static int put_manifest(void *ctx, const struct index_layer *l)
{
	struct putting *p = ctx;
	struct record r = {.type = RECORD_LAYER, .id = l->seq};
	struct buf payload = {0};
	int rc;

	buf_bytes(&payload, l->manifest, l->manifest_len);
	rc = put(p->job, &r, &payload, p->to);
	buf_fini(&payload);
	return rc;
}

static int put_layers(struct job *j)
{
	struct carry *c = j->carry;
	int rc = 0;

	for (size_t i = 0; i < c->layers.n && rc == 0; i++) {
		struct layer_item *l = &c->layers.v[i];
		struct putting p = {j, &l->to};

		l->to = 0;
		if (l->pack == j->pack && !l->removed)
			rc = index_layer_get(c->store->index, &l->id, put_manifest, &p, j->err);
	}
	return rc;
}

static int put_decision(void *ctx, const struct index_decision *d)
{
	struct putting *p = ctx;
	struct record r = {.type = RECORD_DECISION, .id = d->seq};
	struct buf payload = {0};
	int rc;

	decide_encode(d, &payload);
	rc = put(p->job, &r, &payload, p->to);
	buf_fini(&payload);
	return rc;
}

static int put_decisions(struct job *j)
{
	struct carry *c = j->carry;
	int rc = 0;

	for (size_t i = 0; i < c->decisions.n && rc == 0; i++) {
		struct decision_item *d = &c->decisions.v[i];
		struct index_decision what = {
			.kind = d->kind, .key = d->key, .key_len = d->key_len,
		};
		struct putting p = {j, &d->to};

		if (d->pack == j->pack && is_needed(c, d, j->pack))
			rc = index_decision_get(c->store->index, &what, put_decision, &p, j->err);
	}
	return rc;
}

int carry_put(struct carry *carry, struct append *a, uint32_t pack, struct err *err)
{
	struct job j = {.carry = carry, .a = a, .pack = pack, .err = err};
	int rc = put_frames(&j);

	buf_fini(&j.maps);
	if (rc == 0)
		rc = put_layers(&j);
	if (rc == 0)
		rc = put_decisions(&j);
	return rc;
}

/* ---- rows ---- */

static int move_frames(struct carry *c, uint32_t pack, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < c->frames.n && rc == 0; i++)
		if (c->frames.v[i].pack == pack)
			rc = index_frame_set_pack(c->store->index, c->frames.v[i].fid,
						  c->frames.v[i].to, err);
	return rc;
}

static int move_layers(struct carry *c, uint32_t pack, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < c->layers.n && rc == 0; i++)
		if (c->layers.v[i].pack == pack)
			rc = index_layer_set_pack(c->store->index, &c->layers.v[i].id,
						  c->layers.v[i].to, err);
	return rc;
}

struct moving {
	struct index *ix;
	uint32_t to;
	struct err *err;
};

static int move_decision(void *ctx, const struct index_decision *d)
{
	struct moving *m = ctx;
	struct index_decision moved = *d;

	moved.pack = m->to;
	return index_decision_put(m->ix, &moved, m->err);
}

static int move_decisions(struct carry *c, uint32_t pack, struct err *err)
{
	struct index *ix = c->store->index;
	int rc = 0;

	for (size_t i = 0; i < c->decisions.n && rc == 0; i++) {
		const struct decision_item *d = &c->decisions.v[i];
		struct index_decision what = {
			.kind = d->kind, .key = d->key, .key_len = d->key_len,
		};
		struct moving m = {ix, d->to, err};

		if (d->pack != pack)
			continue;
		if (is_needed(c, d, pack))
			rc = index_decision_get(ix, &what, move_decision, &m, err);
		else
			rc = index_decision_delete(ix, d->kind, d->key, d->key_len, err);
	}
	return rc;
}

int carry_publish(struct carry *carry, uint32_t pack, struct err *err)
{
	int rc = move_frames(carry, pack, err);

	if (rc == 0)
		rc = move_layers(carry, pack, err);
	if (rc == 0)
		rc = move_decisions(carry, pack, err);
	if (rc == 0)
		rc = index_pack_delete(carry->store->index, pack, err);
	return rc;
}

static void forget_pack(struct carry *c, uint32_t pack)
{
	for (size_t i = 0; i < c->packs.n; i++)
		if (c->packs.v[i] == pack)
			c->packs.v[i--] = c->packs.v[--c->packs.n];
}

/* What was dropped keeps a pack that is no more, and is never asked for again. */
void carry_end(struct carry *carry, uint32_t pack)
{
	for (size_t i = 0; i < carry->frames.n; i++)
		if (carry->frames.v[i].pack == pack)
			carry->frames.v[i].pack = carry->frames.v[i].to;
	for (size_t i = 0; i < carry->layers.n; i++)
		if (carry->layers.v[i].pack == pack)
			carry->layers.v[i].pack = carry->layers.v[i].to;
	for (size_t i = 0; i < carry->decisions.n; i++)
		if (carry->decisions.v[i].pack == pack)
			carry->decisions.v[i].pack = carry->decisions.v[i].to;
	forget_pack(carry, pack);
}

static int drop_needless(struct carry *c, struct err *err)
{
	struct index *ix = c->store->index;
	int rc = index_begin(ix, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < c->decisions.n && rc == 0; i++) {
		const struct decision_item *d = &c->decisions.v[i];

		if (!is_needed(c, d, 0))
			rc = index_decision_delete(ix, d->kind, d->key, d->key_len, err);
	}
	if (rc == 0)
		rc = index_commit(ix, err);
	index_abort(ix);
	return rc;
}

static bool any_needless(const struct carry *c)
{
	for (size_t i = 0; i < c->decisions.n; i++)
		if (!is_needed(c, &c->decisions.v[i], 0))
			return true;
	return false;
}

int carry_sweep(struct store *store, struct err *err)
{
	struct carry c = {.store = store, .err = err};
	int rc = gather_decisions(&c, err);

	if (rc == 0 && any_needless(&c))
		rc = drop_needless(&c, err);
	vec_fini(&c.packs);
	vec_fini(&c.decisions);
	return rc;
}
