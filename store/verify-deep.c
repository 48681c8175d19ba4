/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two passes over what the first part has found whole, each by a few threads
 * that take one piece of work after another:
 *
 *	segments	decompress every chunk, hash its pages, compare with the list
 *	frames		hash the page digests, compare with the frame's
 *
 * So a layer's Merkle root, which was recomputed from frame digests, is tied to
 * the bytes.  What the first part reported as damaged is not reported again.
 */
#include <stdlib.h>
#include <string.h>

#include "store/base/cache.h"
#include "store/chunk.h"
#include "store/dedup.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/pack.h"
#include "store/record.h"
#include "store/store.h"
#include "store/verify-private.h"

#define THREADS 2
#define LIST_BUDGET (32u << 20)		/* of digest lists, for the frames */
#define CHUNK_LEN_MAX (CHUNK_PAGES_MAX * PAGE_SIZE)
#define TRIES 3				/* a segment that moves while it is read */

struct deep {
	struct verify *v;
	VEC(uint64_t) segs;
	struct dedup *dedup;
	const char *what;
	int (*work)(struct deep *d, uint64_t item, struct err *err);
	const uint64_t *items;
	size_t nitems;
	pthread_t main;			/* the thread that tells the progress */
	/* under v->lock */
	size_t next;
	size_t done;
	int rc;
	struct err err;
};

/* ---- threads ---- */

static bool take(struct deep *d, uint64_t *ret)
{
	bool some;

	pthread_mutex_lock(&d->v->lock);
	some = d->rc == 0 && d->next < d->nitems;
	if (some)
		*ret = d->items[d->next++];
	pthread_mutex_unlock(&d->v->lock);
	return some;
}

static size_t finish(struct deep *d, int rc, const struct err *err)
{
	size_t done;

	pthread_mutex_lock(&d->v->lock);
	if (rc < 0 && d->rc == 0) {
		d->rc = rc;
		d->err = *err;
	}
	done = ++d->done;
	pthread_mutex_unlock(&d->v->lock);
	return done;
}

static int tell(struct deep *d, size_t done)
{
	if (!pthread_equal(pthread_self(), d->main))
		return 0;
	return progress_tell(&d->v->opts->progress, d->what, PROGRESS_COUNT, done, d->nitems);
}

static void *run_thread(void *ctx)
{
	struct deep *d = ctx;
	size_t done = 0;
	uint64_t item;

	while (take(d, &item)) {
		struct err err = {{0}};
		int rc = tell(d, done);

		if (rc == 0)
			rc = d->work(d, item, &err);
		done = finish(d, rc, &err);
	}
	return NULL;
}

/* The calling thread works too; without the others it works alone. */
static int run_all(struct deep *d)
{
	pthread_t thread[THREADS - 1];
	int n = 0, rc;

	d->next = d->done = 0;
	d->main = pthread_self();
	rc = tell(d, 0);
	if (rc < 0)
		return rc;
	while (n < THREADS - 1 && pthread_create(&thread[n], NULL, run_thread, d) == 0)
		n++;
	(void)run_thread(d);
	while (n > 0)
		pthread_join(thread[--n], NULL);
	return d->rc < 0 ? err_set(d->v->err, d->rc, "%s", d->err.text) : 0;
}

/* ---- segments ---- */

static int fault_of_chunk(struct deep *d, const struct seg *seg, const struct seg_chunk *sc,
			  const char *reason)
{
	struct verify_item fault = {
		.what = "chunk", .about = VERIFY_SEG, .id = seg->first + sc->first,
		.pack = seg->pack, .off = sc->off, .first = seg->first + sc->first,
		.span = sc->span, .hurts = true,
	};

	return verify_faults_add(d->v, fault, "%s", reason);
}

static int check_pages(struct deep *d, const struct seg *seg, const struct seg_chunk *sc,
		       const uint8_t *pages, const struct digest *digests)
{
	unsigned n = (unsigned)__builtin_popcount(sc->slots);

	for (unsigned i = 0; i < n && digests; i++) {
		struct digest digest;

		digest_bytes(d->v->store->params.digest, pages + (size_t)i * PAGE_SIZE, PAGE_SIZE,
			     &digest);
		if (!digest_equal(&digest, &digests[sc->rank + i]))
			return fault_of_chunk(d, seg, sc, "the digest of a page differs");
	}
	return 0;
}

struct buffers {
	uint8_t record[RECORD_HEADER_LEN + CHUNK_LEN_MAX];
	uint8_t pages[CHUNK_LEN_MAX];
};

static int check_chunk(struct deep *d, const struct seg *seg, const struct seg_chunk *sc,
		       const struct digest *digests, struct buffers *b)
{
	size_t len = RECORD_HEADER_LEN + (size_t)sc->len;
	uint32_t seed = packs_seed(d->v->store->packs);
	struct err err;
	int rc = packs_read(d->v->store->packs, seg->pack, sc->off, b->record, len, &err);

	/* The first part has said so already. */
	if (rc == -EBADMSG || rc == -EIO || rc == -EPROTONOSUPPORT)
		return 0;
	if (rc < 0)
		return rc;
	if (record_check(seed, b->record, b->record + RECORD_HEADER_LEN) < 0)
		return 0;
	rc = chunk_decode(seed, seg->first + sc->first, sc, b->record, len, b->pages, &err);
	if (rc == -EBADMSG || rc == -EPROTONOSUPPORT)
		return fault_of_chunk(d, seg, sc, err.text);
	return rc < 0 ? rc : check_pages(d, seg, sc, b->pages, digests);
}

