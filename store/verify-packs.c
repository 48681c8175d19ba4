/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each pack is read once from front to back.  What its segments' rows expect in
 * it is listed before and ticked off; frame maps, manifests and decisions are
 * compared with their rows as they come, and noted as seen.  Rows that have not
 * been seen in the end are those whose record is missing.
 *
 * A commit or gc beside us appends, moves and unlinks.  So there are two
 * rounds: the second reads what was published during the first, on a snapshot
 * in which the rows are then gone through.
 */
#include <stdlib.h>
#include <string.h>

#include "store/decide.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/pack.h"
#include "store/scan.h"
#include "store/store.h"
#include "store/verify-private.h"

/* A record that a segment's row expects. */
struct expect {
	uint64_t off;
	uint64_t id;
	uint64_t first;		/* pages that hang on it */
	uint32_t span;
	uint32_t len;
	uint16_t slots;
	uint8_t type;
	bool seen;		/* it is there, or a fault says why not */
};

/* Of a segment. */
struct place {
	uint64_t first;
	uint64_t dig_off;
	uint32_t pack;
};

struct pack_run {
	struct verify *v;
	uint32_t number;
	uint64_t from;
	uint64_t end;
	VEC(struct expect) expects;	/* by offset */
	size_t next;			/* the first that may still come */
};

static int no_memory(struct verify *v)
{
	return err_set(v->err, -ENOMEM, "out of memory");
}

/* ---- what is expected ---- */

static int expect_chunks(struct pack_run *run, const struct seg *seg)
{
	for (uint32_t i = 0; i < seg->nchunks; i++) {
		const struct seg_chunk *c = &seg->chunk[i];
		struct expect e = {
			.off = c->off, .id = seg->first + c->first, .first = seg->first + c->first,
			.span = c->span, .len = c->len, .slots = c->slots, .type = RECORD_CHUNK,
		};

		if (c->slots && vec_push(&run->expects, e) < 0)
			return no_memory(run->v);
	}
	return 0;
}

static int expect_digests(struct pack_run *run, const struct seg *seg)
{
	struct expect e = {
		.off = seg->dig_off, .id = seg->first, .first = seg->first, .span = seg->span,
		.len = seg->dig_len, .type = RECORD_DIGESTS,
	};

	return vec_push(&run->expects, e) < 0 ? no_memory(run->v) : 0;
}

