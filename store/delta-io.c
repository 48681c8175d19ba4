/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is read and written.  On disk and in memory a page's bytes are there before its bit
 * says so.  A call that failed is taken back: bits on disk are what they are in memory, or the
 * delta is broken; bytes that no bit speaks of are punched.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/io.h"
#include "store/delta-private.h"

#define BITS_BLOCK 4096u		/* at most a block of the file system has as many */
#define PIECE_FRAMES 512u		/* whose bits are written at once */
#define PIECE_PAGES ((uint64_t)PIECE_FRAMES * FRAME_PAGES)

static uint64_t data_at(uint64_t page)
{
	return DELTA_DATA + page * PAGE_SIZE;
}

static int check_writable(const struct delta *d, uint64_t page, uint64_t n, struct err *err)
{
	if (d->read_only)
		return delta_said(d, err_set(err, -EROFS, "it is open to be read only"), err);
	if (page > DELTA_PAGES_MAX || n > DELTA_PAGES_MAX - page)
		return delta_said(d, err_set(err, -EINVAL, "it has no pages from %llu to %llu",
					     (unsigned long long)page,
					     (unsigned long long)(page + n)), err);
	return delta_check(d, err);
}

int delta_read(struct delta *d, void *buf, size_t len, uint64_t off, struct err *err)
{
	int rc = io_pread_all(d->fd, buf, len, DELTA_DATA + off);

	if (rc == 0)
		return 0;
	if (rc == -EBADMSG)
		rc = err_set(err, -EIO, "its file ends before byte %llu of the image",
			     (unsigned long long)(off + len));
	else
		rc = err_sys(err, -EIO, "cannot read %zu bytes at byte %llu of the image", len,
			     (unsigned long long)off);
	return delta_said(d, rc, err);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* A block that cannot be written because the disk is full was a hole, which is as good. */
static void restore_bits(struct delta *d, uint64_t at, const uint8_t *old, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = BITS_BLOCK - (at + i) % BITS_BLOCK;
		n = n < len - i ? n : len - i;
		if (io_pwrite_all(d->fd, old + i, n, DELTA_BITS + at + i) < 0 &&
		    !is_zero(old + i, n))
			delta_break(d);
	}
}

int delta_put_bits(struct delta *d, uint64_t number, const uint8_t *old, const uint8_t *new,
		   size_t len)
{
	uint64_t at = number * DELTA_BITS_LEN;
	size_t from = 0;
	int rc;

	while (len > 0 && old[len - 1] == new[len - 1])
		len--;
	while (from < len && old[from] == new[from])
		from++;
	if (from == len)
		return 0;
	rc = io_pwrite_all(d->fd, new + from, len - from, DELTA_BITS + at + from);
	if (rc < 0)
		restore_bits(d, at + from, old + from, len - from);
	return rc;
}

static int drop_bytes(struct delta *d, uint64_t page, uint64_t n)
{
	if (__atomic_load_n(&d->allocated, __ATOMIC_RELAXED))
		return delta_empty(d, page, n);
	return delta_punch(d, page, n);
}

/* What a write that failed left where there was nothing. */
static void take_back(struct delta *d, struct delta_frame *frame, unsigned first, unsigned n)
{
	uint64_t bits[DELTA_WORDS], pages[DELTA_WORDS] = {0};

	delta_frame_bits(frame, bits);
	delta_mark(pages, first, n, DELTA_BIT_WRITTEN, 0);
	for (unsigned i = 0; i < DELTA_WORDS; i++)
		pages[i] &= ~bits[i];
	for (unsigned len, page = 0; (len = delta_next_set(pages, page, &page)); page += len)
		if (drop_bytes(d, frame->number * FRAME_PAGES + page, len) < 0) {
			delta_garbage_add(d, frame, pages);
			break;
		}
}

static int put_frame_bits(struct delta *d, struct delta_frame *frame,
			  const uint64_t old[DELTA_WORDS], const uint64_t new[DELTA_WORDS])
{
	uint8_t old_bytes[DELTA_BITS_LEN], new_bytes[DELTA_BITS_LEN];

	delta_bits_encode(old, old_bytes);
	delta_bits_encode(new, new_bytes);
	return delta_put_bits(d, frame->number, old_bytes, new_bytes, DELTA_BITS_LEN);
}

