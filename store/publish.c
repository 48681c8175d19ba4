/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything is appended and synced before the transaction begins, and the
 * transaction names only what was synced: nobody ever sees a layer that points
 * at nothing.  A crash before index_commit() leaves tails of packs that the
 * next append cuts off.
 */
#include "store/publish.h"

#include <string.h>

#include "store/append.h"
#include "store/commit.h"
#include "store/decide.h"
#include "store/index.h"
#include "store/store.h"

/* What the layer's own records will be in the index. */
struct rows {
	struct index_layer layer;
	struct index_decision attrs;
	struct index_decision tag;
	struct index_decision also;
	struct buf manifest;
	struct buf values;
};

static void rows_fini(struct rows *rows)
{
	buf_fini(&rows->manifest);
	buf_fini(&rows->values);
}

/* New frames have consecutive ids; the others are in the index. */
static int frame_digest(void *ctx, uint64_t fid, struct digest *ret)
{
	const struct publish *p = ctx;
	const struct emit *e = p->emit;

	if (e->frames.n == 0 || fid < e->frames.v[0].fid)
		return index_frame_digest(p->store->index, fid, ret);
	*ret = e->frames.v[fid - e->frames.v[0].fid].digest;
	return 0;
}

/*
 * What was lost of a layer that is there, with a pack, has been stored once
 * more: then its manifest is replaced by one that names the new frames.
 */
static bool same_frames(const struct layer *a, const struct layer *b)
{
	bool same = a->nimages == b->nimages;

	for (size_t i = 0; i < a->nimages && same; i++)
		same = runs_equal(&a->image[i].frames, &b->image[i].frames);
	return same;
}

/* A frame at a time: in one snapshot, as in commit.c. */
static int find_root(struct publish *p, struct err *err)
{
	struct index *ix = p->store->index;
	int rc = index_snapshot_begin(ix, err);

	if (rc < 0)
		return rc;
	rc = layer_merkle(p->layer, frame_digest, p, &p->layer->id);
	index_snapshot_end(ix);
	return rc < 0 ? err_sys(err, rc, "cannot name the layer: a frame's digest is not to be had")
		: 0;
}

static int find_name(struct publish *p, struct err *err)
{
	struct layer *there;
	int rc = find_root(p, err);

	if (rc < 0)
		return rc;
	rc = layer_peek(p->store, &p->layer->id, &there, err);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	p->existed = same_frames(there, p->layer);
	p->again = !p->existed;
	layer_unref(there);
	return 0;
}

static int append_manifest(struct publish *p, struct rows *rows, struct err *err)
{
	struct record r = {.type = RECORD_LAYER};
	uint32_t pack;
	int rc;

	r.id = p->layer->seq = append_seq(p->append);
	layer_encode(p->layer, &rows->manifest);
	if (buf_error(&rows->manifest) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	r.len = (uint32_t)rows->manifest.len;
	rc = append_record(p->append, &r, rows->manifest.data, &pack, err);
	if (rc < 0)
		return rc;
	rows->layer = (struct index_layer){.id = p->layer->id, .seq = r.id, .pack = pack,
					   .manifest = rows->manifest.data,
					   .manifest_len = r.len};
	return 0;
}

/* A layer that is made once more keeps what was said of it and is not said anew. */
static int encode_attrs(const struct publish *p, struct buf *out, struct err *err)
{
	struct attrs all = {0};
	int rc = p->again ? attrs_load(p->store, &p->layer->id, &all, err) : 0;

	if (rc == -EBADMSG)
		rc = 0;
	for (size_t i = 0; i < p->attrs->n && rc == 0; i++) {
		rc = attrs_set(&all, p->attrs->v[i].key, p->attrs->v[i].value);
		if (rc < 0)
			(void)err_sys(err, rc, "cannot keep the layer's attributes");
	}
	if (rc == 0)
		attrs_encode(&all, out);
	attrs_fini(&all);
	return rc;
}

static int append_attrs(struct publish *p, struct rows *rows, struct err *err)
{
	int rc = encode_attrs(p, &rows->values, err);

	if (rc < 0)
		return rc;
	if (buf_error(&rows->values) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rows->attrs = (struct index_decision){.kind = DECISION_ATTRS, .key = p->layer->id.b,
					      .key_len = DIGEST_LEN, .has_value = true,
					      .value = rows->values.data,
					      .value_len = (uint32_t)rows->values.len};
	return decide_append(p->append, &rows->attrs, err);
}

static int append_tag(struct publish *p, struct rows *rows, struct err *err)
{
	if (!p->tag)
		return 0;
	rows->tag = (struct index_decision){.kind = DECISION_TAG, .key = p->tag,
					    .key_len = (uint32_t)strlen(p->tag),
					    .has_value = true, .value = p->layer->id.b,
					    .value_len = DIGEST_LEN};
	return decide_append(p->append, &rows->tag, err);
}

static int append_also(struct publish *p, struct rows *rows, struct err *err)
{
	int rc;

	if (!p->also)
		return 0;
	rc = p->also->decision(p->also->ctx, &p->layer->id, &rows->also, err);
	return rc < 0 ? rc : decide_append(p->append, &rows->also, err);
}

static int put_rows(struct publish *p, const struct rows *rows, struct err *err)
{
	struct index *ix = p->store->index;
	int rc = emit_publish(p->emit, ix, err);

	if (rc == 0)
		rc = index_layer_put(ix, &rows->layer, err);
	if (rc == 0)
		rc = index_decision_put(ix, &rows->attrs, err);
	if (rc == 0 && p->tag)
		rc = index_decision_put(ix, &rows->tag, err);
	if (rc == 0 && p->also)
		rc = index_decision_put(ix, &rows->also, err);
	return rc < 0 ? rc : append_publish(p->append, err);
}

static int commit_rows(struct publish *p, const struct rows *rows, struct err *err)
{
	int rc = index_begin(p->store->index, err);

	if (rc < 0)
		return rc;
	rc = put_rows(p, rows, err);
	if (rc == 0)
		return index_commit(p->store->index, err);
	index_abort(p->store->index);
	return rc;
}

static int publish(struct publish *p, struct rows *rows, struct err *err)
{
	int rc = append_manifest(p, rows, err);

	if (rc == 0)
		rc = append_attrs(p, rows, err);
	if (rc == 0)
		rc = append_tag(p, rows, err);
	if (rc == 0)
		rc = append_also(p, rows, err);
	if (rc == 0)
		rc = append_sync(p->append, err);
	return rc < 0 ? rc : commit_rows(p, rows, err);
}

int publish_run(struct publish *p, struct err *err)
{
	struct rows rows = {0};
	int rc = find_name(p, err);

	if (rc == 0 && p->append && !p->existed)
		rc = publish(p, &rows, err);
	rows_fini(&rows);
	return rc;
}
