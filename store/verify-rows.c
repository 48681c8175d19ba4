/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rows that name a pack in which nothing like them was met.  Readers need only
 * the index, so no layer is hurt by most of these; but recover would not find
 * what is missing.
 */
#include "store/index.h"
#include "store/store.h"
#include "store/verify-private.h"

static int no_memory(struct verify *v)
{
	return err_set(v->err, -ENOMEM, "out of memory");
}

struct missing {
	struct verify *v;
	/* frames of a pack that follow each other are one fault */
	uint32_t pack;
	uint64_t first_fid;
	uint64_t nframes;
};

static int tell_frames(struct missing *m)
{
	struct verify_item fault = {
		.what = "maps", .about = VERIFY_RECORD, .id = m->first_fid, .pack = m->pack,
	};
	uint64_t n = m->nframes;

	m->nframes = 0;
	if (!n)
		return 0;
	return verify_faults_add(m->v, fault, "%llu frame maps are not in the pack any more "
				 "(the index still has them)", (unsigned long long)n);
}

static int look_frame(void *ctx, const struct index_frame *row)
{
	struct missing *m = ctx;
	int rc = 0;

	if (verify_bit(&m->v->frames_seen, row->fid))
		return 0;
	if (m->nframes && row->pack != m->pack)
		rc = tell_frames(m);
	if (m->nframes++ == 0)
		m->first_fid = row->fid;
	m->pack = row->pack;
	return rc;
}

/* Pack 0: a removed layer that only a lease keeps has no record any more. */
static int look_layer(void *ctx, const struct index_layer *row)
{
	struct missing *m = ctx;
	struct verify_item fault = {.what = "layer", .about = VERIFY_LAYER, .pack = row->pack};

	if (!row->pack || verify_bit(&m->v->seqs_seen, row->seq))
		return 0;
	if (vec_push(&fault.layers, row->id) < 0)
		return no_memory(m->v);
	return verify_faults_add(m->v, fault, "its manifest is not in the pack any more "
				 "(the index still has it)");
}

/* A row that is known by its name. */
static int look_named(struct missing *m, const struct index_decision *row)
{
	bool tag = row->kind == DECISION_TAG;
	struct verify_item fault = {
		.what = tag ? "tag" : "live", .about = VERIFY_RECORD, .id = row->seq,
		.pack = row->pack,
	};

	return verify_faults_add(m->v, fault, "what became of %s '%.*s' is not in the pack any "
				 "more (the index still has it)", tag ? "tag" : "live image",
				 (int)row->key_len, (const char *)row->key);
}

static int look_decision(void *ctx, const struct index_decision *row)
{
	struct missing *m = ctx;
	struct verify_item fault = {
		.what = "layer", .about = VERIFY_RECORD, .id = row->seq, .pack = row->pack,
	};

	if (verify_bit(&m->v->seqs_seen, row->seq))
		return 0;
	if (row->kind == DECISION_TAG || row->kind == DECISION_LIVE)
		return look_named(m, row);
	return verify_faults_add(m->v, fault, "%s of a layer is not in the pack any more "
				 "(the index still has it)",
				 row->kind == DECISION_REMOVE ? "the removal" :
				 row->kind == DECISION_TRACE ? "a trace" : "what is known");
}

static int look_seg(void *ctx, const struct index_seg *row)
{
	struct missing *m = ctx;
	struct verify_item fault = {
		.what = "pack", .about = VERIFY_SEG, .id = row->first, .pack = row->pack,
		.off = row->off, .first = row->first, .span = row->span, .hurts = true,
	};

	if (verify_pack_of(m->v, row->pack))
		return 0;
	return verify_faults_add(m->v, fault, "the index names it for a segment, "
				 "but does not know it");
}

int verify_rows(struct verify *v)
{
	struct missing m = {.v = v};
	int rc = index_frame_each(v->store->index, look_frame, &m, v->err);

	if (rc == 0)
		rc = tell_frames(&m);
	if (rc == 0)
		rc = index_layer_each(v->store->index, look_layer, &m, v->err);
	if (rc == 0)
		rc = index_seg_each(v->store->index, look_seg, &m, v->err);
	if (rc == 0)
		rc = index_decision_each(v->store->index, 0, look_decision, &m, v->err);
	return rc;
}
