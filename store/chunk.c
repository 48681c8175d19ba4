/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cache loads a chunk once however many ask.  What a load needs is handed
 * to it as the `arg` of cache_get(): the batch that the chunk was asked for in.
 * The first miss of a batch reads a window, the record and those behind it in
 * the batch that are near enough, and announces the windows after it; later
 * misses find their record in the window.  Records that turn out to be cached
 * were read in vain, which costs less than to ask the cache twice.
 *
 *	batch	a stack object of one call
 *	window	a buffer of the thread, kept for its next call
 *
 * A load never asks the cache for anything, so loads cannot wait in a circle.
 */
#include "store/chunk.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/cache.h"
#include "store/codec.h"
#include "store/format.h"
#include "store/pack.h"
#include "store/record.h"
#include "store/seg.h"
#include "store/slab.h"
#include "store/store.h"

#define GAP_MAX (64u << 10)		/* bytes between records that are read with them */
#define WINDOW_MAX (1u << 20)
#define LOAD_TRIES 3			/* of others that we waited for */

/* What a thread keeps between calls. */
struct scratch {
	struct codec *codec;
	uint8_t *raw;
	size_t raw_cap;
};

/* A stretch of a pack. */
struct window {
	uint32_t pack;
	uint64_t off;
	size_t len;
};

struct batch {
	struct store *store;
	struct chunk_want *wants;
	uint16_t order[CHUNK_WANTS_MAX];	/* of wants, by place */
	size_t n;
	size_t at;			/* in order: the one being loaded */
	struct window held;		/* what is in the thread's buffer */
	bool announced;
	bool told;			/* err says why this thread's load failed */
	struct err *err;
};

/* Of all stores: chunks come and go, and leave room for each other. */
static struct slab memory = SLAB_INIT;

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static int scratch_error;

static void scratch_free(void *p)
{
	struct scratch *s = p;

	codec_free(s->codec);
	free(s->raw);
	free(s);
}

static void scratch_make_key(void)
{
	scratch_error = -pthread_key_create(&scratch_key, scratch_free);
}

/* Level 0: this thread's codec only decompresses. */
static struct scratch *scratch_new(void)
{
	struct scratch *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (codec_new(0, &s->codec) < 0 || pthread_setspecific(scratch_key, s) != 0) {
		scratch_free(s);
		return NULL;
	}
	return s;
}

static struct scratch *scratch_get(void)
{
	struct scratch *s;

	pthread_once(&scratch_once, scratch_make_key);
	if (scratch_error)
		return NULL;
	s = pthread_getspecific(scratch_key);
	return s ? s : scratch_new();
}

static int scratch_reserve(struct scratch *s, size_t len)
{
	size_t cap = s->raw_cap ? s->raw_cap : GAP_MAX;
	uint8_t *raw;

	if (len <= s->raw_cap)
		return 0;
	while (cap < len)
		cap *= 2;
	raw = malloc(cap);
	if (!raw)
		return -ENOMEM;
	free(s->raw);
	s->raw = raw;
	s->raw_cap = cap;
	return 0;
}

static unsigned count_bits(unsigned bits)
{
	return (unsigned)__builtin_popcount(bits);
}

const uint8_t *chunk_page(const struct chunk *chunk, unsigned slot)
{
	if (slot >= CHUNK_PAGES_MAX || !(chunk->slots >> slot & 1))
		return NULL;
	return chunk->data + (size_t)count_bits(chunk->slots & ((1u << slot) - 1)) * PAGE_SIZE;
}

static int check_record(uint32_t seed, uint64_t id, const struct seg_chunk *sc, const void *bytes,
			size_t len, struct record *ret, struct err *err)
{
	if (len < RECORD_HEADER_LEN || record_decode(bytes, ret) < 0)
		return err_set(err, -EBADMSG, "there is no record where it should be");
	if (ret->len != len - RECORD_HEADER_LEN)
		return err_set(err, -EBADMSG, "its length differs");
	if (record_check(seed, bytes, (const uint8_t *)bytes + RECORD_HEADER_LEN) < 0)
		return err_set(err, -EBADMSG, "checksum differs");
	if (ret->type != RECORD_CHUNK || ret->id != id || ret->slots != sc->slots)
		return err_set(err, -EBADMSG, "another record is in its place");
	return 0;
}

