/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Addresses and frame ids are given out here, long before the records are
 * appended: place goes ahead of the pack, and the pack must follow.  So what
 * ends where is decided here and only carried out by write:
 *
 *	pack	before a frame with which it might become too large.  How
 *		large it is at most: its end behind an item so long ago that it
 *		is certainly written, and the worst case of all since then.
 *	segment	before a chunk that might not fit, when the pack ends, or when
 *		too many maps wait.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/append.h"
#include "store/base/cache.h"
#include "store/dedup.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/ingest-private.h"
#include "store/input.h"
#include "store/store.h"

/* Of a dry run: no pack and no frame has such a number. */
#define DRY_RUN_PACK UINT32_MAX
#define DRY_RUN_FID (UINT64_C(1) << 63)
#define MAPS_MAX 1024u
#define MAPS_LEN_MAX (512u << 10)
#define MAP_OVERHEAD (RECORD_HEADER_LEN + DIGEST_LEN + 3 * 10)
#define MAP_WORST (MAP_OVERHEAD + FRAME_PAGES * 12)
#define PAGE_WORST (PAGE_SIZE + RECORD_HEADER_LEN + DIGEST_LEN + 4)
/* The digest list and the maps that were waiting when the end was known. */
#define WAITING_WORST (2u << 20)

static_assert(SEG_PAGES * (DIGEST_LEN + 4) + MAPS_LEN_MAX + MAP_WORST < WAITING_WORST,
	      "what waits must be foreseen");

void ingest_place_init(struct place *p, const struct ingest *in)
{
	*p = (struct place){.in = in, .pack = DRY_RUN_PACK, .first_fid = DRY_RUN_FID};
	if (!in->append)
		return;
	p->pack = in->append->w.number;
	p->ord = in->append->next_ord;
	p->next_pack = in->append->next_pack;
	p->known_end = in->append->w.end;
	p->first_fid = in->append->next_fid;
}

void ingest_place_fini(struct place *p)
{
	vec_fini(&p->frames);
	keymap_fini(&p->by_digest);
	runs_fini(&p->runs);
}

/* ---- frames that are known ---- */

static bool is_frame(const struct place *p, uint64_t fid, const struct digest *digest)
{
	const struct frame *frame;
	struct cache_entry *entry;
	bool same;

	if (frame_get(p->in->store, fid, &entry, &frame, NULL) < 0)
		return false;
	same = digest_equal(&frame->digest, digest) && dedup_has(p->in->dedup, &frame->map);
	frame_put(p->in->store, entry);
	return same;
}

/* A frame with this content, of this commit or of the store; or 0. */
static uint64_t find_frame(const struct place *p, const struct digest *digest)
{
	uint64_t fid = keymap_find(&p->by_digest, digest_key(digest));

	if (fid && digest_equal(&p->frames.v[fid - p->first_fid], digest))
		return fid;
	if (index_frame_find(p->in->store->index, digest, &fid) == 0 && is_frame(p, fid, digest))
		return fid;
	return 0;
}

static int add_frame(struct place *p, struct job *j)
{
	j->fid = p->first_fid + p->frames.n;
	if (vec_push(&p->frames, j->frame_digest) < 0)
		return -ENOMEM;
	return keymap_put(&p->by_digest, digest_key(&j->frame_digest), j->fid);
}

/* ---- what is read of an image and what is not ---- */

uint64_t ingest_place_frames(const struct ingest_image *image)
{
	return (input_size(image->in) + FRAME_SIZE - 1) >> FRAME_SHIFT;
}

uint64_t ingest_place_pages(const struct ingest_image *image, uint64_t frame, uint64_t n)
{
	uint64_t pages = (input_size(image->in) + PAGE_SIZE - 1) >> PAGE_SHIFT;
	uint64_t from = frame * FRAME_PAGES, to = (frame + n) * FRAME_PAGES;

	return (to < pages ? to : pages) - from;
}

static int add_gap(struct ingest_image *image, uint64_t fid, uint64_t n)
{
	uint64_t pages = ingest_place_pages(image, image->frames.count, n);
	struct commit_counts *c = &image->counts;

	if (image->mode == INPUT_FULL && fid) {
		c->frames_touched += n;
		fid = 0;
	}
	if (fid)
		c->same += pages;
	else
		c->zero += pages;
	return runs_add(&image->frames, fid, n);
}

int ingest_place_gap(struct ingest_image *image, uint64_t to)
{
	const struct runs *parent = image->parent ? &image->parent->frames : NULL;
	int rc = 0;

	while (rc == 0 && image->frames.count < to) {
		uint64_t at = image->frames.count, fid = 0, end = to;
		const struct run *run = parent ? runs_find(parent, at) : NULL;

		if (run) {
			end = run->pos + run->len < to ? run->pos + run->len : to;
			fid = run->addr ? run->addr + (at - run->pos) : 0;
		}
		rc = add_gap(image, fid, end - at);
	}
	return rc;
}

static void count_pages(const struct job *j)
{
	unsigned n = (unsigned)ingest_place_pages(j->image, j->frame, 1);
	struct commit_counts *c = &j->image->counts;

	for (unsigned i = 0; i < n; i++) {
		c->zero += j->kind[i] == INPUT_PAGE_ZERO;
		c->same += j->kind[i] == INPUT_PAGE_PARENT;
		c->known += j->kind[i] == INPUT_PAGE_DATA;
	}
	c->known -= j->nfresh;
	c->fresh += j->nfresh;
	c->frames_touched += j->changed;
}

/* ---- packs and segments ---- */

