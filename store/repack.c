/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Per pack: records are appended and synced, one transaction moves the rows
 * and deletes the pack's, the log is checkpointed, the file is unlinked.  A
 * crash before the transaction leaves an unpublished end, which is cut; one
 * after it leaves a file that no row names, which append_tidy() removes.
 */
#include "store/repack.h"

#include <stdlib.h>
#include <string.h>

#include "store/append.h"
#include "store/base/vec.h"
#include "store/carry.h"
#include "store/chunk.h"
#include "store/codec.h"
#include "store/digest.h"
#include "store/draft.h"
#include "store/index.h"
#include "store/mark.h"
#include "store/pack.h"
#include "store/seg.h"
#include "store/store.h"

#define CHUNK_LEN_MAX (CHUNK_PAGES_MAX * PAGE_SIZE)
#define TABLE_COST 3		/* bytes of a chunk in the table, about */

struct place {
	uint64_t first;
	uint64_t off;
	uint32_t pack;
};

struct repack {
	struct store *store;
	const struct mark *mark;
	struct carry *carry;
	struct codec *codec;
	VEC(struct repack_pack) packs;	/* by number */
	VEC(struct place) segs;		/* live ones, by pack and offset as they were */
	bool begun;			/* appends go to a pack that stays */
	uint8_t *record;		/* header and payload of one chunk */
	uint8_t *pages;
	uint8_t *packed;
	struct err *err;		/* while listing */
};

/* ---- what there is ---- */

/* Pages of a chunk that are there and live. */
static unsigned live_slots(const struct mark_seg *m, const struct seg_chunk *sc)
{
	unsigned live = 0;

	for (uint32_t i = 0; m && i < sc->span && sc->first + i < m->span; i++)
		if (m->bits[(sc->first + i) >> 3] >> ((sc->first + i) & 7) & 1)
			live |= 1u << i;
	return live & sc->slots;
}

static unsigned count(unsigned slots)
{
	return (unsigned)__builtin_popcount(slots);
}

/* What the segment's records would take again, about. */
static uint64_t live_bytes(const struct mark_seg *m, const struct seg *seg)
{
	uint64_t bytes = 2 * RECORD_HEADER_LEN;

	for (uint32_t i = 0; i < seg->nchunks; i++) {
		const struct seg_chunk *sc = &seg->chunk[i];
		unsigned n = count(live_slots(m, sc));

		bytes += TABLE_COST;
		if (n)
			bytes += RECORD_HEADER_LEN + (uint64_t)sc->len * n / count(sc->slots) +
				 (uint64_t)n * DIGEST_LEN;
	}
	return bytes < seg_bytes(seg) ? bytes : seg_bytes(seg);
}

static struct repack_pack *pack_of(struct repack *r, uint32_t number)
{
	for (size_t i = 0; i < r->packs.n; i++)
		if (r->packs.v[i].number == number)
			return &r->packs.v[i];
	return NULL;
}

static int add_pack(void *ctx, const struct index_pack *p)
{
	struct repack *r = ctx;
	struct repack_pack pack = {.number = p->number, .end = p->end};

	pack.carried = carry_bytes(r->carry, p->number);
	pack.live = PACK_HEADER_LEN + pack.carried;
	return vec_push(&r->packs, pack) < 0 ? err_set(r->err, -ENOMEM, "out of memory") : 0;
}

static int add_seg(struct repack *r, const struct mark_seg *m, const struct seg *seg)
{
	struct place place = {seg->first, seg->off, seg->pack};
	struct repack_pack *pack = pack_of(r, seg->pack);

	if (!pack)
		return err_set(r->err, -EBADMSG,
			       "segment " PADDR_FMT " is in pack %08x, which is not there",
			       PADDR_ARG(seg->first), seg->pack);
	pack->segs++;
	pack->live += live_bytes(m, seg);
	pack->pages += seg->npages - m->live;
	return vec_push(&r->segs, place) < 0 ? err_set(r->err, -ENOMEM, "out of memory") : 0;
}

static int look_at_seg(void *ctx, const struct index_seg *row)
{
	struct repack *r = ctx;
	const struct mark_seg *m = mark_seg_find(r->mark, row->first);
	struct seg *seg;
	struct rd rd;
	int rc;

	if (!m)
		return 0;
	rd_init(&rd, row->table, row->table_len);
	rc = seg_decode(row->first, row->pack, row->off, &rd, &seg);
	if (rc < 0)
		return err_set(r->err, rc, "the chunk table of segment " PADDR_FMT " is damaged",
			       PADDR_ARG(row->first));
	seg->dig_len = row->dig_len;
	rc = add_seg(r, m, seg);
	seg_unref(seg);
	return rc;
}