int chunk_decode(uint32_t seed, uint64_t id, const struct seg_chunk *sc, const void *record,
		 size_t len, uint8_t *out, struct err *err)
{
	struct scratch *s = scratch_get();
	struct record r;
	int rc;

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	rc = check_record(seed, id, sc, record, len, &r, err);
	if (rc < 0)
		return rc;
	rc = codec_decompress(s->codec, r.codec, out, (size_t)count_bits(r.slots) * PAGE_SIZE,
			      (const uint8_t *)record + RECORD_HEADER_LEN, r.len);
	if (rc == -EPROTONOSUPPORT)
		return err_set(err, rc, "codec %u is not known", r.codec);
	return rc < 0 ? err_set(err, rc, "it does not decompress") : 0;
}

static size_t record_len(const struct chunk_want *want)
{
	return RECORD_HEADER_LEN + (size_t)want->sc->len;
}

static uint64_t chunk_id(const struct chunk_want *want)
{
	return want->seg->first + want->sc->first;
}

static bool before(const struct chunk_want *a, const struct chunk_want *b)
{
	if (a->seg->pack != b->seg->pack)
		return a->seg->pack < b->seg->pack;
	return a->sc->off < b->sc->off;
}

/* By insertion: what a commit wrote in one go is in order already. */
static void sort_wants(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		size_t j = i;

		for (; j > 0 && before(&b->wants[i], &b->wants[b->order[j - 1]]); j--)
			b->order[j] = b->order[j - 1];
		b->order[j] = (uint16_t)i;
	}
}

/* The stretch from order[i] over all that are near; *ret_next is the first that is not. */
static struct window window_at(const struct batch *b, size_t i, size_t *ret_next)
{
	const struct chunk_want *want = &b->wants[b->order[i]];
	struct window w = {.pack = want->seg->pack, .off = want->sc->off, .len = record_len(want)};

	for (i++; i < b->n; i++) {
		uint64_t off, end;

		want = &b->wants[b->order[i]];
		off = want->sc->off;
		end = off + record_len(want);
		if (want->seg->pack != w.pack || off > w.off + w.len + GAP_MAX ||
		    end - w.off > WINDOW_MAX)
			break;
		if (end - w.off > w.len)
			w.len = end - w.off;
	}
	*ret_next = i;
	return w;
}

static void announce(const struct batch *b, size_t from)
{
	while (from < b->n) {
		struct window w = window_at(b, from, &from);

		packs_willneed(b->store->packs, w.pack, w.off, w.len);
	}
}

static bool holds(const struct window *w, const struct chunk_want *want)
{
	return want->seg->pack == w->pack && want->sc->off >= w->off &&
	       want->sc->off + record_len(want) <= w->off + w->len;
}

static int read_window(struct batch *b, struct scratch *s, const struct window *w)
{
	int rc = scratch_reserve(s, w->len);

	b->held = (struct window){0};
	if (rc < 0)
		return err_set(b->err, rc, "out of memory");
	rc = packs_read(b->store->packs, w->pack, w->off, s->raw, w->len, b->err);
	if (rc == 0)
		b->held = *w;
	return rc;
}

/* Brings the record of order[at] into the thread's buffer. */
static int fill(struct batch *b, struct scratch *s)
{
	const struct chunk_want *want = &b->wants[b->order[b->at]];
	size_t next;
	struct window w;
	int rc;

	if (holds(&b->held, want))
		return 0;
	w = window_at(b, b->at, &next);
	if (!b->announced)
		announce(b, next);
	b->announced = true;
	rc = read_window(b, s, &w);
	/* A bad sector hurts the chunk it is in, not its neighbours. */
	if (rc < 0 && rc != -ENOENT && w.len > record_len(want)) {
		w.len = record_len(want);
		rc = read_window(b, s, &w);
	}
	return rc;
}