/* Under the frame's stripe: what is punched is not what is being written. */
static int write_pages(struct delta *d, struct delta_frame *frame, const void *buf, unsigned first,
		       unsigned n)
{
	uint64_t page = frame->number * FRAME_PAGES + first;
	uint64_t old[DELTA_WORDS], new[DELTA_WORDS];
	int rc;

	delta_frame_bits(frame, old);
	memcpy(new, old, sizeof(new));
	delta_mark(new, first, n, DELTA_BIT_WRITTEN, 0);
	rc = io_pwrite_all(d->fd, buf, (size_t)n * PAGE_SIZE, data_at(page));
	if (rc == 0)
		rc = put_frame_bits(d, frame, old, new);
	if (rc < 0) {
		take_back(d, frame, first, n);
		return rc;
	}
	delta_frame_set(d, frame, new);
	delta_garbage_drop(d, frame, first, n);
	return 0;
}

static int write_failed(const struct delta *d, int rc, uint64_t off, uint64_t len, struct err *err)
{
	rc = err_sys(err, rc, "cannot write %llu bytes at byte %llu of the image",
		     (unsigned long long)len, (unsigned long long)off);
	return delta_said(d, rc, err);
}

int delta_write(struct delta *d, const void *buf, uint64_t page, unsigned n, struct err *err)
{
	unsigned first = (unsigned)(page % FRAME_PAGES);
	pthread_mutex_t *stripe = &d->stripe[page / FRAME_PAGES % DELTA_STRIPES];
	struct delta_frame *frame;
	int rc = check_writable(d, page, n, err);

	if (rc < 0)
		return rc;
	if (n > FRAME_PAGES - first)
		return delta_said(d, err_set(err, -EINVAL, "%u pages from %llu on are in more "
					     "than one frame", n, (unsigned long long)page), err);
	frame = delta_frame_own(d, page / FRAME_PAGES);
	if (!frame)
		return write_failed(d, -ENOMEM, page * PAGE_SIZE, (uint64_t)n * PAGE_SIZE, err);
	pthread_mutex_lock(stripe);
	rc = write_pages(d, frame, buf, first, n);
	pthread_mutex_unlock(stripe);
	delta_touch(d);
	if (rc < 0)
		return write_failed(d, rc, page * PAGE_SIZE, (uint64_t)n * PAGE_SIZE, err);
	return 0;
}

int delta_patch(struct delta *d, const void *buf, size_t len, uint64_t off, struct err *err)
{
	uint64_t page = off / PAGE_SIZE;
	int rc = check_writable(d, page, 1, err);

	if (rc < 0)
		return rc;
	if (off % PAGE_SIZE + len > PAGE_SIZE || delta_state(d, page) != DELTA_DATA_PAGE)
		return delta_said(d, err_set(err, -EINVAL, "%zu bytes at byte %llu of the image "
					     "are not in one page that was written", len,
					     (unsigned long long)off), err);
	rc = io_pwrite_all(d->fd, buf, len, DELTA_DATA + off);
	delta_touch(d);
	return rc < 0 ? write_failed(d, rc, off, len, err) : 0;
}

/* ---- zeroing: a piece at a time, whose bits are one write ---- */

struct piece {
	uint64_t page;
	uint64_t n;
	uint64_t number;	/* its first frame's */
	unsigned nframes;
	uint8_t *old, *new;	/* bits as on disk */
};

/* The pages of the piece that are in its frame `i`. */
static unsigned part_of(const struct piece *p, unsigned i, unsigned *ret_first)
{
	uint64_t from = (p->number + i) * FRAME_PAGES, to = from + FRAME_PAGES;
	uint64_t end = p->page + p->n;

	*ret_first = p->page > from ? (unsigned)(p->page - from) : 0;
	return (unsigned)((end < to ? end : to) - from) - *ret_first;
}

/* Whatever needs memory is done before anything changes. */
static int prepare_frame(struct delta *d, struct piece *p, unsigned i)
{
	struct delta_frame *frame = delta_frame_find(d, p->number + i);
	uint64_t bits[DELTA_WORDS];
	unsigned first, n = part_of(p, i, &first);

	delta_frame_bits(frame, bits);
	delta_bits_encode(bits, p->old + (size_t)i * DELTA_BITS_LEN);
	delta_mark(bits, first, n, DELTA_BIT_ZEROED, DELTA_BIT_WRITTEN);
	delta_bits_encode(bits, p->new + (size_t)i * DELTA_BITS_LEN);
	if (!frame && n == FRAME_PAGES)
		return delta_map_reserve(d, p->number + i);
	if (memcmp(p->old + (size_t)i * DELTA_BITS_LEN, p->new + (size_t)i * DELTA_BITS_LEN,
		   DELTA_BITS_LEN) == 0)
		return 0;
	return delta_frame_own(d, p->number + i) ? 0 : -ENOMEM;
}