static int by_place(const void *va, const void *vb)
{
	const struct place *a = va, *b = vb;

	if (a->pack != b->pack)
		return a->pack < b->pack ? -1 : 1;
	return (a->off > b->off) - (a->off < b->off);
}

static int list(struct repack *r, struct err *err)
{
	int rc = carry_new(r->store, r->mark, &r->carry, err);

	r->err = err;
	if (rc == 0)
		rc = index_pack_each(r->store->index, add_pack, r, err);
	if (rc == 0)
		rc = index_seg_each(r->store->index, look_at_seg, r, err);
	r->err = NULL;
	if (rc == 0 && r->segs.n)
		qsort(r->segs.v, r->segs.n, sizeof(r->segs.v[0]), by_place);
	return rc;
}

static int get_memory(struct repack *r)
{
	r->record = malloc(RECORD_HEADER_LEN + CHUNK_LEN_MAX);
	r->pages = malloc(CHUNK_LEN_MAX);
	r->packed = malloc(codec_bound(CHUNK_LEN_MAX));
	if (!r->record || !r->pages || !r->packed)
		return -ENOMEM;
	return codec_new(r->store->params.level, &r->codec);
}

int repack_new(struct store *store, const struct mark *mark, struct repack **ret, struct err *err)
{
	struct repack *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, -ENOMEM, "out of memory");
	r->store = store;
	r->mark = mark;
	rc = get_memory(r);
	rc = rc < 0 ? err_sys(err, rc, "cannot prepare to copy chunks") : list(r, err);
	if (rc < 0) {
		repack_free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

void repack_free(struct repack *r)
{
	if (!r)
		return;
	carry_free(r->carry);
	codec_free(r->codec);
	vec_fini(&r->packs);
	vec_fini(&r->segs);
	free(r->record);
	free(r->pages);
	free(r->packed);
	free(r);
}

struct repack_pack *repack_packs(struct repack *r, size_t *ret_n)
{
	*ret_n = r->packs.n;
	return r->packs.v;
}

/* ---- one chunk ---- */

/* A segment on its way. */
struct copy {
	struct repack *r;
	struct append *a;
	const struct seg *seg;
	const struct mark_seg *live;
	struct digest *digests;		/* of the old list, or NULL: it is damaged */
	struct draft draft;
	struct err *err;
};

static uint64_t chunk_id(const struct copy *c, const struct seg_chunk *sc)
{
	return c->seg->first + sc->first;
}

/* Says which chunk it is, before the reason. */
static int damaged(const struct copy *c, const struct seg_chunk *sc)
{
	return err_wrap(c->err, -EBADMSG, "chunk " PADDR_FMT " in pack %08x at byte %u",
			PADDR_ARG(chunk_id(c, sc)), c->seg->pack, sc->off);
}

/* Whether the record that was read is this chunk's: NULL, or a reason. */
static const char *check_chunk(const struct copy *c, const struct seg_chunk *sc)
{
	const uint8_t *record = c->r->record;
	struct record r;

	if (record_decode(record, &r) < 0)
		return "there is no record header";
	if (r.type != RECORD_CHUNK || r.id != chunk_id(c, sc) || r.slots != sc->slots ||
	    r.len != sc->len)
		return "another record is there";
	if (record_check(packs_seed(c->r->store->packs), record, record + RECORD_HEADER_LEN) < 0)
		return "checksum differs";
	return NULL;
}

static int read_chunk(const struct copy *c, const struct seg_chunk *sc)
{
	size_t len = RECORD_HEADER_LEN + (size_t)sc->len;
	const char *reason;
	int rc = packs_read(c->r->store->packs, c->seg->pack, sc->off, c->r->record, len, c->err);

	if (rc < 0)
		return rc == -EBADMSG ? damaged(c, sc) : rc;
	reason = check_chunk(c, sc);
	if (!reason)
		return 0;
	(void)err_set(c->err, -EBADMSG, "%s", reason);
	return damaged(c, sc);
}

static int unpack_chunk(const struct copy *c, const struct seg_chunk *sc)
{
	int rc = chunk_decode(packs_seed(c->r->store->packs), chunk_id(c, sc), sc, c->r->record,
			      RECORD_HEADER_LEN + (size_t)sc->len, c->r->pages, c->err);

	return rc == -EBADMSG ? damaged(c, sc) : rc;
}

/* Digests of the pages that are kept: from the list, or from the pages. */
static int keep_digests(struct copy *c, const struct seg_chunk *sc, unsigned live)
{
	unsigned rank = 0;
	int rc = c->digests ? 0 : unpack_chunk(c, sc);

	for (unsigned slot = 0; slot < sc->span && rc == 0; slot++) {
		struct digest d;

		if (!(sc->slots >> slot & 1))
			continue;
		if (!c->digests)
			digest_bytes(c->r->store->params.digest, c->r->pages + rank * PAGE_SIZE,
				     PAGE_SIZE, &d);
		else
			d = c->digests[sc->rank + rank];
		if (live >> slot & 1)
			draft_digest(&c->draft, &d);
		rank++;
	}
	return rc;
}

/* Moves the live pages to the front; how many bytes. */
static size_t squeeze(uint8_t *pages, unsigned slots, unsigned live)
{
	size_t from = 0, to = 0;

	for (unsigned slot = 0; slot < CHUNK_PAGES_MAX; slot++) {
		if (!(slots >> slot & 1))
			continue;
		if (live >> slot & 1) {
			memmove(pages + to, pages + from, PAGE_SIZE);
			to += PAGE_SIZE;
		}
		from += PAGE_SIZE;
	}
	return to;
}

static int put_raw(struct copy *c, struct seg_chunk *sc, uint64_t *ret_off)
{
	return append_put_raw(c->a, c->r->record, RECORD_HEADER_LEN + (size_t)sc->len, ret_off,
			      c->err);
}

static int put_squeezed(struct copy *c, struct seg_chunk *sc, unsigned live, uint64_t *ret_off)
{
	struct record r = {.type = RECORD_CHUNK, .slots = (uint16_t)live, .id = chunk_id(c, sc)};
	int rc = unpack_chunk(c, sc);
	size_t len;

	if (rc < 0)
		return rc;
	len = squeeze(c->r->pages, sc->slots, live);
	r.len = (uint32_t)codec_compress(c->r->codec, c->r->packed, c->r->pages, len, &r.codec);
	rc = append_put(c->a, &r, c->r->packed, ret_off, c->err);
	sc->slots = (uint16_t)live;
	sc->len = r.len;
	return rc;
}

static int copy_chunk(struct copy *c, const struct seg_chunk *old)
{
	unsigned live = live_slots(c->live, old);
	struct seg_chunk sc = *old;
	uint64_t off;
	int rc;

	if (!live)
		return 0;
	rc = read_chunk(c, old);
	if (rc == 0)
		rc = keep_digests(c, old, live);
	if (rc == 0)
		rc = live == old->slots ? put_raw(c, &sc, &off) : put_squeezed(c, &sc, live, &off);
	if (rc < 0)
		return rc;
	if (!c->draft.off)
		c->draft.off = off;
	rc = draft_chunk(&c->draft, chunk_id(c, old), &sc);
	return rc < 0 ? err_set(c->err, rc, "out of memory") : 0;
}

/* ---- one segment ---- */

/* The most that its records can take. */
static uint64_t most_bytes(const struct copy *c)
{
	uint64_t bytes = 2 * RECORD_HEADER_LEN;

	for (uint32_t i = 0; i < c->seg->nchunks; i++) {
		const struct seg_chunk *sc = &c->seg->chunk[i];
		unsigned live = live_slots(c->live, sc), n = count(live);

		bytes += 2 * TABLE_COST + n * DIGEST_LEN;
		if (n)
			bytes += RECORD_HEADER_LEN +
				 (live == sc->slots ? sc->len : n * PAGE_SIZE);
	}
	return bytes;
}

static int copy_chunks(struct copy *c)
{
	int rc = append_roll_if(c->a, most_bytes(c), c->err);

	packs_willneed(c->r->store->packs, c->seg->pack, c->seg->off, seg_bytes(c->seg));
	for (uint32_t i = 0; i < c->seg->nchunks && rc == 0; i++)
		rc = copy_chunk(c, &c->seg->chunk[i]);
	if (rc == 0)
		rc = draft_seal(&c->draft, c->err);
	if (rc == 0)
		rc = append_put(c->a, &c->draft.record, c->draft.payload.data, &c->draft.dig_off,
				c->err);
	c->draft.pack = c->a->w.number;
	return rc;
}

static int copy_seg(struct repack *r, struct append *a, uint64_t first, struct draft *ret,
		    struct err *err)
{
	struct copy c = {.r = r, .a = a, .err = err, .live = mark_seg_find(r->mark, first)};
	struct seg *seg;
	int rc = seg_get(r->store, first, &seg, err);

	if (rc < 0)
		return rc;
	c.seg = seg;
	draft_init(&c.draft, first);
	rc = seg_digests(r->store, seg, &c.digests, err);
	if (rc == 0 || rc == -EBADMSG)
		rc = copy_chunks(&c);
	free(c.digests);
	seg_unref(seg);
	if (rc < 0)
		draft_fini(&c.draft);
	else
		*ret = c.draft;
	return rc;
}

/* ---- one pack ---- */

struct drafts {
	VEC(struct draft) v;
};

static void drafts_fini(struct drafts *d)
{
	for (size_t i = 0; i < d->v.n; i++)
		draft_fini(&d->v.v[i]);
	vec_fini(&d->v);
}

static int copy_segs(struct repack *r, struct append *a, uint32_t number, struct drafts *ret,
		     struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < r->segs.n && rc == 0; i++) {
		struct draft d;

		if (r->segs.v[i].pack != number)
			continue;
		rc = copy_seg(r, a, r->segs.v[i].first, &d, err);
		if (rc == 0 && vec_push(&ret->v, d) < 0) {
			draft_fini(&d);
			rc = err_set(err, -ENOMEM, "out of memory");
		}
	}
	return rc;
}

