/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A segment whose list and chunks are all whole is taken as it is.  Of several
 * copies (a repack that was interrupted leaves two) the one with most pages
 * counts, the later one if they have as many; both are right.
 *
 * The other chunks are put together again: chunks that stand one behind the
 * other in a pack, at ascending addresses, make a segment.  What of these a
 * layer needs gets a new digest list, from the pages, at the end of its pack.
 * A damaged chunk is then in no segment, so nothing will be found in it.
 */
#include <stdlib.h>
#include <string.h>

#include "store/chunk.h"
#include "store/digest.h"
#include "store/draft.h"
#include "store/index.h"
#include "store/pack.h"
#include "store/recover-private.h"
#include "store/store.h"

static int no_memory(struct recover *r)
{
	return err_set(r->err, -ENOMEM, "out of memory");
}

/* ---- the list ---- */

/* How many segments begin before `paddr`. */
static size_t begin_before(const struct recover *r, uint64_t paddr)
{
	size_t lo = 0, hi = r->segs.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->segs.v[mid].first < paddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The segments [*ret_from, *ret_to) that have addresses in [first, end). */
static void overlapping(const struct recover *r, uint64_t first, uint64_t end, size_t *ret_from,
			size_t *ret_to)
{
	size_t from = begin_before(r, first);

	if (from > 0 && r->segs.v[from - 1].first + r->segs.v[from - 1].span > first)
		from--;
	*ret_from = from;
	*ret_to = begin_before(r, end);
}

static int replace(struct recover *r, size_t from, size_t to, const struct recover_seg *seg)
{
	size_t tail = r->segs.n - to;
	int rc = 0;

	for (size_t i = from; i < to && rc == 0; i++)
		rc = index_seg_delete(r->store->index, r->segs.v[i].first, r->err);
	if (rc < 0)
		return rc;
	if (vec_grow_((void **)&r->segs.v, r->segs.n, &r->segs.cap, sizeof(*seg)) < 0)
		return no_memory(r);
	memmove(&r->segs.v[from + 1], &r->segs.v[to], tail * sizeof(*seg));
	r->segs.v[from] = *seg;
	r->segs.n = from + 1 + tail;
	return 1;
}

int recover_seg_add(struct recover *r, const struct recover_seg *seg)
{
	size_t from, to;
	uint64_t npages = 0;

	overlapping(r, seg->first, seg->first + seg->span, &from, &to);
	for (size_t i = from; i < to; i++)
		npages += r->segs.v[i].npages;
	return npages > seg->npages ? 0 : replace(r, from, to, seg);
}

/* ---- chunks without a segment ---- */

static uint32_t span_of(const struct recover_chunk *c)
{
	return 32 - (unsigned)__builtin_clz(c->slots);
}

static int count(uint16_t slots)
{
	return __builtin_popcount(slots);
}

/* Of one id, the best copy first. */
static int by_id(const void *va, const void *vb)
{
	const struct recover_chunk *a = va, *b = vb;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	if (count(a->slots) != count(b->slots))
		return count(a->slots) > count(b->slots) ? -1 : 1;
	return (a->pack < b->pack) - (a->pack > b->pack);
}

static bool is_free(const struct recover *r, uint64_t first, uint64_t end)
{
	size_t from, to;

	overlapping(r, first, end, &from, &to);
	return from == to;
}

/* Leaves one copy of each, without those that a segment has. */
static void choose_orphans(struct recover *r)
{
	size_t n = 0;
	uint64_t end = 0;

	if (r->orphans.n)
		qsort(r->orphans.v, r->orphans.n, sizeof(r->orphans.v[0]), by_id);
	for (size_t i = 0; i < r->orphans.n; i++) {
		const struct recover_chunk *c = &r->orphans.v[i];

		if (c->id < end || !is_free(r, c->id, c->id + span_of(c)))
			continue;
		end = c->id + span_of(c);
		r->orphans.v[n++] = *c;
	}
	r->orphans.n = n;
}

/* Whether `c` goes on where the draft ends, whose last chunk is `last`. */
static bool continues(const struct recover *r, const struct draft *d,
		      const struct recover_chunk *last, const struct recover_chunk *c)
{
	return c->pack == last->pack && c->off == last->off + RECORD_HEADER_LEN + last->len &&
	       c->id + span_of(c) - d->first <= SEG_PAGES && c->id >> 32 == d->first >> 32 &&
	       is_free(r, d->first + d->span, c->id);
}

static int add_chunk(struct recover *r, struct draft *d, const struct recover_chunk *c)
{
	struct seg_chunk chunk = {.span = (uint8_t)span_of(c), .slots = c->slots, .len = c->len};

	return draft_chunk(d, c->id, &chunk) < 0 ? no_memory(r) : 0;
}

static int put_bare(struct recover *r, struct draft *d)
{
	struct recover_seg known = {
		.first = d->first, .span = d->span, .npages = d->npages, .bare = true,
	};
	int rc = draft_seal(d, r->err);

	d->record.len = 0;
	if (rc == 0)
		rc = recover_seg_add(r, &known);
	if (rc == 1)
		rc = draft_put(d, r->store->index, r->err);
	return rc;
}

/* Makes a segment of orphans from `from` on; *ret_next is the first not in it. */
static int adopt(struct recover *r, size_t from, size_t *ret_next)
{
	const struct recover_chunk *c = &r->orphans.v[from];
	struct draft d;
	size_t i = from;
	int rc;

	draft_init(&d, c->id);
	d.pack = c->pack;
	d.off = c->off;
	rc = add_chunk(r, &d, c);
	for (i++; rc == 0 && i < r->orphans.n; i++) {
		if (!continues(r, &d, &r->orphans.v[i - 1], &r->orphans.v[i]))
			break;
		rc = add_chunk(r, &d, &r->orphans.v[i]);
	}
	if (rc == 0)
		rc = put_bare(r, &d);
	draft_fini(&d);
	*ret_next = i;
	return rc;
}

int recover_segs_adopt(struct recover *r)
{
	struct index *ix = r->store->index;
	size_t i = 0;
	int rc;

	choose_orphans(r);
	if (r->orphans.n == 0)
		return 0;
	rc = index_begin(ix, r->err);
	if (rc < 0)
		return rc;
	while (i < r->orphans.n && rc == 0)
		rc = adopt(r, i, &i);
	if (rc == 0)
		rc = index_commit(ix, r->err);
	index_abort(ix);
	return rc;
}

/* ---- new digest lists ---- */

static int hash_chunk(struct recover *r, const struct seg *seg, const struct seg_chunk *sc,
		      struct draft *d)
{
	static const size_t max = CHUNK_PAGES_MAX * PAGE_SIZE;
	size_t len = RECORD_HEADER_LEN + (size_t)sc->len;
	uint8_t *record = malloc(len), *pages = malloc(max);
	struct digest digest;
	int rc = record && pages ? 0 : no_memory(r);

	if (rc == 0)
		rc = packs_read(r->store->packs, seg->pack, sc->off, record, len, r->err);
	if (rc == 0)
		rc = chunk_decode(packs_seed(r->store->packs), seg->first + sc->first, sc,
				  record, len, pages, r->err);
	for (int i = 0; rc == 0 && i < count(sc->slots); i++) {
		digest_bytes(r->store->params.digest, pages + (size_t)i * PAGE_SIZE, PAGE_SIZE,
			     &digest);
		draft_digest(d, &digest);
	}
	free(record);
	free(pages);
	return rc;
}

static int hash_seg(struct recover *r, const struct seg *seg, struct draft *d)
{
	int rc = 0;

	for (uint32_t i = 0; i < seg->nchunks && rc == 0; i++) {
		const struct seg_chunk *sc = &seg->chunk[i];

		if (sc->slots)
			rc = hash_chunk(r, seg, sc, d);
		if (rc == 0 && draft_chunk(d, seg->first + sc->first, sc) < 0)
			rc = no_memory(r);
	}
	return rc < 0 ? rc : draft_seal(d, r->err);
}

/* Behind all that is whole in the pack; what is not, is cut off. */
static int append_list(struct recover *r, struct draft *d)
{
	struct recover_pack *pack = recover_pack_of(r, d->pack);
	struct pack_writer w;
	int rc = pack_append_at(r->store->packs, d->pack, pack->end, &w, r->err);

	if (rc < 0)
		return rc;
	rc = pack_put(&w, &d->record, d->payload.data, &d->dig_off, r->err);
	if (rc == 0)
		rc = pack_sync(&w, r->err);
	if (rc < 0) {
		pack_abort(&w, pack->end);
		return rc;
	}
	pack->end = w.end;
	pack_close(&w);
	return 0;
}

static int put_listed(struct recover *r, struct draft *d)
{
	struct index *ix = r->store->index;
	int rc = index_begin(ix, r->err);

	if (rc < 0)
		return rc;
	rc = draft_put(d, ix, r->err);
	if (rc == 0)
		rc = index_commit(ix, r->err);
	index_abort(ix);
	return rc;
}

static int list_seg(struct recover *r, uint64_t first)
{
	struct draft d;
	struct seg *seg;
	int rc = seg_get(r->store, first, &seg, r->err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;	/* no layer needed it */
	draft_init(&d, first);
	d.pack = seg->pack;
	d.off = seg->off;
	rc = hash_seg(r, seg, &d);
	if (rc == 0)
		rc = append_list(r, &d);
	if (rc == 0)
		rc = put_listed(r, &d);
	if (rc == 0)
		recover_note(r,
			     "segment " PADDR_FMT " in pack %08x: its digest list was made again",
			     PADDR_ARG(first), d.pack);
	draft_fini(&d);
	seg_unref(seg);
	return rc;
}

int recover_segs_list(struct recover *r)
{
	int rc = 0;

	seg_cache_clear(r->store->segs);
	for (size_t i = 0; i < r->segs.n && rc == 0; i++)
		if (r->segs.v[i].bare)
			rc = list_seg(r, r->segs.v[i].first);
	seg_cache_clear(r->store->segs);
	return rc;
}

/* ---- hooks ---- */

static int hook_seg(struct recover *r, const struct seg *seg)
{
	struct digest *list;
	int rc = seg_digests(r->store, seg, &list, r->err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < seg->npages && rc == 0; i++)
		if (digest_is_hook(&list[i]))
			rc = index_hook_put(r->store->index, digest_key(&list[i]), seg->first,
					    r->err);
	free(list);
	return rc;
}

/* In order of addresses, so that the newest of equal hooks stays. */
static int hook_all(struct recover *r)
{
	struct seg *seg;
	int rc = 0;

	for (size_t i = 0; i < r->segs.n && rc == 0; i++) {
		rc = seg_get(r->store, r->segs.v[i].first, &seg, r->err);
		if (rc == -ENOENT) {
			rc = 0;
			continue;
		}
		if (rc < 0)
			break;
		rc = hook_seg(r, seg);
		seg_unref(seg);
	}
	return rc;
}

int recover_segs_hook(struct recover *r)
{
	struct index *ix = r->store->index;
	int rc = index_begin(ix, r->err);

	if (rc < 0)
		return rc;
	rc = hook_all(r);
	if (rc == 0)
		rc = index_commit(ix, r->err);
	index_abort(ix);
	return rc;
}
