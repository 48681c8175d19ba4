/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A read asks three questions, each for the whole request before the next:
 *
 *	where are its pages	frame maps: runs of zeros or of page addresses
 *	in which chunks		segments: runs are cut into pieces at chunk borders
 *	what is in them		chunk_get_all(): sorted, merged, decompressed once
 *
 * and answers with pointers into cached chunks, or to zeros that all share.
 *
 * Nothing of a view changes after view_open() but three atomics (`expected`,
 * where a reader in sequence would go on; `announced`, the last stretch that
 * it was prepared for; the sum that view_data_bytes() computes once) and
 * `ahead`, which decompresses into the cache what a stream will read when a
 * core has nothing better to do.  All but the sum are only hints.
 *
 * gc may move a segment to another pack between the second question and the
 * third.  That meets -ENOENT: the segment is forgotten and the request is
 * planned again, a bounded number of times.
 */
#include "store/view.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/ahead.h"
#include "store/base/cache.h"
#include "store/base/fmt.h"
#include "store/chunk.h"
#include "store/format.h"
#include "store/frame.h"
#include "store/seg.h"
#include "store/store.h"

#define READ_MAX (1u << 20)
#define MOVED_TRIES 8
#define STREAM_MIN (128u << 10)		/* shorter reads are never taken for a stream */
#define STREAM_SLACK FRAME_SIZE		/* a stream's reads may overtake each other */
#define TELL_AHEAD 2			/* how many READ_MAX before a stream the kernel is told */
#define LOAD_AHEAD_MAX 8		/* how many are decompressed, if there is a core and room */
#define LOAD_AHEAD_SHARE 4		/* of the cache, at most one part in so many */
#define UNIT_PAGES (FRAME_PAGES / 8)	/* in one go: a core is not held for long */
#define UNKNOWN UINT64_MAX

struct view {
	struct store *store;
	struct layer *layer;
	const struct image *image;
	char name[IMAGE_NAME_MAX + 32];
	uint64_t expected;		/* atomic: bytes */
	uint64_t announced;		/* atomic: in units of READ_MAX */
	uint64_t data_bytes;		/* atomic: UNKNOWN until asked for */
	uint64_t room;			/* for what is read ahead, in units of READ_MAX */
	struct ahead ahead;
};

/* Consecutive pages that are zeros, or in one chunk. */
struct piece {
	uint64_t pgno;
	uint16_t npages;
	uint16_t slot;			/* of the first page in its chunk */
	uint16_t want;			/* index into plan->wants, or ZEROS */
};

#define ZEROS UINT16_MAX
#define ZEROS_LEN (16 * PAGE_SIZE)

struct plan {
	size_t npieces, nwants, nsegs;
	struct piece piece[VIEW_IOV_MAX];
	struct chunk_want want[CHUNK_WANTS_MAX];
	struct seg *seg[CHUNK_WANTS_MAX];	/* our references, for the wants */
};

/*
 * Small, to stay in the processor's cache; written to once, because to copy
 * from pages that were never touched costs the kernel several times as much.
 */
static _Alignas(4096) uint8_t zeros[ZEROS_LEN];
static pthread_once_t zeros_once = PTHREAD_ONCE_INIT;

static void touch_zeros(void)
{
	for (size_t i = 0; i < sizeof(zeros); i += PAGE_SIZE)
		*(volatile uint8_t *)&zeros[i] = 0;
}

static void load_unit(void *ctx, uint64_t unit);

int view_open(struct store *store, struct layer *layer, const char *image, struct view **ret,
	      struct err *err)
{
	const struct image *im = layer_image(layer, image);
	struct view *view;
	char id[13];

	fmt_hex(id, layer->id.b, 6);
	if (!im)
		return err_set(err, -ENOENT, "layer %s has no image '%s'", id, image);
	view = calloc(1, sizeof(*view));
	if (!view)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_once(&zeros_once, touch_zeros);
	ahead_init(&view->ahead, load_unit, view);
	view->room = cache_budget(store->chunks) / LOAD_AHEAD_SHARE / READ_MAX;
	view->store = store;
	view->layer = layer_ref(layer);
	view->image = im;
	view->data_bytes = UNKNOWN;
	(void)snprintf(view->name, sizeof(view->name), "layer %s image '%s'", id, im->name);
	*ret = view;
	return 0;
}

