/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/dedup-list.h"

#include <stdlib.h>
#include <string.h>

#include "store/format.h"
#include "store/pack.h"
#include "store/seg.h"
#include "store/store.h"

int dedup_list_new(uint64_t first, struct dedup_list **ret)
{
	struct dedup_list *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->first = first;
	l->digest = malloc((size_t)SEG_PAGES * DIGEST_LEN);
	if (!l->digest) {
		free(l);
		return -ENOMEM;
	}
	*ret = l;
	return 0;
}

void dedup_list_free(struct dedup_list *l)
{
	if (!l)
		return;
	seg_unref(l->seg);
	free(l->digest);
	free(l);
}

/* ---- reading ---- */

int dedup_list_read(struct store *store, struct seg *seg, struct dedup_list **ret,
		    struct err *err)
{
	struct dedup_list *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	*l = (struct dedup_list){.first = seg->first, .seg = seg_ref(seg), .n = seg->npages};
	rc = seg_digests(store, seg, &l->digest, err);
	if (rc < 0) {
		dedup_list_free(l);
		return rc;
	}
	*ret = l;
	return 0;
}

/* The digests behind the chunk table; all pages of an own segment are there. */
static int decode_own(uint64_t first, struct rd *rd, struct dedup_list *l)
{
	const void *digests;
	struct seg *seg;
	size_t len;
	int rc;

	(void)rd_u64(rd);
	rc = seg_decode(first, (uint32_t)(first >> 32), PACK_HEADER_LEN, rd, &seg);
	if (rc < 0)
		return rc;
	l->n = seg->npages;
	seg_unref(seg);
	len = (size_t)l->n * DIGEST_LEN;
	digests = l->n <= SEG_PAGES ? rd_bytes(rd, len) : NULL;
	if (!digests || !rd_done(rd))
		return -EBADMSG;
	memcpy(l->digest, digests, len);
	return 0;
}

static int read_own(struct store *store, uint64_t off, struct dedup_list *l, struct err *err)
{
	struct record r;
	void *payload;
	struct rd rd;
	int rc = packs_read_record(store->packs, (uint32_t)(l->first >> 32), off, &r, &payload,
				   err);

	if (rc < 0)
		return rc;
	rd_init(&rd, payload, r.len);
	rc = r.type == RECORD_DIGESTS && r.id == l->first ? decode_own(l->first, &rd, l) : -EBADMSG;
	free(payload);
	return rc < 0 ? err_set(err, rc, "the digests of segment " PADDR_FMT " are damaged",
				PADDR_ARG(l->first)) : 0;
}

int dedup_list_read_own(struct store *store, uint64_t first, uint64_t off,
			struct dedup_list **ret, struct err *err)
{
	struct dedup_list *l;
	int rc = dedup_list_new(first, &l);

	if (rc < 0)
		return err_set(err, rc, "out of memory");
	rc = read_own(store, off, l, err);
	if (rc < 0) {
		dedup_list_free(l);
		return rc;
	}
	*ret = l;
	return 0;
}

/* ---- addresses ---- */

/* The chunk of the page that is number `index` of those that are there. */
static const struct seg_chunk *chunk_of(const struct seg *seg, uint32_t index)
{
	uint32_t lo = 0, hi = seg->nchunks;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (seg->chunk[mid].rank <= index)
			lo = mid;
		else
			hi = mid;
	}
	return &seg->chunk[lo];
}

static bool is_dense(const struct dedup_list *l)
{
	return !l->seg || l->seg->npages == l->seg->span;
}

uint64_t dedup_list_address(const struct dedup_list *l, uint32_t index)
{
	const struct seg_chunk *c;
	unsigned slots;

	if (is_dense(l))
		return l->first + index;
	c = chunk_of(l->seg, index);
	slots = c->slots;
	for (uint32_t i = c->rank; i < index; i++)
		slots &= slots - 1;
	return l->first + c->first + (unsigned)__builtin_ctz(slots);
}

int dedup_list_copy(const struct dedup_list *l, uint64_t paddr, uint64_t n, struct digest ret[],
		    struct err *err)
{
	if (is_dense(l)) {
		memcpy(ret, l->digest + (paddr - l->first), n * sizeof(*ret));
		return 0;
	}
	for (uint64_t i = 0; i < n; i++) {
		int64_t rank = seg_rank(l->seg, paddr + i);

		if (rank < 0)
			return err_set(err, -EBADMSG, "page " PADDR_FMT " is gone from its segment",
				       PADDR_ARG(paddr + i));
		ret[i] = l->digest[rank];
	}
	return 0;
}
