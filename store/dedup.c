/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists are loaded through a cache shared by all threads; each is the digests
 * of one segment.  Of these, some are *active*: referenced, and with all their
 * digests in the table that dedup_find() asks.
 *
 *	hook hit or near -> active -(least recently hit)-> cached -(LRU)-> gone
 *	dedup_parent_digests() only ever makes a list cached
 *
 * So what other threads load is shared, but has no influence on what is found.
 *
 * The list being added to, `open`, is active and not in the cache; sealed, it
 * becomes an ordinary one.  The index does not know the hooks of this commit
 * yet: own_hooks does, and `own` knows where its lists are in the packs.
 * A list may leave the active ones only when its record is certainly in the
 * file: PIN_PAGES more pages have been added since, which is more than can be
 * in the pipeline, and their own lists more than a pack writer holds back.
 *
 * A pack is looked at before the first of its lists is loaded, and noted in
 * `readable`: no page is called known that lies in a file which is not there.
 *
 * `lock` covers `own` and `readable`.
 */
#include "store/dedup.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cache.h"
#include "store/base/vec.h"
#include "store/dedup-list.h"
#include "store/dedup-table.h"
#include "store/format.h"
#include "store/index.h"
#include "store/keymap.h"
#include "store/pack.h"
#include "store/seg.h"
#include "store/store.h"

#define PIN_PAGES (4 * SEG_PAGES)
/* Three quarters are room for what is pinned, its oldest list, and the open one. */
#define TABLE_MIN (8 * SEG_PAGES)
#define NO_LIST UINT32_MAX
/* Much of a frame is an eighth of its pages; of segments beyond the 16th nobody asks. */
#define NEAR_SHARE 8
#define NEAR_MAX 16

struct active {
	struct dedup_list *list;	/* NULL: this place is free */
	struct cache_entry *entry;	/* NULL: the open one */
	uint64_t used;			/* dedup's clock when last hit */
	uint64_t pinned;		/* until so many pages were added */
};

/* A list of this commit that is in its pack. */
struct own {
	uint64_t first;
	uint64_t off;
};

struct dedup {
	struct store *store;
	struct cache *lists;		/* by first address: struct dedup_list */
	struct dedup_table table;
	size_t table_max;		/* entries it may grow to */
	struct active active[DEDUP_TABLE_LISTS];
	uint32_t nactive;		/* places in use lie below */
	uint32_t open;			/* the list being added to, or NO_LIST */
	size_t digests;			/* room taken in the table: the open list counts as full */
	uint64_t clock;
	uint64_t added;
	struct keymap own_hooks;	/* digest key -> first address */
	pthread_mutex_t lock;
	VEC(struct own) own;		/* under lock; ascending */
	VEC(uint32_t) readable;		/* under lock: packs of the index, looked at */
};

/* What the cache's loader needs to know. */
struct loading {
	struct dedup_list *ready;	/* the list itself, taken; or */
	struct seg *seg;		/* whose it is; or */
	uint64_t off;			/* where its record is */
	struct err *err;
	bool told;			/* who waits for another's load is not told */
};

static bool is_readable(struct dedup *dd, uint32_t pack)
{
	bool found = false;

	pthread_mutex_lock(&dd->lock);
	for (size_t i = 0; i < dd->readable.n && !found; i++)
		found = dd->readable.v[i] == pack;
	pthread_mutex_unlock(&dd->lock);
	return found;
}

/* Only good news is kept, and without memory not even that. */
static int check_pack(struct dedup *dd, uint32_t pack, struct err *err)
{
	struct index_pack row;
	int rc;

	if (is_readable(dd, pack))
		return 0;
	rc = index_pack_get(dd->store->index, pack, &row, err);
	if (rc == 0)
		rc = packs_check_readable(dd->store->packs, pack, row.end, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&dd->lock);
	(void)vec_push(&dd->readable, pack);
	pthread_mutex_unlock(&dd->lock);
	return 0;
}

static int list_read(struct dedup *dd, struct seg *seg, struct dedup_list **ret, struct err *err)
{
	int rc = check_pack(dd, seg->pack, err);

	return rc < 0 ? rc : dedup_list_read(dd->store, seg, ret, err);
}