void view_close(struct view *view)
{
	if (!view)
		return;
	ahead_fini(&view->ahead);
	layer_unref(view->layer);
	free(view);
}

uint64_t view_size(const struct view *view)
{
	return view->image->size;
}

const char *view_name(const struct view *view)
{
	return view->name;
}

static int fail_at(const struct view *view, int rc, uint64_t pgno, struct err *err)
{
	return err_wrap(err, rc, "%s page %llu", view->name, (unsigned long long)pgno);
}

static void plan_fini(struct plan *plan)
{
	for (size_t i = 0; i < plan->nsegs; i++)
		seg_unref(plan->seg[i]);
	plan->nsegs = 0;
}

static void add_zeros(struct plan *plan, uint64_t pgno, size_t npages)
{
	struct piece *last = plan->npieces ? &plan->piece[plan->npieces - 1] : NULL;

	if (last && last->want == ZEROS)
		last->npages += (uint16_t)npages;
	else
		plan->piece[plan->npieces++] = (struct piece){
			.pgno = pgno, .npages = (uint16_t)npages, .want = ZEROS};
}

/* The last segment again, or another one that the plan will hold. */
static int plan_seg(struct view *view, struct plan *plan, uint64_t paddr, struct seg **ret,
		    struct err *err)
{
	struct seg *seg = plan->nsegs ? plan->seg[plan->nsegs - 1] : NULL;
	int rc;

	if (!seg || paddr - seg->first >= seg->span) {
		rc = seg_get(view->store, paddr, &seg, err);
		if (rc < 0)
			return rc;
		plan->seg[plan->nsegs++] = seg;
	}
	*ret = seg;
	return 0;
}

static uint16_t add_want(struct plan *plan, const struct seg *seg, const struct seg_chunk *sc)
{
	if (plan->nwants == 0 || plan->want[plan->nwants - 1].sc != sc)
		plan->want[plan->nwants++] = (struct chunk_want){.seg = seg, .sc = sc};
	return (uint16_t)(plan->nwants - 1);
}

/* A run of page addresses from `pgno` on, cut at the borders of its chunks. */
static int plan_run(struct view *view, struct plan *plan, uint64_t pgno, struct run run,
		    struct err *err)
{
	while (run.len) {
		const struct seg_chunk *sc;
		struct seg *seg;
		struct piece p = {.pgno = pgno};
		int rc = plan_seg(view, plan, run.addr, &seg, err);

		if (rc < 0)
			return fail_at(view, rc, pgno, err);
		sc = seg_find(seg, run.addr);
		if (!sc) {
			err_set(err, 0, "page " PADDR_FMT " is no longer in its segment",
				PADDR_ARG(run.addr));
			return fail_at(view, -EBADMSG, pgno, err);
		}
		p.slot = (uint16_t)(run.addr - seg->first - sc->first);
		p.npages = (uint16_t)(sc->span - p.slot);
		if (p.npages > run.len)
			p.npages = (uint16_t)run.len;
		p.want = add_want(plan, seg, sc);
		plan->piece[plan->npieces++] = p;
		pgno += p.npages;
		run.addr += p.npages;
		run.len -= p.npages;
	}
	return 0;
}

static int plan_map(struct view *view, struct plan *plan, const struct runs *map,
		    struct run pages, struct err *err)
{
	uint64_t pos = pages.pos % FRAME_PAGES, end = pos + pages.len;
	const struct run *r = runs_find(map, pos);
	int rc = 0;

	for (; pos < end && rc == 0; r++) {
		uint64_t skip = pos - r->pos, n = r->len - skip;
		uint64_t pgno = pages.pos + (pos - pages.pos % FRAME_PAGES);

		if (n > end - pos)
			n = end - pos;
		if (r->addr == 0)
			add_zeros(plan, pgno, n);
		else
			rc = plan_run(view, plan, pgno,
				      (struct run){.addr = r->addr + skip, .len = n}, err);
		pos += n;
	}
	return rc;
}

