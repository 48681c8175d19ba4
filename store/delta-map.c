/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bits of pages in memory: blocks of frames (2 GiB), each made when something in it is
 * first written, published once whole and never taken away, so that who looks needs no lock.
 * A frame that is all ZERO from the start (mkfs discards whole disks) is shared; the one time
 * that a pointer changes again is when somebody writes there.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "store/delta-private.h"

#define ALL_ZERO (DELTA_FIRST_BITS * DELTA_BIT_ZEROED)

/* Never written to. */
static struct delta_frame shared = {
	.bits = {[0 ... DELTA_WORDS - 1] = ALL_ZERO},
	.used = true,
};

static struct delta_block *find_block(const struct delta *d, uint64_t number)
{
	uint64_t i = number / DELTA_BLOCK_FRAMES;

	return i < DELTA_BLOCKS ? __atomic_load_n(&d->block[i], __ATOMIC_ACQUIRE) : NULL;
}

struct delta_frame *delta_frame_find(const struct delta *d, uint64_t number)
{
	struct delta_block *block = find_block(d, number);

	return block ? __atomic_load_n(&block->frame[number % DELTA_BLOCK_FRAMES],
				       __ATOMIC_ACQUIRE) : NULL;
}

/* Frames of one block have many writers: whoever comes second uses the first one's. */
static struct delta_block *make_block(struct delta *d, uint64_t number)
{
	struct delta_block *block = find_block(d, number), *made;

