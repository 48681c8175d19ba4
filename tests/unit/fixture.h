/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fixture: a small store put together by hand, without commit, so that a test
 * says exactly which page lies where.  Whatever fails here bails out.
 *
 * The page at address `paddr` is filled by fixture_page(): half text, half
 * noise, different for every address.
 */
#ifndef LAMINA_TESTS_UNIT_FIXTURE_H
#define LAMINA_TESTS_UNIT_FIXTURE_H

#include <fcntl.h>

#include "store/codec.h"
#include "store/decide.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/pack.h"
#include "store/seg.h"
#include "store/store.h"
#include "tests/tap.h"

struct fixture {
	struct store *store;
	struct pack_writer w;
	uint64_t next;		/* page address */
	uint64_t fid;
	uint64_t seq;
};

TAP_FN void fixture_must(int rc, const struct err *err, const char *what)
{
	if (rc < 0)
		bail("%s: %s (%s)", what, err ? err->text : "", strerror(-rc));
}

TAP_FN void fixture_page(uint64_t paddr, uint8_t page[PAGE_SIZE])
{
	uint64_t x = paddr * UINT64_C(0x9e3779b97f4a7c15) | 1;

	memset(page, 0, 32);
	(void)snprintf((char *)page, 32, "page " PADDR_FMT, PADDR_ARG(paddr));
	for (size_t i = 32; i < PAGE_SIZE; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page[i] = i % 2 ? (uint8_t)x : 'a';
	}
}

TAP_FN struct digest fixture_digest(uint64_t paddr)
{
	uint8_t page[PAGE_SIZE] = {0};
	struct digest d;

	fixture_page(paddr, page);
	digest_bytes(DIGEST_BLAKE2B_256, page, sizeof(page), &d);
	return d;
}

/* Makes the store `name` and its pack 1. */
TAP_FN void fixture_open(struct fixture *f, const char *name, const struct store_limits *limits)
{
	struct store_params params;
	struct err err;

	store_params_default(&params);
	fixture_must(digest_init(), NULL, "digest_init");
	fixture_must(store_init(tap_path(name), &params, &err), &err, "store_init");
	fixture_must(store_open(tap_path(name), limits, &f->store, &err), &err, "store_open");
	fixture_must(pack_create(f->store->packs, 1, &f->w, &err), &err, "pack_create");
	f->next = UINT64_C(1) << 32;
	f->fid = f->seq = 0;
}

TAP_FN void fixture_close(struct fixture *f)
{
	pack_close(&f->w);
	store_close(f->store);
}

/* Goes on in another pack. */
TAP_FN void fixture_new_pack(struct fixture *f, uint32_t number)
{
	struct err err;

	pack_close(&f->w);
	fixture_must(pack_create(f->store->packs, number, &f->w, &err), &err, "pack_create");
	f->next = (uint64_t)number << 32;
}

/* A chunk's record: pages `slots` of those from `id` on. */
TAP_FN uint32_t fixture_put_chunk(struct fixture *f, uint64_t id, uint16_t slots, uint64_t *ret_off)
{
	static uint8_t pages[CHUNK_PAGES_MAX * PAGE_SIZE], out[2 * sizeof(pages)];
	struct record r = {.type = RECORD_CHUNK, .slots = slots, .id = id};
	struct codec *codec;
	struct err err;
	size_t n = 0;

	for (unsigned i = 0; i < CHUNK_PAGES_MAX; i++)
		if (slots >> i & 1)
			fixture_page(id + i, pages + PAGE_SIZE * n++);
	fixture_must(codec_new(1, &codec), NULL, "codec_new");
	r.len = (uint32_t)codec_compress(codec, out, pages, n * PAGE_SIZE, &r.codec);
	codec_free(codec);
	fixture_must(pack_put(&f->w, &r, out, ret_off, &err), &err, "pack_put");
	return r.len;
}

/* The digest list of `seg`, and its row. */
TAP_FN void fixture_publish_seg(struct fixture *f, struct seg *seg)
{
	struct record r = {.type = RECORD_DIGESTS, .id = seg->first};
	struct buf list = {0}, table = {0};
	struct index_pack pack;
	struct index_seg row;
	struct err err;

	buf_u64(&list, seg->off);
	seg_encode_table(seg, &table);
	buf_bytes(&list, table.data, table.len);
	for (uint32_t i = 0; i < seg->span; i++)
		if (seg_find(seg, seg->first + i)) {
			struct digest d = fixture_digest(seg->first + i);

			buf_bytes(&list, d.b, DIGEST_LEN);
		}
	r.len = seg->dig_len = (uint32_t)list.len;
	fixture_must(pack_put(&f->w, &r, list.data, &seg->dig_off, &err), &err, "pack_put");
	fixture_must(pack_sync(&f->w, &err), &err, "pack_sync");
	row = (struct index_seg){.first = seg->first, .span = seg->span, .pack = seg->pack,
				 .off = seg->off, .dig_off = seg->dig_off, .dig_len = seg->dig_len,
				 .table = table.data, .table_len = (uint32_t)table.len};
	pack = (struct index_pack){.number = seg->pack, .end = f->w.end};
	fixture_must(index_begin(f->store->index, &err), &err, "index_begin");
	fixture_must(index_seg_put(f->store->index, &row, &err), &err, "index_seg_put");
	fixture_must(index_pack_put(f->store->index, &pack, &err), &err, "index_pack_put");
	fixture_must(index_commit(f->store->index, &err), &err, "index_commit");
	buf_fini(&list);
	buf_fini(&table);
}