static int list_load(void *ctx, uint64_t key, void *arg, void **ret_obj, size_t *ret_cost)
{
	struct loading *from = arg;
	struct dedup_list *l = from->ready;
	struct dedup *dd = ctx;
	int rc = 0;

	from->told = true;
	if (!l && from->seg)
		rc = list_read(dd, from->seg, &l, from->err);
	else if (!l)
		rc = dedup_list_read_own(dd->store, key, from->off, &l, from->err);
	if (rc < 0)
		return rc;
	*ret_obj = l;
	*ret_cost = sizeof(*l) + (size_t)l->n * DIGEST_LEN;
	return 0;
}

static void list_unload(void *ctx, void *obj)
{
	(void)ctx;
	dedup_list_free(obj);
}

static const struct cache_ops list_ops = {.load = list_load, .free = list_unload};

/* The largest table that with three quarters of its digests stays in budget. */
static size_t table_max(size_t budget)
{
	size_t cap = TABLE_MIN;

	while (2 * cap * (DEDUP_TABLE_ENTRY + DIGEST_LEN * 3 / 4) <= budget)
		cap *= 2;
	return cap;
}

int dedup_new(struct store *store, size_t budget, struct dedup **ret)
{
	struct dedup *dd = calloc(1, sizeof(*dd));
	size_t table = table_max(budget) * DEDUP_TABLE_ENTRY;

	if (!dd)
		return -ENOMEM;
	pthread_mutex_init(&dd->lock, NULL);
	dd->store = store;
	dd->open = NO_LIST;
	dd->table_max = table_max(budget);
	if (dedup_table_init(&dd->table, TABLE_MIN) < 0 ||
	    cache_new(&list_ops, dd, budget > table ? budget - table : 0, &dd->lists) < 0) {
		dedup_free(dd);
		return -ENOMEM;
	}
	*ret = dd;
	return 0;
}

void dedup_free(struct dedup *dd)
{
	if (!dd)
		return;
	for (uint32_t i = 0; i < dd->nactive; i++) {
		if (dd->active[i].entry)
			cache_put(dd->lists, dd->active[i].entry);
		else
			dedup_list_free(dd->active[i].list);
	}
	cache_free(dd->lists);
	dedup_table_fini(&dd->table);
	keymap_fini(&dd->own_hooks);
	vec_fini(&dd->own);
	vec_fini(&dd->readable);
	pthread_mutex_destroy(&dd->lock);
	free(dd);
}

/* ---- active lists ---- */

static void deactivate(struct dedup *dd, uint32_t i)
{
	struct active *a = &dd->active[i];

	for (uint32_t k = 0; k < a->list->n; k++)
		dedup_table_remove(&dd->table, i, k);
	dd->digests -= a->list->n;
	if (a->entry)
		cache_put(dd->lists, a->entry);
	else
		dedup_list_free(a->list);
	*a = (struct active){0};
}

/* The one hit least recently of those that may go, or NO_LIST. */
static uint32_t victim(const struct dedup *dd)
{
	uint32_t oldest = NO_LIST;

	for (uint32_t i = 0; i < dd->nactive; i++) {
		const struct active *a = &dd->active[i];

		if (!a->list || i == dd->open || a->pinned > dd->added)
			continue;
		if (oldest == NO_LIST || a->used < dd->active[oldest].used)
			oldest = i;
	}
	return oldest;
}

static uint32_t free_place(struct dedup *dd)
{
	for (uint32_t i = 0; i < dd->nactive; i++)
		if (!dd->active[i].list)
			return i;
	return dd->nactive < DEDUP_TABLE_LISTS ? dd->nactive++ : NO_LIST;
}

static bool has_room(const struct dedup *dd, uint32_t n)
{
	return dd->digests + n <= dd->table.cap / 4 * 3;
}

/* A free place, with room in the table for `n` more digests; or NO_LIST. */
static uint32_t make_room(struct dedup *dd, uint32_t n)
{
	uint32_t place;

	while (!has_room(dd, n) && dd->table.cap < dd->table_max)
		if (dedup_table_grow(&dd->table) < 0)
			break;
	while (!has_room(dd, n)) {
		uint32_t i = victim(dd);

		if (i == NO_LIST)
			return NO_LIST;
		deactivate(dd, i);
	}
	place = free_place(dd);
	if (place == NO_LIST) {
		place = victim(dd);
		if (place != NO_LIST)
			deactivate(dd, place);
	}
	return place;
}

static bool is_active(struct dedup *dd, uint64_t first)
{
	for (uint32_t i = 0; i < dd->nactive; i++)
		if (dd->active[i].list && dd->active[i].list->first == first) {
			dd->active[i].used = ++dd->clock;
			return true;
		}
	return false;
}