static void end_segment(struct place *p)
{
	dedup_seal(p->in->dedup);
	p->seg_pages = 0;
	p->maps = 0;
	p->maps_len = 0;
}

/* The item INGEST_SLOTS_MAX ago is in its pack, and where that ended is known. */
static void catch_up(struct place *p, struct job *j)
{
	struct forecast *f = &p->forecasts[p->nplaced++ % INGEST_SLOTS_MAX];

	if (f->pack == p->pack)
		p->owed -= f->worst;
	if (f->end_pack == p->pack)
		p->known_end = f->end;
	*f = (struct forecast){0};
	j->forecast = f;
}

static void foresee(struct place *p, struct job *j, uint64_t worst)
{
	if (p->in->append && p->known_end + p->owed + worst + WAITING_WORST > PACK_SIZE_MAX) {
		end_segment(p);
		j->roll = true;
		p->pack = p->next_pack++;
		p->ord = 0;
		p->known_end = PACK_HEADER_LEN;
		p->owed = 0;
	}
	p->owed += worst;
	j->forecast->worst = worst;
	j->forecast->pack = p->pack;
}

static unsigned chunk_pages(const struct place *p, const struct job *j)
{
	return p->in->store->params.chunk_pages[layer_image_kind(j->image->name)];
}

static void begin_chunk(struct place *p, struct job *j, unsigned max)
{
	struct job_chunk *c = &j->chunk[j->nchunks++];

	*c = (struct job_chunk){.id = (uint64_t)p->pack << 32 | p->ord,
				.from = (uint16_t)j->nfresh};
	if (p->seg_pages + max > SEG_PAGES) {
		end_segment(p);
		c->new_seg = true;
	}
}

static int add_page(struct place *p, struct job *j, unsigned i)
{
	unsigned max = chunk_pages(p, j);

	if (j->nfresh % max == 0)
		begin_chunk(p, j, max);
	j->chunk[j->nchunks - 1].npages++;
	j->fresh[j->nfresh++] = (uint16_t)i;
	j->paddr[i] = (uint64_t)p->pack << 32 | p->ord++;
	p->seg_pages++;
	return dedup_add(p->in->dedup, &j->digest[i], j->paddr[i]);
}

/* ---- a frame that is new ---- */

/* Asks for all pages that are neither zero nor the parent's; how many are unknown. */
static unsigned find_pages(struct place *p, const struct job *j)
{
	unsigned n = 0, unknown = 0;

	for (unsigned i = 0; i < FRAME_PAGES; i++)
		if (j->kind[i] == INPUT_PAGE_DATA)
			p->ask[n++] = j->digest[i];
	if (n == 0)
		return 0;
	dedup_near(p->in->dedup, j->paddr);
	dedup_find(p->in->dedup, p->ask, n, p->found);
	for (unsigned k = 0; k < n; k++)
		unknown += p->found[k] == 0;
	return unknown;
}

static int place_pages(struct place *p, struct job *j)
{
	unsigned k = 0;
	int rc = 0;

	for (unsigned i = 0; i < FRAME_PAGES && rc == 0; i++) {
		if (j->kind[i] == INPUT_PAGE_ZERO)
			j->paddr[i] = 0;
		if (j->kind[i] != INPUT_PAGE_DATA)
			continue;
		j->paddr[i] = p->found[k++];
		/* The same page may be there twice in this frame. */
		if (!j->paddr[i] && j->nfresh)
			j->paddr[i] = dedup_peek(p->in->dedup, &j->digest[i]);
		if (!j->paddr[i])
			rc = add_page(p, j, i);
	}
	return rc;
}

static int encode_map(struct place *p, struct job *j)
{
	runs_reset(&p->runs);
	for (unsigned i = 0; i < FRAME_PAGES; i++)
		if (runs_add(&p->runs, j->paddr[i], 1) < 0)
			return -ENOMEM;
	buf_reset(&j->map);
	runs_encode(&p->runs, &j->map);
	return buf_error(&j->map);
}

static void foresee_map(struct place *p, struct job *j)
{
	p->maps++;
	p->maps_len += MAP_OVERHEAD + j->map.len;
	if (p->maps < MAPS_MAX && p->maps_len < MAPS_LEN_MAX)
		return;
	end_segment(p);
	j->flush = true;
}

static int new_frame(struct place *p, struct job *j)
{
	int rc;

	foresee(p, j, find_pages(p, j) * (uint64_t)PAGE_WORST + MAP_WORST);
	rc = place_pages(p, j);
	if (rc == 0)
		rc = add_frame(p, j);
	if (rc == 0)
		rc = encode_map(p, j);
	if (rc < 0)
		return rc;
	foresee_map(p, j);
	return 0;
}

static int choose_frame(struct place *p, struct job *j)
{
	uint64_t fid = j->parent_fid;
	int rc = 0;

	if (j->changed)
		fid = digest_is_zero(&j->frame_digest) ? 0 : find_frame(p, &j->frame_digest);
	if (j->changed && !fid && !digest_is_zero(&j->frame_digest)) {
		rc = new_frame(p, j);
		fid = j->fid;
	}
	return rc < 0 ? rc : runs_add(&j->image->frames, fid, 1);
}

int ingest_place(struct place *p, struct job *j, struct err *err)
{
	int rc;

	j->fid = 0;
	j->nfresh = j->nchunks = 0;
	j->roll = j->flush = false;
	catch_up(p, j);
	rc = ingest_place_gap(j->image, j->frame);
	if (rc == 0)
		rc = choose_frame(p, j);
	if (rc < 0)
		return err_set(err, rc, "out of memory");
	count_pages(j);
	return j->nfresh > 0;
}