/* Pages of one frame; pages.pos is the first one's number in the image. */
static int plan_frame(struct view *view, struct plan *plan, struct run pages, struct err *err)
{
	uint64_t fid = runs_at(&view->image->frames, pages.pos / FRAME_PAGES);
	const struct frame *frame;
	struct cache_entry *e;
	int rc;

	if (fid == 0) {
		add_zeros(plan, pages.pos, pages.len);
		return 0;
	}
	rc = frame_get(view->store, fid, &e, &frame, err);
	if (rc < 0)
		return fail_at(view, rc, pages.pos, err);
	rc = plan_map(view, plan, &frame->map, pages, err);
	frame_put(view->store, e);
	return rc;
}

/* At most VIEW_IOV_MAX pages.  plan_fini() it whatever comes out. */
static int plan_make(struct view *view, struct plan *plan, uint64_t pgno, uint64_t npages,
		     struct err *err)
{
	int rc = 0;

	plan->npieces = plan->nwants = plan->nsegs = 0;
	while (npages && rc == 0) {
		uint64_t n = FRAME_PAGES - pgno % FRAME_PAGES;

		if (n > npages)
			n = npages;
		rc = plan_frame(view, plan, (struct run){.pos = pgno, .len = n}, err);
		pgno += n;
		npages -= n;
	}
	return rc;
}

static void add_iov(struct view_data *data, const uint8_t *p, size_t len)
{
	struct iovec *last = data->niov ? &data->iov[data->niov - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == p)
		last->iov_len += len;
	else
		data->iov[data->niov++] = (struct iovec){.iov_base = (void *)p, .iov_len = len};
	data->len += len;
}

static void add_zeros_iov(struct view_data *data, size_t len)
{
	while (len) {
		size_t n = len < ZEROS_LEN ? len : ZEROS_LEN;

		data->iov[data->niov++] = (struct iovec){.iov_base = zeros, .iov_len = n};
		data->len += n;
		len -= n;
	}
}

/* The memory of a piece, or NULL if the chunk does not have all of its pages. */
static const uint8_t *piece_bytes(const struct plan *plan, const struct piece *p)
{
	unsigned pages = ((1u << p->npages) - 1) << p->slot;
	const struct chunk *chunk = plan->want[p->want].chunk;

	return (chunk->slots & pages) == pages ? chunk_page(chunk, p->slot) : NULL;
}

static int check_pieces(const struct view *view, const struct plan *plan, struct err *err)
{
	for (size_t i = 0; i < plan->npieces; i++) {
		const struct piece *p = &plan->piece[i];

		if (p->want == ZEROS || piece_bytes(plan, p))
			continue;
		err_set(err, 0, "its chunk has other pages than its segment says");
		return fail_at(view, -EBADMSG, p->pgno, err);
	}
	return 0;
}

/* What of the pieces lies in [off, end). */
static void answer(const struct plan *plan, uint64_t off, uint64_t end, struct view_data *ret)
{
	ret->niov = ret->nheld = 0;
	ret->len = 0;
	for (size_t i = 0; i < plan->npieces; i++) {
		const struct piece *p = &plan->piece[i];
		uint64_t start = p->pgno << PAGE_SHIFT, from = start < off ? off : start;
		uint64_t to = start + ((uint64_t)p->npages << PAGE_SHIFT);

		to = to < end ? to : end;
		if (p->want == ZEROS)
			add_zeros_iov(ret, to - from);
		else
			add_iov(ret, piece_bytes(plan, p) + (from - start), to - from);
	}
	for (size_t i = 0; i < plan->nwants; i++)
		ret->held[ret->nheld++] = plan->want[i].entry;
}

static void put_wants(struct view *view, const struct plan *plan)
{
	for (size_t i = 0; i < plan->nwants; i++)
		chunk_put(view->store, plan->want[i].entry);
}

/* The first page that needs this chunk. */
static uint64_t page_of_want(const struct plan *plan, size_t want)
{
	size_t i = 0;

	while (plan->piece[i].want != want)
		i++;
	return plan->piece[i].pgno;
}

static int fetch(struct view *view, struct plan *plan, struct err *err)
{
	size_t bad = 0;
	int rc = chunk_get_all(view->store, plan->want, plan->nwants, &bad, err);

	if (rc == -ENOENT)
		seg_forget(view->store, plan->want[bad].seg);
	if (rc < 0)
		return fail_at(view, rc, page_of_want(plan, bad), err);
	rc = check_pieces(view, plan, err);
	if (rc < 0)
		put_wants(view, plan);
	return rc;
}

