/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A record is never longer than its pages and a header, and headers have their
 * headroom, so records can be laid over pages that are packed already.
 */
#include <stdlib.h>
#include <string.h>

#include "store/codec.h"
#include "store/ingest-private.h"
#include "store/pack.h"
#include "store/store.h"

#define CHUNK_LEN_MAX (CHUNK_PAGES_MAX * PAGE_SIZE)

int ingest_pack_init(struct packer *p, const struct store *store)
{
	const struct store_params *params = &store->params;
	int level = params->codec == CODEC_NONE ? 0 : params->level;

	*p = (struct packer){.seed = packs_seed(store->packs)};
	p->gather = malloc(CHUNK_LEN_MAX);
	p->out = malloc(codec_bound(CHUNK_LEN_MAX));
	if (!p->gather || !p->out)
		return -ENOMEM;
	return codec_new(level, &p->codec);
}

void ingest_pack_fini(struct packer *p)
{
	codec_free(p->codec);
	free(p->gather);
	free(p->out);
}

/* The chunk's pages one behind the other. */
static const uint8_t *gather(struct packer *p, const struct job *j, const struct job_chunk *c)
{
	const uint16_t *page = &j->fresh[c->from];

	if (page[c->npages - 1] - page[0] == c->npages - 1)
		return j->pages + (size_t)page[0] * PAGE_SIZE;
	for (unsigned i = 0; i < c->npages; i++)
		memcpy(p->gather + (size_t)i * PAGE_SIZE, j->pages + (size_t)page[i] * PAGE_SIZE,
		       PAGE_SIZE);
	return p->gather;
}

static void pack_chunk(struct packer *p, struct job *j, struct job_chunk *c)
{
	struct record r = {.type = RECORD_CHUNK, .slots = (uint16_t)((1u << c->npages) - 1),
			   .id = c->id};
	const uint8_t *src = gather(p, j, c);

	r.len = (uint32_t)codec_compress(p->codec, p->out, src, (size_t)c->npages * PAGE_SIZE,
					 &r.codec);
	record_encode(p->seed, &r, p->out, j->buf + c->off);
	memcpy(j->buf + c->off + RECORD_HEADER_LEN, p->out, r.len);
	c->len = RECORD_HEADER_LEN + r.len;
}

void ingest_pack(struct packer *p, struct job *j)
{
	uint32_t off = 0;

	for (unsigned i = 0; i < j->nchunks; i++) {
		j->chunk[i].off = off;
		pack_chunk(p, j, &j->chunk[i]);
		off += j->chunk[i].len;
	}
}