	if (block)
		return block;
	made = calloc(1, sizeof(*made));
	if (!made)
		return NULL;
	if (__atomic_compare_exchange_n(&d->block[number / DELTA_BLOCK_FRAMES], &block, made, false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return made;
	free(made);
	return block;
}

static void publish(struct delta_block *block, uint64_t number, struct delta_frame *frame)
{
	__atomic_store_n(&block->frame[number % DELTA_BLOCK_FRAMES], frame, __ATOMIC_RELEASE);
}

struct delta_frame *delta_frame_own(struct delta *d, uint64_t number)
{
	struct delta_frame *old = delta_frame_find(d, number), *frame;
	struct delta_block *block;

	if (old && old != &shared)
		return old;
	block = make_block(d, number);
	frame = block ? calloc(1, sizeof(*frame)) : NULL;
	if (!frame)
		return NULL;
	if (old)
		memcpy(frame->bits, old->bits, sizeof(frame->bits));
	frame->used = old != NULL;
	frame->number = number;
	publish(block, number, frame);
	return frame;
}

int delta_map_reserve(struct delta *d, uint64_t number)
{
	return make_block(d, number) ? 0 : -ENOMEM;
}

int delta_frame_share(struct delta *d, uint64_t number)
{
	struct delta_block *block = make_block(d, number);

	if (!block)
		return -ENOMEM;
	publish(block, number, &shared);
	__atomic_add_fetch(&d->zero, FRAME_PAGES, __ATOMIC_RELAXED);
	__atomic_add_fetch(&d->frames, 1, __ATOMIC_RELAXED);
	return 0;
}

void delta_frame_bits(const struct delta_frame *frame, uint64_t bits[DELTA_WORDS])
{
	for (unsigned i = 0; i < DELTA_WORDS; i++)
		bits[i] = frame ? __atomic_load_n(&frame->bits[i], __ATOMIC_ACQUIRE) : 0;
}

/* Of the word's pages those in `state`: their first bits. */
static uint64_t in_state(uint64_t word, enum delta_state state)
{
	uint64_t written = word & DELTA_FIRST_BITS, zeroed = word >> 1 & DELTA_FIRST_BITS;

	if (state == DELTA_DATA_PAGE)
		return written;
	return ~written & (state == DELTA_ZERO_PAGE ? zeroed : ~zeroed) & DELTA_FIRST_BITS;
}

static unsigned count_in(uint64_t word, enum delta_state state)
{
	return (unsigned)__builtin_popcountll(in_state(word, state));
}

static void set_word(struct delta *d, uint64_t *word, uint64_t bits)
{
	uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

	__atomic_store_n(word, bits, __ATOMIC_RELEASE);
	__atomic_add_fetch(&d->data, (uint64_t)count_in(bits, DELTA_DATA_PAGE) -
			   count_in(old, DELTA_DATA_PAGE), __ATOMIC_RELAXED);
	__atomic_add_fetch(&d->zero, (uint64_t)count_in(bits, DELTA_ZERO_PAGE) -
			   count_in(old, DELTA_ZERO_PAGE), __ATOMIC_RELAXED);
}

void delta_frame_set(struct delta *d, struct delta_frame *frame, const uint64_t bits[DELTA_WORDS])
{
	uint64_t any = 0;

	for (unsigned i = 0; i < DELTA_WORDS; i++) {
		any |= bits[i];
		if (bits[i] != __atomic_load_n(&frame->bits[i], __ATOMIC_RELAXED))
			set_word(d, &frame->bits[i], bits[i]);
	}
	if (frame->used == (any != 0))
		return;
	frame->used = any != 0;
	__atomic_add_fetch(&d->frames, any ? 1 : UINT64_MAX, __ATOMIC_RELAXED);
}

void delta_map_free(struct delta *d)
{
	for (uint64_t i = 0; i < DELTA_BLOCKS; i++) {
		struct delta_block *block = d->block[i];

		for (unsigned j = 0; block && j < DELTA_BLOCK_FRAMES; j++)
			if (block->frame[j] != &shared)
				free(block->frame[j]);
		free(block);
	}
}

/* The first bits of pages [first, first + n) that are in word `i`. */
static uint64_t word_mask(unsigned i, unsigned first, unsigned n)
{
	unsigned from = i * DELTA_WORD_PAGES, to = from + DELTA_WORD_PAGES;
	uint64_t mask = DELTA_FIRST_BITS;

	if (first >= to || first + n <= from)
		return 0;
	if (first > from)
		mask = mask << 2 * (first - from);
	if (first + n < to)
		mask &= (UINT64_C(1) << 2 * (first + n - from)) - 1;
	return mask;
}

void delta_mark(uint64_t bits[DELTA_WORDS], unsigned first, unsigned n, unsigned on, unsigned off)
{
	for (unsigned i = first / DELTA_WORD_PAGES; i < DELTA_WORDS; i++) {
		uint64_t mask = word_mask(i, first, n);

		bits[i] = (bits[i] & ~(mask * off)) | mask * on;
	}
}

/* How many pages of a word from `at` on have their first bit in `plane`. */
static unsigned run_in(uint64_t plane, unsigned at)
{
	uint64_t others = ~(plane >> 2 * at) & DELTA_FIRST_BITS;

	return others ? (unsigned)__builtin_ctzll(others) / 2 : DELTA_WORD_PAGES;
}

unsigned delta_next_set(const uint64_t bits[DELTA_WORDS], unsigned from, unsigned *ret_first)
{
	unsigned page = from, end;

	while (page < FRAME_PAGES && !(bits[page / DELTA_WORD_PAGES] >>
				       2 * (page % DELTA_WORD_PAGES) & 1))
		page++;
	for (end = page; end < FRAME_PAGES; end++)
		if (!(bits[end / DELTA_WORD_PAGES] >> 2 * (end % DELTA_WORD_PAGES) & 1))
			break;
	*ret_first = page;
	return end - page;
}

void delta_bits_encode(const uint64_t bits[DELTA_WORDS], uint8_t out[DELTA_BITS_LEN])
{
	for (unsigned i = 0; i < DELTA_WORDS; i++) {
		uint64_t word = htole64(bits[i]);

		memcpy(out + sizeof(word) * i, &word, sizeof(word));
	}
}

void delta_bits_decode(const uint8_t in[DELTA_BITS_LEN], uint64_t bits[DELTA_WORDS])
{
	for (unsigned i = 0; i < DELTA_WORDS; i++) {
		uint64_t word;

		memcpy(&word, in + sizeof(word) * i, sizeof(word));
		bits[i] = le64toh(word);
	}
}

static uint64_t load_word(const struct delta_frame *frame, uint64_t page)
{
	return __atomic_load_n(&frame->bits[page % FRAME_PAGES / DELTA_WORD_PAGES],
			       __ATOMIC_ACQUIRE);
}

enum delta_state delta_state(const struct delta *d, uint64_t page)
{
	const struct delta_frame *frame = delta_frame_find(d, page / FRAME_PAGES);
	unsigned bits;

	if (!frame)
		return DELTA_NONE;
	bits = (unsigned)(load_word(frame, page) >> 2 * (page % DELTA_WORD_PAGES)) & 3;
	if (bits & DELTA_BIT_WRITTEN)
		return DELTA_DATA_PAGE;
	return bits & DELTA_BIT_ZEROED ? DELTA_ZERO_PAGE : DELTA_NONE;
}

/* The first page behind `page` in whose frame there may be something. */
static uint64_t skip_nothing(const struct delta *d, uint64_t page)
{
	uint64_t number = page / FRAME_PAGES + 1;

	if (!find_block(d, number))
		number = (number + DELTA_BLOCK_FRAMES - 1) / DELTA_BLOCK_FRAMES *
			 DELTA_BLOCK_FRAMES;
	return number * FRAME_PAGES;
}

/* From `page` on within its frame's word or, where there is nothing, further. */
static uint64_t same_until(const struct delta *d, uint64_t page, enum delta_state state)
{
	const struct delta_frame *frame = delta_frame_find(d, page / FRAME_PAGES);

	if (!frame)
		return state == DELTA_NONE ? skip_nothing(d, page) : page;
	return page + run_in(in_state(load_word(frame, page), state),
			     (unsigned)(page % DELTA_WORD_PAGES));
}

uint64_t delta_run(const struct delta *d, uint64_t page, uint64_t end, enum delta_state *ret)
{
	enum delta_state state = delta_state(d, page);
	uint64_t at = page + 1, next;

	while (at < end) {
		next = same_until(d, at, state);
		if (next == at)
			break;
		at = next;
	}
	*ret = state;
	return (at < end ? at : end) - page;
}
