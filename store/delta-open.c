/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The states of a file that is opened: its bits, and then what they say is held against
 * where the file has bytes.
 *
 *	WRITTEN over a hole		a power cut lost the bytes: it never was
 *	WRITTEN behind the image's end	a power cut lost the new size: likewise
 *	bytes without WRITTEN		a zeroed page, or a kill between bytes and bits: punched
 *
 * What is dropped is dropped on disk at once, synced: a hole that was set aside by fallocate()
 * looks like bytes as soon as somebody has read it into the cache.
 */
#include <stdlib.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/delta-private.h"

#define BITS_END (DELTA_BITS + DELTA_PAGES_MAX / 4)
#define BITS_PIECE (64u << 10)

static bool all_zeroed(const uint64_t bits[DELTA_WORDS])
{
	uint64_t others = 0;

	for (unsigned i = 0; i < DELTA_WORDS; i++)
		others |= bits[i] ^ DELTA_FIRST_BITS * DELTA_BIT_ZEROED;
	return !others;
}

static int load_frame(struct delta *d, uint64_t number, const uint8_t *bytes)
{
	uint64_t bits[DELTA_WORDS], any = 0;
	struct delta_frame *frame;

	delta_bits_decode(bytes, bits);
	for (unsigned i = 0; i < DELTA_WORDS; i++)
		any |= bits[i];
	if (!any)
		return 0;
	if (all_zeroed(bits))
		return delta_frame_share(d, number);
	frame = delta_frame_own(d, number);
	if (!frame)
		return -ENOMEM;
	delta_frame_set(d, frame, bits);
	return 0;
}

/* Whole frames of bits, [at, end) of the file. */
static int load_piece(struct delta *d, uint8_t *buf, uint64_t at, uint64_t end)
{
	int rc = io_pread_all(d->fd, buf, end - at, at);

	for (uint64_t i = at; i < end && rc == 0; i += DELTA_BITS_LEN)
		rc = load_frame(d, (i - DELTA_BITS) / DELTA_BITS_LEN, buf + (i - at));
	return rc;
}

static int load_range(struct delta *d, uint8_t *buf, uint64_t at, uint64_t end)
{
	int rc = 0;

	for (uint64_t to; at < end && rc == 0; at = to) {
		to = at + BITS_PIECE < end ? at + BITS_PIECE : end;
		rc = load_piece(d, buf, at, to);
	}
	return rc;
}

/* The next data at or behind `at`: [*ret, end), or nothing before `limit`. */
static int next_data(struct delta *d, uint64_t at, uint64_t limit, uint64_t *ret, uint64_t *ret_end)
{
	off_t data = lseek(d->fd, (off_t)at, SEEK_DATA), hole;

	*ret = *ret_end = limit;
	if (data < 0)
		return errno == ENXIO ? 0 : -errno;
	if ((uint64_t)data >= limit)
		return 0;
	hole = lseek(d->fd, data, SEEK_HOLE);
	if (hole < 0 && errno != ENXIO)
		return -errno;
	*ret = (uint64_t)data > at ? (uint64_t)data : at;
	if (hole > data && (uint64_t)hole < limit)
		*ret_end = (uint64_t)hole;
	return 0;
}

static int load_bits(struct delta *d)
{
	uint8_t *buf = malloc(BITS_PIECE);
	uint64_t at = DELTA_BITS, end;
	int rc = buf ? 0 : -ENOMEM;

	while (at < BITS_END && rc == 0) {
		rc = next_data(d, at, BITS_END, &at, &end);
		at -= at % DELTA_BITS_LEN;
		end += -end % DELTA_BITS_LEN;
		if (rc == 0)
			rc = load_range(d, buf, at, end);
		at = end;
	}
	free(buf);
	return rc;
}

static uint64_t end_page(const struct delta *d)
{
	return (d->size + PAGE_SIZE - 1) / PAGE_SIZE;
}

