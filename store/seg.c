/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A segment is decoded once and shared.  The cache keeps the last ones used in
 * an array sorted by first address (segments never overlap), so one search
 * answers for any page.  The cache's lock covers the array; it is not held
 * while the index is asked, so two threads may decode the same row: the second
 * takes the first's.
 *
 * A row read before gc moved the segment may be put in the cache after
 * seg_forget(): its reader meets -ENOENT and forgets again.
 */
#include "store/seg.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "store/format.h"
#include "store/index.h"
#include "store/pack.h"
#include "store/record.h"
#include "store/store.h"

#define PARTIAL 0x20			/* a bitmap follows */

static unsigned bits_below(unsigned n)
{
	return (1u << n) - 1;
}

static unsigned count_bits(unsigned bits)
{
	return (unsigned)__builtin_popcount(bits);
}

/* What a decoder knows so far; the next chunk begins there. */
struct place {
	uint64_t off;
	uint32_t first;
	uint32_t rank;
};

static int decode_chunk(struct rd *rd, struct place *at, struct seg_chunk *ret)
{
	unsigned head = rd_u8(rd), n = head & ~PARTIAL, all, slots, npages;
	uint32_t len = 0;

	if (n < 1 || n > CHUNK_PAGES_MAX)
		return -EBADMSG;
	all = bits_below(n);
	slots = head & PARTIAL ? rd_u16(rd) : all;
	npages = count_bits(slots);
	if (slots)
		len = (uint32_t)rd_varint_max(rd, npages * PAGE_SIZE);
	if (!rd_ok(rd) || (slots && !len) || (slots & ~all) || (head & PARTIAL && slots == all))
		return -EBADMSG;
	*ret = (struct seg_chunk){.first = at->first, .off = (uint32_t)at->off, .len = len,
				  .rank = at->rank, .slots = (uint16_t)slots, .span = (uint8_t)n};
	at->first += n;
	at->rank += npages;
	at->off += len ? RECORD_HEADER_LEN + len : 0;
	return at->first <= SEG_PAGES && at->off <= UINT32_MAX ? 0 : -EBADMSG;
}

static int decode_chunks(struct seg *seg, struct rd *rd)
{
	struct place at = {.off = seg->off};
	int rc = 0;

	for (uint32_t i = 0; i < seg->nchunks && rc == 0; i++)
		rc = decode_chunk(rd, &at, &seg->chunk[i]);
	seg->span = at.first;
	seg->npages = at.rank;
	/* Ordinals of a pack end at 2^32. */
	if (rc == 0 && (uint32_t)seg->first > UINT32_MAX - seg->span)
		rc = -EBADMSG;
	return rc;
}

int seg_decode(uint64_t first, uint32_t pack, uint64_t off, struct rd *table, struct seg **ret)
{
	uint64_t n = rd_varint_max(table, SEG_PAGES);
	struct seg *seg;
	int rc;

	if (!rd_ok(table) || n == 0 || n > rd_left(table))
		return -EBADMSG;
	if (first >> 32 == 0 || pack == 0 || off < PACK_HEADER_LEN || off > UINT32_MAX)
		return -EBADMSG;
	seg = calloc(1, sizeof(*seg) + n * sizeof(seg->chunk[0]));
	if (!seg)
		return -ENOMEM;
	seg->refs = 1;
	seg->first = first;
	seg->pack = pack;
	seg->off = off;
	seg->nchunks = (uint32_t)n;
	rc = decode_chunks(seg, table);
	if (rc < 0) {
		free(seg);
		return rc;
	}
	*ret = seg;
	return 0;
}

void seg_encode_table(const struct seg *seg, struct buf *out)
{
	buf_varint(out, seg->nchunks);
	for (uint32_t i = 0; i < seg->nchunks; i++) {
		const struct seg_chunk *c = &seg->chunk[i];
		bool all = c->slots == bits_below(c->span);

		buf_u8(out, all ? c->span : PARTIAL | c->span);
		if (!all)
			buf_u16(out, c->slots);
		if (c->slots)
			buf_varint(out, c->len);
	}
}