static int move_rows(struct repack *r, uint32_t number, const struct drafts *d, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < d->v.n && rc == 0; i++)
		rc = draft_put(&d->v.v[i], r->store->index, err);
	return rc < 0 ? rc : carry_publish(r->carry, number, err);
}

/* Without `a` nothing was copied: only rows go. */
static int publish(struct repack *r, uint32_t number, struct append *a, const struct drafts *d,
		   struct err *err)
{
	int rc = index_begin(r->store->index, err);

	if (rc < 0)
		return rc;
	rc = move_rows(r, number, d, err);
	if (rc == 0 && a)
		rc = append_publish(a, err);
	if (rc == 0)
		rc = index_commit(r->store->index, err);
	index_abort(r->store->index);
	return rc;
}

/* The drafts follow the order of the places. */
static void note_moves(struct repack *r, uint32_t number, const struct drafts *d)
{
	size_t n = 0;

	for (size_t i = 0; i < r->segs.n; i++)
		if (r->segs.v[i].pack == number)
			r->segs.v[i].pack = d->v.v[n++].pack;
	r->begun = true;
}

static int copy_and_publish(struct repack *r, uint32_t number, struct append *a,
			    struct drafts *d, struct err *err)
{
	int rc = copy_segs(r, a, number, d, err);

