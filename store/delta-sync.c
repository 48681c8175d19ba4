/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sync, beside those who write:
 *
 *	1	the garbage there is becomes its batch
 *	2	fdatasync(): bytes and bits, of the batch, too, are on disk
 *	3	frame by frame, under its stripe, the batch's pages that are not WRITTEN are punched
 *	4	if anything was punched, or written again since 1: fdatasync()
 *
 * A page that is zeroed after 1 is not in the batch: its bit may not be on disk, and
 * without its bytes an old WRITTEN would say that it was never written.  One of the
 * batch may be zeroed or written as often as anybody likes: it is ZEROED on disk for ever.
 * When it was written again before 3 its old bytes may still be what is on disk, under bits that
 * are: 4 is for it, too.
 */
#include <fcntl.h>
#include <unistd.h>

#include "store/delta-private.h"

void delta_touch(struct delta *d)
{
	__atomic_store_n(&d->dirty, true, __ATOMIC_SEQ_CST);
}

static int change_room(struct delta *d, int mode, uint64_t page, uint64_t n)
{
	int rc;

	do
		rc = fallocate(d->fd, mode | FALLOC_FL_KEEP_SIZE,
			       (off_t)(DELTA_DATA + page * PAGE_SIZE), (off_t)(n * PAGE_SIZE));
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

int delta_punch(struct delta *d, uint64_t page, uint64_t n)
{
	return change_room(d, FALLOC_FL_PUNCH_HOLE, page, n);
}

/* At once or else one by one: on a full disk those that had no room fail, and no others must. */
int delta_empty(struct delta *d, uint64_t page, uint64_t n)
{
	int rc = 0;

	if (change_room(d, FALLOC_FL_ZERO_RANGE, page, n) == 0)
		return 0;
	for (; n > 0 && rc == 0; page++, n--)
		if (change_room(d, FALLOC_FL_ZERO_RANGE, page, 1) < 0)
			rc = delta_punch(d, page, 1);
	return rc;
}

static void count_garbage(struct delta *d, int64_t n)
{
	__atomic_add_fetch(&d->ngarbage, (uint64_t)n, __ATOMIC_RELAXED);
}

static void link_frame(struct delta *d, struct delta_frame *frame)
{
	frame->next = d->garbage;
	d->garbage = frame;
	__atomic_store_n(&frame->listed, true, __ATOMIC_RELAXED);
}

void delta_garbage_add(struct delta *d, struct delta_frame *frame,
		       const uint64_t pages[DELTA_WORDS])
{
	uint64_t any = 0;
	int64_t n = 0;

	for (unsigned i = 0; i < DELTA_WORDS; i++)
		any |= pages[i] & DELTA_FIRST_BITS;
	if (!any)
		return;
	pthread_mutex_lock(&d->garbage_lock);
	for (unsigned i = 0; i < DELTA_WORDS; i++) {
		n += __builtin_popcountll(pages[i] & ~frame->garbage[i] & DELTA_FIRST_BITS);
		frame->garbage[i] |= pages[i] & DELTA_FIRST_BITS;
	}
	if (n > 0 && !frame->listed)
		link_frame(d, frame);
	pthread_mutex_unlock(&d->garbage_lock);
	count_garbage(d, n);
}

void delta_garbage_drop(struct delta *d, struct delta_frame *frame, unsigned first, unsigned n)
{
	uint64_t pages[DELTA_WORDS] = {0};
	int64_t gone = 0;

	if (!__atomic_load_n(&frame->listed, __ATOMIC_RELAXED))
		return;
	delta_mark(pages, first, n, DELTA_BIT_WRITTEN, 0);
	pthread_mutex_lock(&d->garbage_lock);
	for (unsigned i = 0; i < DELTA_WORDS; i++) {
		gone += __builtin_popcountll(pages[i] & frame->garbage[i]);
		frame->garbage[i] &= ~pages[i];
	}
	pthread_mutex_unlock(&d->garbage_lock);
	count_garbage(d, -gone);
}

bool delta_has_garbage(const struct delta *d)
{
	return __atomic_load_n(&d->ngarbage, __ATOMIC_RELAXED) > 0;
}

/* First bits become second bits; what is both is counted once. */
static void age(struct delta *d, struct delta_frame *frame)
{
	int64_t both = 0;

	for (unsigned i = 0; i < DELTA_WORDS; i++) {
		uint64_t now = frame->garbage[i] & DELTA_FIRST_BITS;
		uint64_t before = frame->garbage[i] >> 1 & DELTA_FIRST_BITS;

		both += __builtin_popcountll(now & before);
		frame->garbage[i] = (now | before) << 1;
	}
	count_garbage(d, -both);
}

static struct delta_frame *take_batch(struct delta *d)
{
	struct delta_frame *batch;

	pthread_mutex_lock(&d->garbage_lock);
	batch = d->garbage;
	d->garbage = NULL;
	for (struct delta_frame *frame = batch; frame; frame = frame->next)
		age(d, frame);
	pthread_mutex_unlock(&d->garbage_lock);
	return batch;
}

/* What was zeroed meanwhile waits for the next sync; the batch's pages too unless `done`. */
static struct delta_frame *put_back(struct delta *d, struct delta_frame *frame, bool done)
{
	struct delta_frame *next = frame->next;
	uint64_t left = 0;
	int64_t n = 0;

	pthread_mutex_lock(&d->garbage_lock);
	for (unsigned i = 0; i < DELTA_WORDS; i++) {
		n += done ? __builtin_popcountll(frame->garbage[i] & ~DELTA_FIRST_BITS) : 0;
		frame->garbage[i] &= done ? DELTA_FIRST_BITS : UINT64_MAX;
		left |= frame->garbage[i];
	}
	if (left)
		link_frame(d, frame);
	else
		__atomic_store_n(&frame->listed, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&d->garbage_lock);
	count_garbage(d, -n);
	return next;
}

/* Of the frame's pages of the batch those that are not written (again); whether any was. */
static bool batch_of(struct delta *d, struct delta_frame *frame, uint64_t pages[DELTA_WORDS])
{
	uint64_t bits[DELTA_WORDS], again = 0;

	delta_frame_bits(frame, bits);
	pthread_mutex_lock(&d->garbage_lock);
	for (unsigned i = 0; i < DELTA_WORDS; i++) {
		uint64_t batch = frame->garbage[i] >> 1 & DELTA_FIRST_BITS;

		pages[i] = batch & ~bits[i];
		again |= batch & bits[i];
	}
	pthread_mutex_unlock(&d->garbage_lock);
	return again;
}

static int punch_frame(struct delta *d, struct delta_frame *frame, bool *ret_again)
{
	pthread_mutex_t *stripe = &d->stripe[frame->number % DELTA_STRIPES];
	uint64_t pages[DELTA_WORDS];
	int rc = 0;

	pthread_mutex_lock(stripe);
	if (batch_of(d, frame, pages))
		*ret_again = true;
	for (unsigned n, page = 0; rc == 0 && (n = delta_next_set(pages, page, &page)); page += n) {
		rc = delta_punch(d, frame->number * FRAME_PAGES + page, n);
		*ret_again = true;
	}
	pthread_mutex_unlock(stripe);
	return rc;
}

static int flush(struct delta *d, struct err *err)
{
	int rc;

	do
		rc = fdatasync(d->fd);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	rc = err_sys(err, -errno, "cannot sync");
	delta_break(d);
	return delta_said(d, rc, err);
}

/* Frames that were not done are put back, too. */
static int punch_batch(struct delta *d, struct delta_frame *batch, struct err *err)
{
	uint64_t number = 0;
	bool again = false;
	int rc = 0;

	while (batch && rc == 0) {
		number = batch->number;
		rc = punch_frame(d, batch, &again);
		batch = put_back(d, batch, rc == 0);
	}
	while (batch)
		batch = put_back(d, batch, false);
	if (rc == 0)
		return again ? flush(d, err) : 0;
	rc = err_sys(err, rc, "cannot free what was zeroed from byte %llu of the image on",
		     (unsigned long long)number * FRAME_SIZE);
	return delta_said(d, rc, err);
}

static int sync_locked(struct delta *d, struct err *err)
{
	struct delta_frame *batch;
	int rc = delta_check(d, err);

	if (rc < 0)
		return rc;
	if (!__atomic_exchange_n(&d->dirty, false, __ATOMIC_SEQ_CST) && !delta_has_garbage(d))
		return 0;
	batch = take_batch(d);
	rc = flush(d, err);
	if (rc == 0)
		rc = punch_batch(d, batch, err);
	else
		while (batch)
			batch = put_back(d, batch, false);
	if (rc < 0)
		delta_touch(d);
	return rc;
}

int delta_sync(struct delta *d, struct err *err)
{
	int rc;

	if (d->read_only)
		return 0;
	pthread_mutex_lock(&d->sync_lock);
	rc = sync_locked(d, err);
	pthread_mutex_unlock(&d->sync_lock);
	return rc;
}