static void publish_frame(struct delta *d, const struct piece *p, unsigned i)
{
	struct delta_frame *frame = delta_frame_find(d, p->number + i);
	uint64_t bits[DELTA_WORDS], had[DELTA_WORDS];

	if (!frame) {
		(void)delta_frame_share(d, p->number + i);
		return;
	}
	delta_bits_decode(p->old + (size_t)i * DELTA_BITS_LEN, had);
	delta_bits_decode(p->new + (size_t)i * DELTA_BITS_LEN, bits);
	delta_frame_set(d, frame, bits);
	for (unsigned w = 0; w < DELTA_WORDS; w++)
		had[w] &= ~bits[w] & DELTA_FIRST_BITS;
	delta_garbage_add(d, frame, had);
}

static int zero_piece(struct delta *d, struct piece *p)
{
	size_t len = (size_t)p->nframes * DELTA_BITS_LEN;
	int rc = 0;

	for (unsigned i = 0; i < p->nframes && rc == 0; i++)
		rc = prepare_frame(d, p, i);
	if (rc == 0)
		rc = delta_put_bits(d, p->number, p->old, p->new, len);
	for (unsigned i = 0; i < p->nframes && rc == 0; i++)
		publish_frame(d, p, i);
	delta_touch(d);
	return rc;
}

static int zero_pieces(struct delta *d, struct piece *p, uint64_t end)
{
	int rc = 0;

	while (p->page < end && rc == 0) {
		p->n = PIECE_PAGES - p->page % PIECE_PAGES;
		p->n = p->n < end - p->page ? p->n : end - p->page;
		p->number = p->page / FRAME_PAGES;
		p->nframes = (unsigned)((p->page + p->n - 1) / FRAME_PAGES - p->number) + 1;
		rc = zero_piece(d, p);
		if (rc == 0)
			p->page += p->n;
	}
	return rc;
}

int delta_zero(struct delta *d, uint64_t page, uint64_t n, struct err *err)
{
	uint64_t frames = n / FRAME_PAGES + 2;
	size_t len = (frames < PIECE_FRAMES ? frames : PIECE_FRAMES) * DELTA_BITS_LEN;
	struct piece p = {.page = page};
	int rc = check_writable(d, page, n, err);

	if (rc < 0 || n == 0)
		return rc;
	p.old = malloc(2 * len);
	p.new = p.old + len;
	rc = p.old ? zero_pieces(d, &p, page + n) : -ENOMEM;
	free(p.old);
	if (rc == 0)
		return 0;
	rc = err_sys(err, rc, "cannot zero %llu bytes at byte %llu of the image",
		     (unsigned long long)(page + n - p.page) * PAGE_SIZE,
		     (unsigned long long)p.page * PAGE_SIZE);
	return delta_said(d, rc, err);
}

static int set_aside(struct delta *d, uint64_t off, uint64_t end)
{
	int rc;

	do
		rc = fallocate(d->fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)(end - off));
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

/* Where there is nothing yet the bits of a page take a block, too. */
static int set_bits_aside(struct delta *d, uint64_t page, uint64_t n)
{
	uint64_t first = page / FRAME_PAGES, last = (page + n - 1) / FRAME_PAGES;

	return set_aside(d, DELTA_BITS + first * DELTA_BITS_LEN,
			 DELTA_BITS + (last + 1) * DELTA_BITS_LEN);
}

int delta_allocate(struct delta *d, uint64_t page, uint64_t n, struct err *err)
{
	int rc = check_writable(d, page, n, err);

	if (rc < 0 || n == 0)
		return rc;
	__atomic_store_n(&d->allocated, true, __ATOMIC_RELAXED);
	rc = set_bits_aside(d, page, n);
	if (rc == 0)
		rc = set_aside(d, data_at(page), data_at(page + n));
	if (rc == 0)
		return 0;
	rc = err_sys(err, rc, "cannot set aside %llu bytes at byte %llu of the image",
		     (unsigned long long)n * PAGE_SIZE, (unsigned long long)page * PAGE_SIZE);
	return delta_said(d, rc, err);
}