/* One that has moved since it was listed is met in the second round. */
static int expect_seg(struct pack_run *run, const struct place *place)
{
	struct seg *seg;
	int rc = seg_get(run->v->store, place->first, &seg, run->v->err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (seg->pack == run->number) {
		rc = expect_chunks(run, seg);
		if (rc == 0)
			rc = expect_digests(run, seg);
	}
	seg_unref(seg);
	return rc;
}

static int by_off(const void *va, const void *vb)
{
	const struct expect *a = va, *b = vb;

	return (a->off > b->off) - (a->off < b->off);
}

/* A fault of what was expected.  A damaged digest list hurts no reader. */
static int lacks(struct pack_run *run, struct expect *e, const char *reason)
{
	bool chunk = e->type == RECORD_CHUNK;
	struct verify_item fault = {
		.what = chunk ? "chunk" : "digests", .about = VERIFY_SEG, .id = e->id,
		.pack = run->number, .off = e->off, .first = e->first, .span = e->span,
		.hurts = chunk,
	};

	e->seen = true;
	return verify_faults_add(run->v, fault, "%s", reason);
}

/* ---- records ---- */

static int check_expected(struct pack_run *run, struct expect *e, const struct scan_item *item)
{
	const struct record *r = &item->record;

	if (r->type != e->type || r->id != e->id || r->len != e->len || r->slots != e->slots)
		return lacks(run, e, "another record is in its place");
	e->seen = true;
	run->v->res.chunks += r->type == RECORD_CHUNK;
	return 0;
}

struct frame_check {
	struct verify *v;
	const struct frame *frame;	/* as the record has it */
	uint32_t pack;
};

/* 1, 0 or -ENOMEM. */
static int same_map(const struct index_frame *row, const struct frame *frame)
{
	struct runs map = {0};
	struct rd rd;
	int rc;

	rd_init(&rd, row->runs, row->runs_len);
	rc = runs_decode(&map, &rd, FRAME_PAGES, FRAME_PAGES);
	if (rc == 0)
		rc = runs_equal(&map, &frame->map) && digest_equal(&row->digest, &frame->digest);
	runs_fini(&map);
	return rc == -EBADMSG ? 0 : rc;
}

static int compare_frame(void *ctx, const struct index_frame *row)
{
	struct frame_check *c = ctx;
	struct verify_item fault = {
		.what = "maps", .about = VERIFY_FRAME, .id = row->fid, .pack = c->pack,
	};
	int rc;

	if (row->pack != c->pack)
		return 0;
	rc = verify_bit_set(c->v, &c->v->frames_seen, row->fid);
	if (rc < 0)
		return rc;
	rc = same_map(row, c->frame);
	if (rc != 0)
		return rc < 0 ? no_memory(c->v) : 0;
	return verify_faults_add(c->v, fault,
				 "the map of frame %llu in the pack is not the index's",
				 (unsigned long long)row->fid);
}

static int check_frame(struct pack_run *run, const struct frame *frame)
{
	struct frame_check c = {run->v, frame, run->number};
	int rc = index_frame_get(run->v->store->index, frame->fid, compare_frame, &c, run->v->err);

	return rc == -ENOENT ? 0 : rc;
}

static int bad_record(struct pack_run *run, const struct scan_item *item, const char *what)
{
	struct verify_item fault = {
		.what = what, .about = VERIFY_RECORD, .id = item->record.id,
		.pack = run->number, .off = item->off,
	};

	return verify_faults_add(run->v, fault, "its checksum is right, but it is not well formed");
}

static int check_maps(struct pack_run *run, const struct scan_item *item)
{
	struct frame frame;
	struct rd rd;
	uint64_t n;
	int rc = 0;

	rd_init(&rd, item->payload, item->record.len);
	n = rd_varint(&rd);
	while (rc == 0 && n-- > 0 && rd_ok(&rd)) {
		rc = frame_decode(&rd, &frame);
		if (rc == -ENOMEM)
			return no_memory(run->v);
		if (rc < 0)
			break;
		rc = check_frame(run, &frame);
		frame_fini(&frame);
		if (rc < 0)
			return rc;
	}
	return rc < 0 || !rd_done(&rd) ? bad_record(run, item, "maps") : 0;
}

struct row_check {
	struct pack_run *run;
	const struct scan_item *item;
	const struct index_decision *decision;	/* as the record has it */
};

static int compare_layer(void *ctx, const struct index_layer *row)
{
	struct row_check *c = ctx;
	struct verify *v = c->run->v;
	const struct record *r = &c->item->record;

	if (row->pack != c->run->number || row->seq != r->id)
		return 0;
	/* One that differs is as good as missing. */
	if (row->manifest_len != r->len || memcmp(row->manifest, c->item->payload, r->len) != 0)
		return 0;
	return verify_bit_set(v, &v->seqs_seen, row->seq);
}

static int check_layer(struct pack_run *run, const struct scan_item *item)
{
	struct row_check c = {.run = run, .item = item};
	struct digest id;
	int rc;

	if (item->record.len < 1 + DIGEST_LEN)
		return bad_record(run, item, "layer");
	memcpy(id.b, item->payload + 1, DIGEST_LEN);
	rc = index_layer_get(run->v->store->index, &id, compare_layer, &c, run->v->err);
	return rc == -ENOENT ? 0 : rc;
}

static int compare_decision(void *ctx, const struct index_decision *row)
{
	struct row_check *c = ctx;
	const struct index_decision *d = c->decision;
	struct verify *v = c->run->v;

	if (row->pack != c->run->number || row->seq != d->seq)
		return 0;
	if (row->has_value != d->has_value || row->value_len != d->value_len ||
	    (d->value_len && memcmp(row->value, d->value, d->value_len) != 0))
		return 0;
	return verify_bit_set(v, &v->seqs_seen, row->seq);
}

static int check_decision(struct pack_run *run, const struct scan_item *item)
{
	struct index_decision d;
	struct row_check c = {.run = run, .item = item, .decision = &d};
	struct rd rd;
	int rc;

	rd_init(&rd, item->payload, item->record.len);
	if (decide_decode(&rd, item->record.id, &d) < 0)
		return bad_record(run, item, "pack");
	rc = index_decision_get(run->v->store->index, &d, compare_decision, &c, run->v->err);
	return rc == -ENOENT ? 0 : rc;
}

static int check_record(struct pack_run *run, const struct scan_item *item)
{
	run->v->res.records++;
	switch (item->record.type) {
	case RECORD_MAPS:
		return check_maps(run, item);
	case RECORD_LAYER:
		return check_layer(run, item);
	case RECORD_DECISION:
		return check_decision(run, item);
	default:
		return 0;
	}
}

/*
 * Which of the expected ones the damage has.  It may also have records that are
 * compared with their rows: those are then missing.  What else may be in it
 * nobody needs.
 */
static int check_damage(struct pack_run *run, const struct scan_item *item)
{
	int rc = 0;

	for (; run->next < run->expects.n && rc == 0; run->next++) {
		struct expect *e = &run->expects.v[run->next];

		if (e->off >= item->off + item->len)
			break;
		rc = lacks(run, e, item->damage);
	}
	return rc;
}

static int check_item(struct pack_run *run, const struct scan_item *item)
{
	int rc = 0;

	for (; run->next < run->expects.n && rc == 0; run->next++) {
		struct expect *e = &run->expects.v[run->next];

		if (e->off >= item->off)
			break;
		rc = lacks(run, e, "no record begins there");
	}
	if (rc < 0)
		return rc;
	if (item->damage)
		return check_damage(run, item);
	for (; run->next < run->expects.n && rc == 0; run->next++) {
		struct expect *e = &run->expects.v[run->next];

		if (e->off != item->off)
			break;
		rc = check_expected(run, e, item);
	}
	return rc < 0 ? rc : check_record(run, item);
}

/* ---- a pack ---- */

/* One that cannot be read at all: gone together with its row, or a fault. */
static int unreadable(struct pack_run *run, int why)
{
	struct verify_item fault = {
		.what = "pack", .about = VERIFY_PACK, .pack = run->number, .hurts = true,
	};

	if (why != -ENOENT && why != -EBADMSG && why != -EPROTONOSUPPORT && why != -EIO)
		return why;
	return verify_faults_add(run->v, fault, "%s",
				 why == -ENOENT ? "the file is missing" : run->v->err->text);
}

static int scan_records(struct pack_run *run, struct scan *scan, uint64_t total)
{
	struct verify *v = run->v;
	struct scan_item item;
	int rc;

	while ((rc = scan_next(scan, &item, v->err)) == 1) {
		rc = check_item(run, &item);
		v->res.bytes += item.len;
		if (rc == 0)
			rc = progress_tell(&v->opts->progress, "reading packs", PROGRESS_BYTES,
					   v->res.bytes, total);
		if (rc < 0)
			return rc;
	}
	if (rc < 0)
		return unreadable(run, rc);
	while (rc == 0 && run->next < run->expects.n)
		rc = lacks(run, &run->expects.v[run->next++], "the pack ends before it");
	return rc;
}

/* A damaged header hurts nobody as long as the records behind it can be read. */
static int check_header(struct pack_run *run)
{
	struct packs *packs = run->v->store->packs;
	struct verify_item fault = {
		.what = "pack", .about = VERIFY_RECORD, .pack = run->number,
	};

	if (run->from > PACK_HEADER_LEN)
		return 0;
	if (packs_check(packs, run->number, run->v->err) != -EBADMSG ||
	    packs_check_readable(packs, run->number, 0, NULL) < 0)
		return 0;
	return verify_faults_add(run->v, fault, "%s", run->v->err->text);
}

static int run_pack(struct pack_run *run, uint64_t total)
{
	struct verify *v = run->v;
	struct scan *scan;
	int rc;

	if (run->expects.n)
		qsort(run->expects.v, run->expects.n, sizeof(run->expects.v[0]), by_off);
	rc = check_header(run);
	if (rc < 0)
		return rc;
	rc = scan_open(v->store->packs, run->number, run->from, run->end, &scan, v->err);
	if (rc < 0)
		return unreadable(run, rc);
	rc = scan_records(run, scan, total);
	scan_close(scan);
	return rc;
}

/* ---- rounds ---- */

struct todo {
	struct verify *v;
	VEC(struct pack_run) runs;
	VEC(struct place) segs;		/* by pack */
	uint64_t total;			/* bytes, with what was read before */
};

struct verify_pack *verify_pack_of(struct verify *v, uint32_t number)
{
	for (size_t i = 0; i < v->packs.n; i++)
		if (v->packs.v[i].number == number)
			return &v->packs.v[i];
	return NULL;
}

static int add_run(void *ctx, const struct index_pack *row)
{
	struct todo *t = ctx;
	struct verify_pack *known = verify_pack_of(t->v, row->number);
	struct pack_run run = {
		.v = t->v, .number = row->number, .end = row->end,
		.from = known ? known->end : PACK_HEADER_LEN,
	};

	if (run.from >= run.end)
		return 0;
	t->total += run.end - run.from;
	return vec_push(&t->runs, run) < 0 ? no_memory(t->v) : 0;
}

static int add_seg(void *ctx, const struct index_seg *row)
{
	struct todo *t = ctx;
	struct place place = {row->first, row->dig_off, row->pack};

	return vec_push(&t->segs, place) < 0 ? no_memory(t->v) : 0;
}

static int by_pack(const void *va, const void *vb)
{
	const struct place *a = va, *b = vb;

	return (a->pack > b->pack) - (a->pack < b->pack);
}

/* Packs with something new, and all segments: of one instant. */
static int list(struct todo *t)
{
	struct index *ix = t->v->store->index;
	int rc = index_snapshot_begin(ix, t->v->err);

	if (rc < 0)
		return rc;
	rc = index_pack_each(ix, add_run, t, t->v->err);
	if (rc == 0 && t->runs.n)
		rc = index_seg_each(ix, add_seg, t, t->v->err);
	index_snapshot_end(ix);
	if (rc == 0 && t->segs.n)
		qsort(t->segs.v, t->segs.n, sizeof(t->segs.v[0]), by_pack);
	return rc;
}

static size_t first_in_pack(const struct todo *t, uint32_t pack)
{
	size_t lo = 0, hi = t->segs.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->segs.v[mid].pack < pack)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int expect_segs(struct todo *t, struct pack_run *run)
{
	int rc = 0;

	for (size_t i = first_in_pack(t, run->number); rc == 0 && i < t->segs.n; i++) {
		const struct place *place = &t->segs.v[i];

		if (place->pack != run->number)
			break;
		if (place->dig_off >= run->from)
			rc = expect_seg(run, place);
	}
	return rc;
}

static int note_pack(struct verify *v, const struct pack_run *run)
{
	struct verify_pack *known = verify_pack_of(v, run->number);
	struct verify_pack pack = {run->number, run->end};

	if (known) {
		known->end = run->end;
		return 0;
	}
	v->res.packs++;
	return vec_push(&v->packs, pack) < 0 ? no_memory(v) : 0;
}

/* Reads what was published since the last round. */
static int run_round(struct verify *v)
{
	struct todo t = {.v = v, .total = v->res.bytes};
	int rc;

	seg_cache_clear(v->store->segs);
	rc = list(&t);
	for (size_t i = 0; i < t.runs.n && rc == 0; i++) {
		rc = expect_segs(&t, &t.runs.v[i]);
		if (rc == 0)
			rc = run_pack(&t.runs.v[i], t.total);
		vec_fini(&t.runs.v[i].expects);
		if (rc == 0)
			rc = note_pack(v, &t.runs.v[i]);
	}
	vec_fini(&t.runs);
	vec_fini(&t.segs);
	return rc;
}

/* The rest, and rows of the same instant. */
static int finish(struct verify *v)
{
	int rc = index_snapshot_begin(v->store->index, v->err);

	if (rc < 0)
		return rc;
	rc = run_round(v);
	if (rc == 0)
		rc = verify_rows(v);
	index_snapshot_end(v->store->index);
	return rc;
}

int verify_packs(struct verify *v)
{
	int rc = run_round(v);

	return rc < 0 ? rc : finish(v);
}