/*
 * Writes the segment [first, ...) into the current pack; chunk i spans
 * spans[i] pages, of which those in slots[i] are there (NULL: all).
 */
TAP_FN void fixture_put_seg(struct fixture *f, uint64_t first, const uint8_t *spans,
			    const uint16_t *slots, uint32_t n)
{
	struct seg *seg = calloc(1, sizeof(*seg) + n * sizeof(seg->chunk[0]));

	*seg = (struct seg){.refs = 1, .first = first, .pack = f->w.number, .nchunks = n,
			    .off = f->w.end};
	for (uint32_t i = 0; i < n; i++) {
		struct seg_chunk *c = &seg->chunk[i];
		uint64_t off = f->w.end;

		c->first = seg->span;
		c->span = spans[i];
		c->slots = slots ? slots[i] : (uint16_t)((1u << spans[i]) - 1);
		c->rank = seg->npages;
		c->off = (uint32_t)off;
		if (c->slots)
			c->len = fixture_put_chunk(f, first + c->first, c->slots, &off);
		seg->span += c->span;
		seg->npages += (uint32_t)__builtin_popcount(c->slots);
	}
	fixture_publish_seg(f, seg);
	seg_unref(seg);
}

/* A new segment of `n` chunks of `span` pages; its first address. */
TAP_FN uint64_t fixture_seg(struct fixture *f, uint32_t n, uint8_t span)
{
	uint8_t *spans = malloc(n);
	uint64_t first = f->next;

	memset(spans, span, n);
	fixture_put_seg(f, first, spans, NULL, n);
	f->next += (uint64_t)n * span;
	free(spans);
	return first;
}

/* A frame with this map (512 positions), whose pages fixture_page() made. */
TAP_FN uint64_t fixture_frame(struct fixture *f, const struct runs *map)
{
	static struct digest pages[FRAME_PAGES];
	struct index_frame row = {.fid = ++f->fid, .pack = f->w.number};
	struct buf runs = {0};
	struct err err;

	for (uint64_t i = 0; i < FRAME_PAGES; i++) {
		uint64_t paddr = runs_at(map, i);

		pages[i] = paddr ? fixture_digest(paddr) : (struct digest){{0}};
	}
	digest_frame(DIGEST_BLAKE2B_256, pages, &row.digest);
	runs_encode(map, &runs);
	row.runs = runs.data;
	row.runs_len = (uint32_t)runs.len;
	fixture_must(index_begin(f->store->index, &err), &err, "index_begin");
	fixture_must(index_frame_put(f->store->index, &row, &err), &err, "index_frame_put");
	fixture_must(index_commit(f->store->index, &err), &err, "index_commit");
	buf_fini(&runs);
	return row.fid;
}

/* A layer without images; fixture_image() adds them, in order of name. */
TAP_FN struct layer *fixture_layer(struct fixture *f)
{
	struct layer *layer = calloc(1, sizeof(*layer));

	layer->refs = 1;
	layer->algo = DIGEST_BLAKE2B_256;
	layer->created = 1795253339;
	layer->seq = ++f->seq;
	return layer;
}

/* The caller then adds the frames with runs_add(). */
TAP_FN struct runs *fixture_image(struct layer *layer, const char *name, uint64_t size)
{
	struct image *im = &layer->image[layer->nimages++];

	(void)snprintf(im->name, sizeof(im->name), "%s", name);
	im->size = size;
	im->nframes = (size + FRAME_SIZE - 1) >> FRAME_SHIFT;
	return &im->frames;
}

/* Names it and writes its row. */
TAP_FN void fixture_publish_layer(struct fixture *f, struct layer *layer)
{
	struct index_layer row = {.seq = layer->seq, .pack = f->w.number};
	struct buf manifest = {0};
	struct err err;

	fixture_must(layer_root(f->store, layer, &layer->id, &err), &err, "layer_root");
	layer_encode(layer, &manifest);
	row.id = layer->id;
	row.manifest = manifest.data;
	row.manifest_len = (uint32_t)manifest.len;
	fixture_must(index_begin(f->store->index, &err), &err, "index_begin");
	fixture_must(index_layer_put(f->store->index, &row, &err), &err, "index_layer_put");
	fixture_must(index_commit(f->store->index, &err), &err, "index_commit");
	buf_fini(&manifest);
}

/* Flips the lowest bit of a byte of a pack's file. */
TAP_FN void fixture_flip(struct fixture *f, uint32_t pack, uint64_t off)
{
	char name[32];
	uint8_t byte;
	int fd;

	(void)snprintf(name, sizeof(name), "packs/%08x.pack", pack);
	fd = openat(f->store->dirfd, name, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &byte, 1, (off_t)off) != 1)
		bail("cannot flip a bit of %s", name);
	byte ^= 1;
	if (pwrite(fd, &byte, 1, (off_t)off) != 1)
		bail("cannot flip a bit of %s", name);
	close(fd);
}

#endif