static uint64_t page_after(uint64_t off)
{
	return (off + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

static int read_once(struct view *view, uint64_t off, uint64_t end, struct view_data *ret,
		     struct err *err)
{
	uint64_t pgno = off >> PAGE_SHIFT;
	struct plan plan;
	int rc = plan_make(view, &plan, pgno, page_after(end) - pgno, err);

	if (rc == 0)
		rc = fetch(view, &plan, err);
	if (rc == 0)
		answer(&plan, off, end, ret);
	plan_fini(&plan);
	return rc;
}

/* A plan for those of the pages that there are.  plan_fini() it. */
static int plan_ahead(struct view *view, struct plan *plan, uint64_t pgno, uint64_t npages)
{
	uint64_t last = page_after(view->image->size), left = pgno < last ? last - pgno : 0;

	return plan_make(view, plan, pgno, npages < left ? npages : left, NULL);
}

/* Tells the kernel of the chunks in one stretch of READ_MAX. */
static void announce(struct view *view, uint64_t stretch)
{
	struct plan plan;

	if (plan_ahead(view, &plan, stretch * (READ_MAX / PAGE_SIZE), READ_MAX / PAGE_SIZE) == 0)
		chunk_willneed(view->store, plan.want, plan.nwants);
	plan_fini(&plan);
}

/* Brings UNIT_PAGES into the cache.  Damage is told to those who read it. */
static void load_unit(void *ctx, uint64_t unit)
{
	struct view *view = ctx;
	struct plan plan;
	size_t bad;

	if (plan_ahead(view, &plan, unit * UNIT_PAGES, UNIT_PAGES) == 0 &&
	    chunk_get_all(view->store, plan.want, plan.nwants, &bad, NULL) == 0)
		put_wants(view, &plan);
	plan_fini(&plan);
}

/* Who reads on from where the last read ended will go on. */
static void look_ahead(struct view *view, uint64_t off, size_t len)
{
	uint64_t stretch = (off + len - 1) / READ_MAX, expected;
	const uint64_t units = READ_MAX / PAGE_SIZE / UNIT_PAGES;
	uint64_t far = view->room < LOAD_AHEAD_MAX ? view->room : LOAD_AHEAD_MAX;

	expected = __atomic_exchange_n(&view->expected, off + len, __ATOMIC_RELAXED);
	if (len < STREAM_MIN || off + STREAM_SLACK < expected || off > expected + STREAM_SLACK)
		return;
	if (__atomic_exchange_n(&view->announced, stretch, __ATOMIC_RELAXED) == stretch)
		return;
	announce(view, stretch + TELL_AHEAD);
	ahead_want(&view->ahead, (stretch + 1) * units, (stretch + 1 + far) * units);
}

static size_t clip(const struct view *view, uint64_t off, size_t len)
{
	uint64_t size = view->image->size, left = off < size ? size - off : 0;

	if (len > READ_MAX)
		len = READ_MAX;
	return len < left ? len : left;
}

int view_read(struct view *view, uint64_t off, size_t len, struct view_data *ret, struct err *err)
{
	int rc = -ENOENT;

	len = clip(view, off, len);
	if (len == 0) {
		ret->niov = ret->nheld = 0;
		ret->len = 0;
		return 0;
	}
	look_ahead(view, off, len);
	ahead_demand_begin();
	for (int i = 0; i < MOVED_TRIES && rc == -ENOENT; i++)
		rc = read_once(view, off, off + len, ret, err);
	ahead_demand_end();
	/* Whoever reads a layer keeps its bytes: what is still not there is damage. */
	return rc == -ENOENT ? -EBADMSG : rc;
}

void view_release(struct view *view, struct view_data *data)
{
	for (int i = 0; i < data->nheld; i++)
		chunk_put(view->store, data->held[i]);
	data->nheld = data->niov = 0;
}

static uint8_t *copy_out(uint8_t *to, const struct view_data *data)
{
	for (int i = 0; i < data->niov; i++) {
		memcpy(to, data->iov[i].iov_base, data->iov[i].iov_len);
		to += data->iov[i].iov_len;
	}
	return to;
}

int64_t view_pread(struct view *view, void *buf, size_t len, uint64_t off, struct err *err)
{
	uint8_t *to = buf;
	struct view_data data;

	if (len > INT64_MAX)
		len = INT64_MAX;
	while (len) {
		size_t n = READ_MAX - off % READ_MAX;
		int rc = view_read(view, off, n < len ? n : len, &data, err);

		if (rc < 0)
			return rc;
		if (data.len == 0)
			break;
		to = copy_out(to, &data);
		off += data.len;
		len -= data.len;
		view_release(view, &data);
	}
	return to - (uint8_t *)buf;
}

/* A run of pages, all zeros or all data. */
struct extent {
	uint64_t end;			/* page number behind it */
	bool data;
};

static int extent_in_frame(struct view *view, uint64_t fid, uint64_t pgno, struct extent *ret,
			   struct err *err)
{
	uint64_t pos = pgno % FRAME_PAGES;
	const struct frame *frame;
	const struct run *r, *end;
	struct cache_entry *e;
	int rc = frame_get(view->store, fid, &e, &frame, err);

	if (rc < 0)
		return fail_at(view, rc == -ENOENT ? -EBADMSG : rc, pgno, err);
	r = runs_find(&frame->map, pos);
	end = frame->map.v + frame->map.n;
	ret->data = r->addr != 0;
	while (r < end && (r->addr != 0) == ret->data)
		r++;
	ret->end = pgno - pos + (r < end ? r->pos : FRAME_PAGES);
	frame_put(view->store, e);
	return 0;
}

static int extent_at(struct view *view, uint64_t pgno, struct extent *ret, struct err *err)
{
	const struct run *r = runs_find(&view->image->frames, pgno / FRAME_PAGES);

	if (r->addr)
		return extent_in_frame(view, r->addr + (pgno / FRAME_PAGES - r->pos), pgno, ret,
				       err);
	*ret = (struct extent){.end = (r->pos + r->len) * FRAME_PAGES};
	return 0;
}

int view_next_run(struct view *view, uint64_t off, struct view_run *ret, struct err *err)
{
	uint64_t size = view->image->size, npages = page_after(size), end;
	struct extent ext, next;
	int rc;

	if (off >= size)
		return err_set(err, -ENXIO, "%s ends at byte %llu", view->name,
			       (unsigned long long)size);
	rc = extent_at(view, off >> PAGE_SHIFT, &ext, err);
	while (rc == 0 && ext.end < npages) {
		/* A damaged map behind it is for those who ask for that. */
		if (extent_at(view, ext.end, &next, NULL) < 0 || next.data != ext.data)
			break;
		ext.end = next.end;
	}
	if (rc < 0)
		return rc;
	end = ext.end < npages ? ext.end << PAGE_SHIFT : size;
	*ret = (struct view_run){.off = off, .len = end - off, .data = ext.data};
	return 0;
}

static int count_data(struct view *view, uint64_t fid, uint64_t *sum, struct err *err)
{
	const struct frame *frame;
	struct cache_entry *e;
	int rc = frame_get(view->store, fid, &e, &frame, err);

	if (rc < 0)
		return rc == -ENOENT ? -EBADMSG : rc;
	for (size_t i = 0; i < frame->map.n; i++)
		if (frame->map.v[i].addr)
			*sum += frame->map.v[i].len << PAGE_SHIFT;
	frame_put(view->store, e);
	return 0;
}

int view_data_bytes(struct view *view, uint64_t *ret, struct err *err)
{
	uint64_t sum = __atomic_load_n(&view->data_bytes, __ATOMIC_RELAXED);
	const struct runs *frames = &view->image->frames;
	int rc = 0;

	if (sum == UNKNOWN) {
		sum = 0;
		for (size_t i = 0; i < frames->n; i++)
			for (uint64_t j = 0;
			     frames->v[i].addr && j < frames->v[i].len && rc == 0; j++)
				rc = count_data(view, frames->v[i].addr + j, &sum, err);
		if (rc < 0)
			return err_wrap(err, rc, "%s", view->name);
		__atomic_store_n(&view->data_bytes, sum, __ATOMIC_RELAXED);
	}
	*ret = sum;
	return 0;
}
