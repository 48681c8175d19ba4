/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * delta-private: what the parts of an open delta share (delta.c has the essay).
 */
#ifndef LAMINA_DELTA_PRIVATE_H
#define LAMINA_DELTA_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/delta.h"

#define DELTA_WORDS 16u			/* a frame's bits: 32 pages in each */
#define DELTA_WORD_PAGES 32u
#define DELTA_BITS_LEN (DELTA_WORDS * 8u)	/* bytes of a frame's bits on disk */
#define DELTA_BLOCK_FRAMES 1024u
#define DELTA_BLOCKS (DELTA_SIZE_MAX / FRAME_SIZE / DELTA_BLOCK_FRAMES)
#define DELTA_STRIPES 64u
#define DELTA_PAGES_MAX (DELTA_SIZE_MAX / PAGE_SIZE)

/* The first of the two bits of each page in a word. */
#define DELTA_FIRST_BITS UINT64_C(0x5555555555555555)

struct delta_frame {
	uint64_t bits[DELTA_WORDS];	/* atomic */
	/*
	 * Pages whose bytes are to be punched, in the same places.  First bit: since the last
	 * sync began; second: before, so that their bits on disk last once it has flushed.
	 */
	uint64_t garbage[DELTA_WORDS];	/* under garbage_lock */
	struct delta_frame *next;	/* in garbage, or in the batch of a sync */
	bool listed;			/* it is in one of them; written under garbage_lock */
	bool used;			/* counted in frames; its writer's */
	uint64_t number;
};

struct delta_block {
	struct delta_frame *frame[DELTA_BLOCK_FRAMES];	/* atomic */
};

struct delta {
	unsigned refs;
	int fd;
	bool read_only;
	bool mended;			/* DELTA_MENDED */
	char *name;
	uint8_t uuid[16];
	uint64_t seq;
	uint64_t size;			/* atomic */
	uint64_t room;			/* bytes of data that the file is long enough for */
	uint64_t data, zero, frames;	/* atomic: delta_counts */
	uint64_t ngarbage;		/* atomic: pages */
	bool dirty;			/* atomic: written to since the last sync began */
	bool allocated;			/* atomic: room was set aside since it was opened */
	bool broken;			/* atomic: what is on disk is not known */
	pthread_mutex_t sync_lock;
	pthread_mutex_t stripe[DELTA_STRIPES];
	pthread_mutex_t garbage_lock;
	struct delta_frame *garbage;
	struct delta_block *block[DELTA_BLOCKS];	/* atomic */
};

/* Puts what the delta is called before a sentence that is there. */
int delta_said(const struct delta *d, int rc, struct err *err);
/* 0, or -EIO with the sentence: an earlier failure left it in doubt. */
int delta_check(const struct delta *d, struct err *err);
void delta_break(struct delta *d);
void delta_touch(struct delta *d);		/* after a write: there is something to sync */

/* ---- delta-map.c ---- */

/* NULL where there is nothing; it may be one that many frames share. */
struct delta_frame *delta_frame_find(const struct delta *d, uint64_t number);
/* One that may be changed; by the frame's writer.  NULL: no memory. */
struct delta_frame *delta_frame_own(struct delta *d, uint64_t number);
/* So that delta_frame_share() needs no memory.  -ENOMEM. */
int delta_map_reserve(struct delta *d, uint64_t number);
/* All ZERO, at no cost; where there is nothing.  -ENOMEM. */
int delta_frame_share(struct delta *d, uint64_t number);
/* `frame` may be NULL. */
void delta_frame_bits(const struct delta_frame *frame, uint64_t bits[DELTA_WORDS]);
void delta_frame_set(struct delta *d, struct delta_frame *frame,
		     const uint64_t bits[DELTA_WORDS]);
void delta_map_free(struct delta *d);
/* Of `n` pages from `first` on: the bits `on` are set and `off` cleared. */
void delta_mark(uint64_t bits[DELTA_WORDS], unsigned first, unsigned n, unsigned on, unsigned off);
/* From page `from` on: the first run of pages whose first bit is set; how many, 0: none. */
unsigned delta_next_set(const uint64_t bits[DELTA_WORDS], unsigned from, unsigned *ret_first);
/* Little-endian, as on disk. */
void delta_bits_encode(const uint64_t bits[DELTA_WORDS], uint8_t out[DELTA_BITS_LEN]);
void delta_bits_decode(const uint8_t in[DELTA_BITS_LEN], uint64_t bits[DELTA_WORDS]);

/* ---- delta-io.c ---- */

/* What differs of frames from `number` on goes to disk; afterwards it is as before or `new`. */
int delta_put_bits(struct delta *d, uint64_t number, const uint8_t *old, const uint8_t *new,
		   size_t len);

/* ---- delta-sync.c ---- */

int delta_punch(struct delta *d, uint64_t page, uint64_t n);
/* Their bytes go, the room that they had stays, as far as the file system can. */
int delta_empty(struct delta *d, uint64_t page, uint64_t n);
/* Those pages of `frame` whose first bit is set. */
void delta_garbage_add(struct delta *d, struct delta_frame *frame,
		       const uint64_t pages[DELTA_WORDS]);
/* They have been written to again. */
void delta_garbage_drop(struct delta *d, struct delta_frame *frame, unsigned first, unsigned n);

/* ---- delta-open.c ---- */

/* The states of an open file; what a kill or a power cut left is put in order. */
int delta_load(struct delta *d, struct err *err);

#endif