/* Pages of one frame are not WRITTEN any more. */
static int lose_in_frame(struct delta *d, uint64_t page, unsigned n)
{
	struct delta_frame *frame = delta_frame_own(d, page / FRAME_PAGES);
	uint8_t old[DELTA_BITS_LEN], new[DELTA_BITS_LEN];
	uint64_t bits[DELTA_WORDS], pages[DELTA_WORDS] = {0};
	int rc = 0;

	if (!frame)
		return -ENOMEM;
	delta_frame_bits(frame, bits);
	delta_bits_encode(bits, old);
	delta_mark(bits, (unsigned)(page % FRAME_PAGES), n, 0, DELTA_BIT_WRITTEN);
	delta_bits_encode(bits, new);
	if (!d->read_only)
		rc = delta_put_bits(d, frame->number, old, new, DELTA_BITS_LEN);
	if (rc < 0)
		return rc;
	delta_frame_set(d, frame, bits);
	if (d->read_only)
		return 0;
	delta_mark(pages, (unsigned)(page % FRAME_PAGES), n, DELTA_BIT_WRITTEN, 0);
	delta_garbage_add(d, frame, pages);
	return 0;
}

static int discard_in_frame(struct delta *d, uint64_t page, unsigned n)
{
	struct delta_frame *frame = delta_frame_own(d, page / FRAME_PAGES);
	uint64_t pages[DELTA_WORDS] = {0};

	if (!frame)
		return -ENOMEM;
	delta_mark(pages, (unsigned)(page % FRAME_PAGES), n, DELTA_BIT_WRITTEN, 0);
	delta_garbage_add(d, frame, pages);
	return 0;
}

static int by_frame(struct delta *d, uint64_t page, uint64_t end,
		    int (*fn)(struct delta *, uint64_t, unsigned))
{
	int rc = 0;

	for (uint64_t n; page < end && rc == 0; page += n) {
		n = FRAME_PAGES - page % FRAME_PAGES;
		n = n < end - page ? n : end - page;
		rc = fn(d, page, (unsigned)n);
	}
	return rc;
}

/* Nothing is WRITTEN in [page, end). */
static int lose(struct delta *d, uint64_t page, uint64_t end)
{
	enum delta_state state;
	int rc = 0;

	for (uint64_t n; page < end && rc == 0; page += n) {
		n = delta_run(d, page, end, &state);
		if (state == DELTA_DATA_PAGE)
			rc = by_frame(d, page, page + n, lose_in_frame);
	}
	return rc;
}

/* There are bytes of [page, end). */
static int discard(struct delta *d, uint64_t page, uint64_t end)
{
	enum delta_state state;
	int rc = 0;

	for (uint64_t n; page < end && rc == 0; page += n) {
		n = delta_run(d, page, end, &state);
		if (state != DELTA_DATA_PAGE)
			rc = by_frame(d, page, page + n, discard_in_frame);
	}
	return rc;
}

static uint64_t page_at(uint64_t off)
{
	return (off - DELTA_DATA) / PAGE_SIZE;
}

/* A page of which a part is a hole was not written whole. */
static int reconcile(struct delta *d)
{
	const uint64_t limit = DELTA_DATA + DELTA_SIZE_MAX;
	uint64_t at = DELTA_DATA, from, end;
	int rc = lose(d, end_page(d), DELTA_PAGES_MAX);

	while (at < limit && rc == 0) {
		rc = next_data(d, at, limit, &from, &end);
		if (rc == 0)
			rc = lose(d, page_at(at), page_at(from + PAGE_SIZE - 1));
		if (rc == 0 && !d->read_only)
			rc = discard(d, page_at(from), page_at(end + PAGE_SIZE - 1));
		at = end + -end % PAGE_SIZE;
		if (rc == 0 && at != end)
			rc = lose(d, page_at(end), page_at(at));
	}
	return rc;
}

int delta_load(struct delta *d, struct err *err)
{
	int rc = load_bits(d);

	if (rc == 0 && !d->mended)
		rc = reconcile(d);
	if (rc < 0)
		return delta_said(d, err_sys(err, rc, "cannot find out what is written"), err);
	return d->read_only || !delta_has_garbage(d) ? 0 : delta_sync(d, err);
}
