/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ingest-private: a frame on its way through a commit, and the stages it
 * passes.  What a stage fills in is read by the later ones only.
 */
#ifndef LAMINA_INGEST_PRIVATE_H
#define LAMINA_INGEST_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/vec.h"
#include "store/digest.h"
#include "store/format.h"
#include "store/ingest.h"
#include "store/keymap.h"
#include "store/runs.h"

struct codec;

/* At most so many slots has the pipeline, however many threads there are. */
#define INGEST_SLOTS_MAX 12u

/* The records of a frame are put together in front of and over its pages. */
#define INGEST_HEADROOM (FRAME_PAGES * RECORD_HEADER_LEN)

struct forecast;

struct job_chunk {
	uint64_t id;
	uint32_t off;			/* pack: of its record in job->buf */
	uint32_t len;
	uint16_t from;			/* its pages are job->fresh[from...] */
	uint8_t npages;
	bool new_seg;			/* the segment so far ends before it */
};

struct job {
	struct ingest_image *image;	/* name */
	uint64_t frame;
	uint8_t *buf;
	uint8_t *pages;			/* INGEST_HEADROOM into buf: 2 MiB */
	/*
	 * read: ZERO, PARENT (the same page, not zero, is there in the parent)
	 * or DATA (any other).
	 */
	uint8_t kind[FRAME_PAGES];
	struct digest digest[FRAME_PAGES];
	uint64_t paddr[FRAME_PAGES];	/* the parent's; place: the frame's own */
	uint64_t parent_fid;
	unsigned nread;			/* pages */
	bool changed;			/* differs from the parent's */
	struct digest frame_digest;	/* if changed */
	/* place */
	uint64_t fid;			/* of a new frame, else 0 */
	struct buf map;			/* its encoded runs */
	uint16_t fresh[FRAME_PAGES];
	unsigned nfresh;
	struct job_chunk chunk[FRAME_PAGES];
	unsigned nchunks;
	bool roll;			/* go on in a new pack before it */
	bool flush;			/* end the segment behind it */
	struct forecast *forecast;
};

/* What place thinks that an item needs in which pack; write says how that ended. */
struct forecast {
	uint32_t pack;
	uint64_t worst;
	uint32_t end_pack;
	uint64_t end;
};

/* ---- read: any thread ---- */

struct reader {			/* one a worker */
	struct digest parent[FRAME_PAGES];
};

int ingest_read(const struct ingest *in, struct reader *r, struct job *j, struct err *err);

/* ---- place: one thread at a time, in order ---- */

struct place {
	const struct ingest *in;
	uint32_t pack;			/* addresses are given out here: */
	uint32_t ord;
	uint32_t next_pack;
	uint64_t known_end;		/* of that pack, INGEST_SLOTS_MAX items ago */
	uint64_t owed;			/* at most so much was added since */
	struct forecast forecasts[INGEST_SLOTS_MAX];
	uint64_t nplaced;		/* items */
	uint32_t seg_pages;		/* of the current segment */
	unsigned maps;			/* frames whose maps wait for its end */
	uint64_t maps_len;
	uint64_t first_fid;
	VEC(struct digest) frames;	/* new ones, from first_fid */
	struct keymap by_digest;	/* digest key -> fid */
	struct runs runs;		/* scratch */
	struct digest ask[FRAME_PAGES];
	uint64_t found[FRAME_PAGES];
};

void ingest_place_init(struct place *p, const struct ingest *in);
void ingest_place_fini(struct place *p);
/* 1: the frame has new pages. */
int ingest_place(struct place *p, struct job *j, struct err *err);
/* Frames of the image up to `to` that nothing was read of. */
int ingest_place_gap(struct ingest_image *image, uint64_t to);

/* ---- pack: any thread ---- */

struct packer {			/* one a worker */
	uint32_t seed;		/* of the records' checksums */
	struct codec *codec;
	uint8_t *gather;	/* the pages of a chunk */
	uint8_t *out;
};

int ingest_pack_init(struct packer *p, const struct store *store);
void ingest_pack_fini(struct packer *p);
/* Makes the records of the frame's chunks in j->buf. */
void ingest_pack(struct packer *p, struct job *j);

/* Pages of the image in frames [frame, frame + n). */
uint64_t ingest_place_pages(const struct ingest_image *image, uint64_t frame, uint64_t n);
uint64_t ingest_place_frames(const struct ingest_image *image);

#endif