/* Where this commit has put the list of segment `first`, or 0. */
static uint64_t own_off(struct dedup *dd, uint64_t first)
{
	uint64_t off = 0;
	size_t lo = 0, hi;

	pthread_mutex_lock(&dd->lock);
	hi = dd->own.n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (dd->own.v[mid].first < first)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < dd->own.n && dd->own.v[lo].first == first)
		off = dd->own.v[lo].off;
	pthread_mutex_unlock(&dd->lock);
	return off;
}

static int list_get(struct dedup *dd, uint64_t first, struct cache_entry **ret)
{
	struct loading from = {.off = own_off(dd, first)};
	int rc = 0;

	if (!from.off)
		rc = seg_get(dd->store, first, &from.seg, NULL);
	if (rc == 0)
		rc = cache_get(dd->lists, first, &from, ret);
	seg_unref(from.seg);
	return rc;
}

static void activate(struct dedup *dd, uint64_t first)
{
	struct cache_entry *entry;
	struct dedup_list *l;
	uint32_t place;

	if (is_active(dd, first) || list_get(dd, first, &entry) < 0)
		return;
	l = cache_obj(entry);
	place = make_room(dd, l->n);
	if (place == NO_LIST) {
		cache_put(dd->lists, entry);
		return;
	}
	dd->active[place] = (struct active){.list = l, .entry = entry, .used = ++dd->clock};
	dd->table.list[place] = l->digest;
	dd->digests += l->n;
	for (uint32_t i = 0; i < l->n; i++)
		dedup_table_add(&dd->table, place, i);
}

/* ---- finding ---- */

uint64_t dedup_peek(struct dedup *dd, const struct digest *digest)
{
	uint32_t list, index;

	if (!dedup_table_find(&dd->table, digest, &list, &index))
		return 0;
	dd->active[list].used = ++dd->clock;
	return dedup_list_address(dd->active[list].list, index);
}

static void ask_hook(struct dedup *dd, const struct digest *digest)
{
	uint64_t key = digest_key(digest), first;

	if (dedup_peek(dd, digest))
		return;
	first = keymap_find(&dd->own_hooks, key);
	if (first || index_hook_find(dd->store->index, key, &first) == 0)
		activate(dd, first);
}

void dedup_find(struct dedup *dd, const struct digest digests[], size_t n, uint64_t ret_paddr[])
{
	for (size_t i = 0; i < n; i++)
		if (digest_is_hook(&digests[i]))
			ask_hook(dd, &digests[i]);
	for (size_t i = 0; i < n; i++)
		ret_paddr[i] = dedup_peek(dd, &digests[i]);
}

/* A segment, and how many pages of a frame it holds. */
struct near {
	uint64_t first;
	uint32_t span;
	unsigned npages;
};

static struct near *near_of(struct dedup *dd, uint64_t paddr, struct near v[], size_t *n)
{
	struct seg *seg;

	for (size_t i = 0; i < *n; i++)
		if (paddr - v[i].first < v[i].span)
			return &v[i];
	if (*n == NEAR_MAX || seg_get(dd->store, paddr, &seg, NULL) < 0)
		return NULL;
	v[*n] = (struct near){.first = seg->first, .span = seg->span};
	seg_unref(seg);
	return &v[(*n)++];
}

void dedup_near(struct dedup *dd, const uint64_t paddr[])
{
	struct near v[NEAR_MAX], *near;
	unsigned npages = 0;
	size_t n = 0;

	for (size_t i = 0; i < FRAME_PAGES; i++) {
		near = paddr[i] ? near_of(dd, paddr[i], v, &n) : NULL;
		if (near)
			near->npages++;
		npages += paddr[i] != 0;
	}
	for (size_t i = 0; i < n; i++)
		if (v[i].npages * NEAR_SHARE >= npages)
			activate(dd, v[i].first);
}

/* Moves *seg to the one of `paddr`; whether that can be read. */
static bool has_seg(struct dedup *dd, uint64_t paddr, struct seg **seg)
{
	struct seg *next;

	if (*seg && paddr - (*seg)->first < (*seg)->span)
		return true;
	if (seg_get(dd->store, paddr, &next, NULL) < 0)
		return false;
	seg_unref(*seg);
	*seg = next;
	return check_pack(dd, next->pack, NULL) == 0;
}

static bool has_run(struct dedup *dd, const struct run *run, struct seg **seg)
{
	uint64_t done = 0;

	while (run->addr && done < run->len) {
		if (!has_seg(dd, run->addr + done, seg))
			return false;
		done = (*seg)->first + (*seg)->span - run->addr;
	}
	return true;
}