struct seg *seg_ref(struct seg *seg)
{
	__atomic_add_fetch(&seg->refs, 1, __ATOMIC_RELAXED);
	return seg;
}

void seg_unref(struct seg *seg)
{
	if (seg && __atomic_sub_fetch(&seg->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(seg);
}

static bool covers(const struct seg *seg, uint64_t paddr)
{
	return paddr >= seg->first && paddr - seg->first < seg->span;
}

const struct seg_chunk *seg_find(const struct seg *seg, uint64_t paddr)
{
	uint32_t lo = 0, hi = seg->nchunks, rel;
	const struct seg_chunk *c;

	if (!covers(seg, paddr))
		return NULL;
	rel = (uint32_t)(paddr - seg->first);
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (seg->chunk[mid].first <= rel)
			lo = mid;
		else
			hi = mid;
	}
	c = &seg->chunk[lo];
	return c->slots >> (rel - c->first) & 1 ? c : NULL;
}

int64_t seg_rank(const struct seg *seg, uint64_t paddr)
{
	const struct seg_chunk *c = seg_find(seg, paddr);
	unsigned slot;

	if (!c)
		return -ENOENT;
	slot = (unsigned)(paddr - seg->first) - c->first;
	return c->rank + count_bits(c->slots & bits_below(slot));
}

uint64_t seg_bytes(const struct seg *seg)
{
	uint64_t bytes = RECORD_HEADER_LEN + seg->dig_len;

	for (uint32_t i = 0; i < seg->nchunks; i++)
		if (seg->chunk[i].len)
			bytes += RECORD_HEADER_LEN + seg->chunk[i].len;
	return bytes;
}

struct cached {
	uint64_t first;
	uint64_t used;		/* the cache's clock when last asked for */
	struct seg *seg;
};

struct seg_cache {
	pthread_mutex_t lock;
	/* under lock from here on */
	uint64_t clock;
	size_t n;
	size_t max;
	struct cached v[];	/* by first */
};

int seg_cache_new(size_t max_segs, struct seg_cache **ret)
{
	size_t max = max_segs ? max_segs : 1;
	struct seg_cache *c = calloc(1, sizeof(*c) + max * sizeof(c->v[0]));

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	c->max = max;
	*ret = c;
	return 0;
}

void seg_cache_clear(struct seg_cache *c)
{
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->n; i++)
		seg_unref(c->v[i].seg);
	c->n = 0;
	pthread_mutex_unlock(&c->lock);
}