	if (rc == 0)
		rc = carry_put(r->carry, a, number, err);
	if (rc == 0)
		rc = append_sync(a, err);
	if (rc == 0)
		rc = publish(r, number, a, d, err);
	return rc;
}

/* Whether the pack that would be appended to is to go as well. */
static bool last_is_doomed(const struct repack *r)
{
	for (size_t i = r->packs.n; i > 0; i--)
		if (!r->packs.v[i - 1].gone)
			return r->packs.v[i - 1].doomed;
	return false;
}

static int copy_pack(struct repack *r, uint32_t number, struct err *err)
{
	unsigned flags = !r->begun && last_is_doomed(r) ? APPEND_NEW_PACK : 0;
	struct drafts d = {0};
	struct append a;
	int rc = append_begin(r->store, flags, &a, err);

	if (rc < 0)
		return rc;
	rc = copy_and_publish(r, number, &a, &d, err);
	if (rc == 0) {
		append_end(&a);
		note_moves(r, number, &d);
	} else {
		append_abort(&a);
	}
	drafts_fini(&d);
	return rc;
}

/* Of one that was cut short the rest may be all that is alive. */
static int check_source(struct repack *r, uint32_t number, struct err *err)
{
	struct err why = {{0}};
	int rc = packs_check_readable(r->store->packs, number, 0, &why);

	if (rc == -ENOENT || rc == -EBADMSG)
		return err_set(err, -EBADMSG, "%s; copy it back from a backup, or run 'lamina "
			       "recover', which leaves out the layers that it hurts", why.text);
	return rc < 0 ? err_set(err, rc, "%s", why.text) : 0;
}

int repack_run(struct repack *r, struct repack_pack *pack, struct err *err)
{
	struct drafts none = {0};
	int rc = pack->segs ? check_source(r, pack->number, err) : 0;

	if (rc < 0)
		return rc;
	/* Since they were counted tombstones may have become needless. */
	if (pack->segs || carry_bytes(r->carry, pack->number))
		rc = copy_pack(r, pack->number, err);
	else
		rc = publish(r, pack->number, NULL, &none, err);
	if (rc < 0)
		return rc;
	pack->gone = true;
	carry_end(r->carry, pack->number);
	seg_cache_clear(r->store->segs);
	index_checkpoint(r->store->index);
	return packs_unlink(r->store->packs, pack->number, err);
}