bool dedup_has(struct dedup *dd, const struct runs *map)
{
	struct seg *seg = NULL;
	bool has = true;

	for (size_t i = 0; i < map->n && has; i++)
		has = has_run(dd, &map->v[i], &seg);
	seg_unref(seg);
	return has;
}

/* ---- this commit's pages ---- */

static int open_list(struct dedup *dd, uint64_t first)
{
	uint32_t place = make_room(dd, SEG_PAGES);
	struct dedup_list *l;

	if (place == NO_LIST || dedup_list_new(first, &l) < 0)
		return -ENOMEM;
	dd->active[place] = (struct active){.list = l};
	dd->table.list[place] = l->digest;
	dd->open = place;
	dd->digests += SEG_PAGES;
	return 0;
}

int dedup_add(struct dedup *dd, const struct digest *digest, uint64_t paddr)
{
	struct dedup_list *l;

	if (dd->open == NO_LIST && open_list(dd, paddr) < 0)
		return -ENOMEM;
	l = dd->active[dd->open].list;
	assert(l->n < SEG_PAGES && paddr == l->first + l->n);
	if (digest_is_hook(digest) &&
	    keymap_put(&dd->own_hooks, digest_key(digest), l->first) < 0)
		return -ENOMEM;
	l->digest[l->n] = *digest;
	dedup_table_add(&dd->table, dd->open, l->n);
	l->n++;
	dd->added++;
	return 0;
}

void dedup_seal(struct dedup *dd)
{
	struct loading from = {0};
	struct active *a;

	if (dd->open == NO_LIST)
		return;
	a = &dd->active[dd->open];
	a->used = ++dd->clock;
	a->pinned = dd->added + PIN_PAGES;
	dd->digests -= SEG_PAGES - a->list->n;
	from.ready = a->list;
	/* Without memory for an entry it is lost to later pages, no more. */
	if (cache_get(dd->lists, a->list->first, &from, &a->entry) < 0)
		deactivate(dd, dd->open);
	dd->open = NO_LIST;
}

int dedup_written(struct dedup *dd, uint64_t first, uint64_t off)
{
	struct own own = {.first = first, .off = off};
	int rc;

	pthread_mutex_lock(&dd->lock);
	rc = vec_push(&dd->own, own);
	pthread_mutex_unlock(&dd->lock);
	return rc;
}

/* ---- the parent ---- */

/* The list used last: neighbours are mostly in the same one. */
struct cursor {
	struct cache_entry *entry;
	const struct dedup_list *list;
};

static int move_to(struct dedup *dd, uint64_t paddr, struct cursor *c, struct err *err)
{
	struct loading from = {.err = err};
	struct cache_entry *entry;
	uint64_t first;
	int rc;

	if (c->list && paddr >= c->list->first && paddr - c->list->first < c->list->seg->span)
		return 0;
	rc = seg_get(dd->store, paddr, &from.seg, err);
	if (rc < 0)
		return rc;
	first = from.seg->first;
	rc = cache_get(dd->lists, first, &from, &entry);
	seg_unref(from.seg);
	if (rc < 0)
		return from.told ? rc : err_sys(err, rc, "the digests of segment " PADDR_FMT,
						PADDR_ARG(first));
	cache_put(dd->lists, c->entry);
	*c = (struct cursor){.entry = entry, .list = cache_obj(entry)};
	return 0;
}

static int copy_run(struct dedup *dd, const struct run *run, struct cursor *c,
		    struct digest ret[], struct err *err)
{
	uint64_t done = 0;

	while (done < run->len) {
		uint64_t paddr = run->addr + done, n;
		int rc = move_to(dd, paddr, c, err);

		if (rc < 0)
			return rc;
		n = c->list->first + c->list->seg->span - paddr;
		if (n > run->len - done)
			n = run->len - done;
		rc = dedup_list_copy(c->list, paddr, n, ret + done, err);
		if (rc < 0)
			return rc;
		done += n;
	}
	return 0;
}

int dedup_parent_digests(struct dedup *dd, const struct runs *map, struct digest ret[],
			 struct err *err)
{
	struct cursor c = {0};
	int rc = 0;

	for (size_t i = 0; i < map->n && rc == 0; i++) {
		const struct run *run = &map->v[i];

		if (run->addr)
			rc = copy_run(dd, run, &c, ret + run->pos, err);
		else
			memset(ret + run->pos, 0, run->len * sizeof(*ret));
	}
	cache_put(dd->lists, c.entry);
	return rc;
}