static struct chunk *chunk_new(uint16_t slots)
{
	struct chunk *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	c->slots = slots;
	c->data = slab_get(&memory, count_bits(slots));
	if (!c->data) {
		free(c);
		return NULL;
	}
	return c;
}

static void chunk_free(struct chunk *c)
{
	slab_put(&memory, c->data, count_bits(c->slots));
	free(c);
}

static int load_chunk(struct batch *b, struct chunk **ret, size_t *ret_cost)
{
	const struct chunk_want *want = &b->wants[b->order[b->at]];
	struct scratch *s = scratch_get();
	struct chunk *c = s ? chunk_new(want->sc->slots) : NULL;
	int rc;

	if (!c)
		return err_set(b->err, -ENOMEM, "out of memory");
	rc = fill(b, s);
	if (rc == 0)
		rc = chunk_decode(packs_seed(b->store->packs), chunk_id(want), want->sc,
				  s->raw + (want->sc->off - b->held.off), record_len(want),
				  c->data, b->err);
	if (rc < 0) {
		chunk_free(c);
		return rc;
	}
	*ret = c;
	*ret_cost = sizeof(*c) + count_bits(c->slots) * PAGE_SIZE;
	return 0;
}

static int cache_load(void *ctx, uint64_t key, void *arg, void **ret_obj, size_t *ret_cost)
{
	struct chunk *c = NULL;
	int rc = load_chunk(arg, &c, ret_cost);

	(void)ctx;
	(void)key;
	if (rc < 0) {
		((struct batch *)arg)->told = true;
		return rc;
	}
	*ret_obj = c;
	return 0;
}

static void cache_unload(void *ctx, void *obj)
{
	(void)ctx;
	chunk_free(obj);
}

const struct cache_ops chunk_cache_ops = {.load = cache_load, .free = cache_unload};

/* A load by another thread that failed left its sentence there: try for our own. */
static int get_one(struct batch *b)
{
	struct chunk_want *want = &b->wants[b->order[b->at]];
	int rc = -EAGAIN;

	for (int i = 0; i < LOAD_TRIES && rc < 0 && !b->told; i++)
		rc = cache_get(b->store->chunks, chunk_id(want), b, &want->entry);
	if (rc == 0) {
		want->chunk = cache_obj(want->entry);
		return 0;
	}
	if (!b->told)
		return err_sys(b->err, rc, "chunk " PADDR_FMT " in pack %08x",
			       PADDR_ARG(chunk_id(want)), want->seg->pack);
	return err_wrap(b->err, rc, "chunk " PADDR_FMT " in pack %08x", PADDR_ARG(chunk_id(want)),
			want->seg->pack);
}

int chunk_get_all(struct store *store, struct chunk_want *wants, size_t n, size_t *ret_bad,
		  struct err *err)
{
	struct batch b = {.store = store, .wants = wants, .n = n, .err = err};

	sort_wants(&b);
	for (b.at = 0; b.at < n; b.at++) {
		int rc = get_one(&b);

		if (rc == 0)
			continue;
		*ret_bad = b.order[b.at];
		while (b.at-- > 0)
			chunk_put(store, wants[b.order[b.at]].entry);
		return rc;
	}
	return 0;
}

void chunk_willneed(struct store *store, const struct chunk_want *wants, size_t n)
{
	struct batch b = {.store = store, .wants = (struct chunk_want *)wants, .n = n};

	sort_wants(&b);
	announce(&b, 0);
}

int chunk_get(struct store *store, const struct seg *seg, const struct seg_chunk *sc,
	      struct cache_entry **ret, const struct chunk **ret_chunk, struct err *err)
{
	struct chunk_want want = {.seg = seg, .sc = sc};
	size_t bad;
	int rc = chunk_get_all(store, &want, 1, &bad, err);

	if (rc < 0)
		return rc;
	*ret = want.entry;
	*ret_chunk = want.chunk;
	return 0;
}

void chunk_put(struct store *store, struct cache_entry *entry)
{
	cache_put(store->chunks, entry);
}