/* Without the list (the first part has said so) chunks must still decompress. */
static int check_chunks(struct deep *d, const struct seg *seg, struct buffers *b)
{
	struct digest *digests = NULL;
	int rc = seg_digests(d->v->store, seg, &digests, NULL);

	if (rc == -EBADMSG || rc == -EIO || rc == -EPROTONOSUPPORT)
		rc = 0;
	packs_willneed(d->v->store->packs, seg->pack, seg->off, seg_bytes(seg));
	for (uint32_t i = 0; i < seg->nchunks && rc == 0; i++)
		if (seg->chunk[i].slots)
			rc = check_chunk(d, seg, &seg->chunk[i], digests, b);
	free(digests);
	return rc;
}

/* -ENOENT: its pack is gone; where it is now the index knows. */
static int try_seg(struct deep *d, uint64_t first, struct buffers *b, struct err *err)
{
	struct seg *seg;
	int rc = seg_get(d->v->store, first, &seg, err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = check_chunks(d, seg, b);
	if (rc == -ENOENT)
		seg_forget(d->v->store, seg);
	seg_unref(seg);
	return rc;
}

static int check_seg(struct deep *d, uint64_t first, struct err *err)
{
	struct buffers *b = malloc(sizeof(*b));
	int rc = -ENOENT;

	if (!b)
		return err_set(err, -ENOMEM, "out of memory");
	for (int i = 0; i < TRIES && rc == -ENOENT; i++)
		rc = try_seg(d, first, b, err);
	free(b);
	/* Still not there: a missing file, which the first part has reported. */
	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? err_sys(err, rc, "segment " PADDR_FMT, PADDR_ARG(first)) : 0;
}

static int add_seg(void *ctx, const struct index_seg *row)
{
	struct deep *d = ctx;

	return vec_push(&d->segs, row->first) < 0 ?
		err_set(d->v->err, -ENOMEM, "out of memory") : 0;
}

static int check_segs(struct deep *d)
{
	int rc = index_seg_each(d->v->store->index, add_seg, d, d->v->err);

	if (rc < 0)
		return rc;
	d->what = "checking segments";
	d->work = check_seg;
	d->items = d->segs.v;
	d->nitems = d->segs.n;
	return run_all(d);
}

/* ---- frames ---- */

/* The digest of one page, from its bytes. */
static int hash_page(struct store *store, uint64_t paddr, struct digest *ret)
{
	const struct seg_chunk *sc;
	const struct chunk *chunk;
	struct cache_entry *e;
	struct seg *seg;
	int rc = seg_get(store, paddr, &seg, NULL);

	if (rc < 0)
		return rc;
	sc = seg_find(seg, paddr);
	rc = sc ? chunk_get(store, seg, sc, &e, &chunk, NULL) : -ENOENT;
	if (rc == 0) {
		const uint8_t *page = chunk_page(chunk, (unsigned)(paddr - seg->first - sc->first));

		if (page)
			digest_bytes(store->params.digest, page, PAGE_SIZE, ret);
		else
			rc = -ENOENT;
		chunk_put(store, e);
	}
	seg_unref(seg);
	return rc;
}

static int hash_pages(struct store *store, const struct runs *map, struct digest ret[])
{
	memset(ret, 0, FRAME_PAGES * sizeof(ret[0]));
	for (size_t i = 0; i < map->n; i++) {
		const struct run *run = &map->v[i];

		for (uint64_t j = 0; run->addr && j < run->len; j++) {
			int rc = hash_page(store, run->addr + j, &ret[run->pos + j]);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

static int compare_frame(struct deep *d, const struct frame *frame, const struct digest pages[],
			 struct err *err)
{
	struct verify_item fault = {
		.what = "maps", .about = VERIFY_FRAME, .id = frame->fid, .hurts = true,
	};
	struct digest digest;
	int rc = digest_frame(d->v->store->params.digest, pages, &digest);

	if (rc < 0)
		return err_sys(err, rc, "cannot hash frame %llu", (unsigned long long)frame->fid);
	if (digest_equal(&digest, &frame->digest))
		return 0;
	rc = verify_faults_add(d->v, fault, "the digest of frame %llu differs",
			       (unsigned long long)frame->fid);
	return rc < 0 ? err_set(err, rc, "out of memory") : 0;
}

static int check_loaded(struct deep *d, const struct frame *frame, struct err *err)
{
	struct digest *pages = malloc(FRAME_PAGES * sizeof(*pages));
	int rc;

	if (!pages)
		return err_set(err, -ENOMEM, "out of memory");
	rc = dedup_parent_digests(d->dedup, &frame->map, pages, err);
	if (rc < 0 && rc != -ENOMEM)
		rc = hash_pages(d->v->store, &frame->map, pages);
	if (rc == 0)
		rc = compare_frame(d, frame, pages, err);
	else if (rc != -ENOMEM)
		rc = 0;		/* a damaged chunk, reported already, or gone */
	else
		(void)err_set(err, rc, "out of memory");
	free(pages);
	return rc;
}

static int check_frame(struct deep *d, uint64_t fid, struct err *err)
{
	struct frame frame;
	int rc = frame_load(d->v->store, fid, &frame, err);

	if (rc < 0)
		return rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
	rc = check_loaded(d, &frame, err);
	frame_fini(&frame);
	return rc;
}

static int check_frames(struct deep *d)
{
	int rc = dedup_new(d->v->store, LIST_BUDGET, &d->dedup);

	if (rc < 0)
		return err_sys(d->v->err, rc, "cannot look at frames");
	d->what = "checking frames";
	d->work = check_frame;
	d->items = d->v->frames.v;
	d->nitems = d->v->frames.n;
	rc = run_all(d);
	dedup_free(d->dedup);
	return rc;
}

int verify_deep(struct verify *v)
{
	struct deep d = {.v = v};
	int rc = check_segs(&d);

	if (rc == 0)
		rc = check_frames(&d);
	vec_fini(&d.segs);
	return rc;
}