void seg_cache_free(struct seg_cache *c)
{
	if (!c)
		return;
	seg_cache_clear(c);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* How many begin at or before `paddr`: the last of them may cover it. */
static size_t rank_locked(const struct seg_cache *c, uint64_t paddr)
{
	size_t lo = 0, hi = c->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (c->v[mid].first <= paddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct seg *find_locked(struct seg_cache *c, uint64_t paddr)
{
	size_t i = rank_locked(c, paddr);

	if (i == 0 || !covers(c->v[i - 1].seg, paddr))
		return NULL;
	c->v[i - 1].used = ++c->clock;
	return seg_ref(c->v[i - 1].seg);
}

static void remove_locked(struct seg_cache *c, size_t i)
{
	seg_unref(c->v[i].seg);
	c->n--;
	memmove(&c->v[i], &c->v[i + 1], (c->n - i) * sizeof(c->v[0]));
}

static void evict_locked(struct seg_cache *c)
{
	size_t oldest = 0;

	for (size_t i = 1; i < c->n; i++)
		if (c->v[i].used < c->v[oldest].used)
			oldest = i;
	remove_locked(c, oldest);
}

static void insert_locked(struct seg_cache *c, struct seg *seg)
{
	size_t i;

	if (c->n == c->max)
		evict_locked(c);
	i = rank_locked(c, seg->first);
	memmove(&c->v[i + 1], &c->v[i], (c->n - i) * sizeof(c->v[0]));
	c->v[i] = (struct cached){.first = seg->first, .used = ++c->clock, .seg = seg_ref(seg)};
	c->n++;
}

static struct seg *cache_find(struct seg_cache *c, uint64_t paddr)
{
	struct seg *seg;

	pthread_mutex_lock(&c->lock);
	seg = find_locked(c, paddr);
	pthread_mutex_unlock(&c->lock);
	return seg;
}

/* Takes `seg`, or drops it for the one that is there. */
static struct seg *cache_add(struct seg_cache *c, struct seg *seg)
{
	struct seg *there;

	pthread_mutex_lock(&c->lock);
	there = find_locked(c, seg->first);
	if (!there)
		insert_locked(c, seg);
	pthread_mutex_unlock(&c->lock);
	if (!there)
		return seg;
	seg_unref(seg);
	return there;
}

struct loading {
	struct seg *seg;
	struct err *err;
};

static int from_row(void *ctx, const struct index_seg *row)
{
	struct loading *l = ctx;
	struct seg *seg = NULL;
	struct rd rd;
	int rc;

	rd_init(&rd, row->table, row->table_len);
	rc = seg_decode(row->first, row->pack, row->off, &rd, &seg);
	if (rc == 0 && (!rd_done(&rd) || seg->span != row->span))
		rc = -EBADMSG;
	if (rc < 0) {
		seg_unref(seg);
		return err_set(l->err, rc, "the chunk table of segment " PADDR_FMT " %s",
			       PADDR_ARG(row->first),
			       rc == -ENOMEM ? "does not fit into memory" : "is damaged");
	}
	seg->dig_off = row->dig_off;
	seg->dig_len = row->dig_len;
	l->seg = seg;
	return 0;
}

int seg_get(struct store *store, uint64_t paddr, struct seg **ret, struct err *err)
{
	struct loading l = {.seg = cache_find(store->segs, paddr), .err = err};
	int rc;

	if (!l.seg) {
		rc = index_seg_find(store->index, paddr, from_row, &l, err);
		if (rc < 0)
			return rc;
		l.seg = cache_add(store->segs, l.seg);
	}
	*ret = l.seg;
	return 0;
}

void seg_forget(struct store *store, const struct seg *seg)
{
	struct seg_cache *c = store->segs;
	size_t i;

	pthread_mutex_lock(&c->lock);
	i = rank_locked(c, seg->first);
	/* A newer one, of where it is now, stays. */
	if (i > 0 && c->v[i - 1].seg == seg)
		remove_locked(c, i - 1);
	pthread_mutex_unlock(&c->lock);
}

/* The list behind the table, which must be ours: or the ranks would be off. */
static int decode_digests(const struct seg *seg, struct rd *rd, struct digest **ret)
{
	size_t len = (size_t)seg->npages * DIGEST_LEN;
	struct buf table = {0};
	const void *same, *list;
	int rc = -EBADMSG;

	seg_encode_table(seg, &table);
	if (buf_error(&table) < 0) {
		buf_fini(&table);
		return -ENOMEM;
	}
	same = rd_u64(rd) == seg->off ? rd_bytes(rd, table.len) : NULL;
	list = rd_bytes(rd, len);
	if (same && list && rd_done(rd) && memcmp(same, table.data, table.len) == 0) {
		*ret = malloc(len ? len : 1);
		rc = *ret ? 0 : -ENOMEM;
		if (*ret)
			memcpy(*ret, list, len);
	}
	buf_fini(&table);
	return rc;
}

int seg_digests(struct store *store, const struct seg *seg, struct digest **ret, struct err *err)
{
	struct digest *list = NULL;
	struct record r;
	void *payload;
	struct rd rd;
	int rc = packs_read_record(store->packs, seg->pack, seg->dig_off, &r, &payload, err);

	if (rc < 0)
		return err_wrap(err, rc, "the digests of segment " PADDR_FMT,
				PADDR_ARG(seg->first));
	rd_init(&rd, payload, r.len);
	rc = -EBADMSG;
	if (r.type == RECORD_DIGESTS && r.id == seg->first && r.len == seg->dig_len)
		rc = decode_digests(seg, &rd, &list);
	free(payload);
	if (rc < 0)
		return err_set(err, rc, "the digests of segment " PADDR_FMT " in pack %08x %s",
			       PADDR_ARG(seg->first), seg->pack,
			       rc == -ENOMEM ? "do not fit into memory" :
					       "are not those of its pages");
	*ret = list;
	return 0;
}
