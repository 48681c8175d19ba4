/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/live-private.h"

#include <stdlib.h>
#include <string.h>

#include "store/layer.h"

#define READ_MAX (1u << 20)
#define DELTA_PAGES (DELTA_SIZE_MAX >> PAGE_SHIFT)
#define GAPS_MAX (READ_MAX / PAGE_SIZE / 2 + 2)

struct delta *live_io_top(const struct live_image *image)
{
	return image->delta[image->live->depth - 1];
}

static uint64_t size_of(const struct live_image *image)
{
	return delta_size(live_io_top(image));
}

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static pthread_mutex_t *lock_frame(struct live_image *image, uint64_t page)
{
	pthread_mutex_t *lock = &image->frame[page / FRAME_PAGES % LIVE_STRIPES];

	pthread_mutex_lock(lock);
	return lock;
}

static int too_big(struct live_image *image, struct err *err)
{
	return err_set(err, -EFBIG, "live image '%s': '%s' would be larger than %llu bytes",
		       image->live->row.name, image->live->row.image[image->index],
		       (unsigned long long)DELTA_SIZE_MAX);
}

static bool is_too_big(uint64_t off, uint64_t len)
{
	return off > DELTA_SIZE_MAX || len > DELTA_SIZE_MAX - off;
}

/* ---- reading ---- */

/* A read of which deltas say something: into one buffer, first what they say. */
struct mixed {
	struct live_image *image;
	uint8_t *buf;
	uint64_t off;
	uint64_t end;
	struct live_span gap[GAPS_MAX];		/* what is the layer's */
	unsigned ngaps;
};

static void add_gap(struct mixed *m, uint64_t off, uint64_t end)
{
	struct live_span *last = m->ngaps ? &m->gap[m->ngaps - 1] : NULL;

	if (last && last->end == off)
		last->end = end;
	else
		m->gap[m->ngaps++] = (struct live_span){.off = off, .end = end};
}

static int read_above(struct mixed *m, struct err *err)
{
	uint64_t last = live_page_after(m->end), n;
	enum delta_state state;
	struct delta *delta;
	int rc = 0;

	for (uint64_t page = m->off >> PAGE_SHIFT; page < last && rc == 0; page += n) {
		uint64_t off = page << PAGE_SHIFT, end;

		n = live_count_run(m->image, page, last, &delta, &state);
		end = min64((page + n) << PAGE_SHIFT, m->end);
		off = off < m->off ? m->off : off;
		if (state == DELTA_DATA_PAGE)
			rc = delta_read(delta, m->buf + (off - m->off), end - off, off, err);
		else if (state == DELTA_ZERO_PAGE)
			memset(m->buf + (off - m->off), 0, end - off);
		else
			add_gap(m, off, end);
	}
	return rc;
}

static int read_gaps(const struct mixed *m, struct live_base *base, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < m->ngaps && rc == 0; i++) {
		const struct live_span *gap = &m->gap[i];

		rc = live_base_read(base, m->image->index, m->buf + (gap->off - m->off),
				    gap->end - gap->off, gap->off, err);
	}
	return rc;
}

static void answer_nothing(struct live_data *ret)
{
	ret->view.niov = ret->view.nheld = 0;
	ret->view.len = 0;
	ret->buf = NULL;
	ret->base = NULL;
}

static void answer(const struct mixed *m, struct live_data *ret)
{
	answer_nothing(ret);
	ret->buf = m->buf;
	ret->view.len = m->end - m->off;
	ret->view.iov[0] = (struct iovec){.iov_base = m->buf, .iov_len = ret->view.len};
	ret->view.niov = 1;
}

/* Takes live->lock as it is held, and `base`. */
static int read_mixed(struct mixed *m, struct live_base *base, struct live_data *ret,
		      struct err *err)
{
	int rc = 0;

	m->buf = malloc(m->end - m->off);
	if (!m->buf)
		rc = err_set(err, -ENOMEM, "out of memory");
	else
		rc = read_above(m, err);
	pthread_rwlock_unlock(&m->image->live->lock);
	if (rc == 0)
		rc = read_gaps(m, base, err);
	live_base_unref(base);
	if (rc == 0)
		answer(m, ret);
	else
		free(m->buf);
	return rc;
}

/* Takes `base`. */
static int read_below(const struct mixed *m, struct live_base *base, struct live_data *ret,
		      struct err *err)
{
	struct view *view = base->view[m->image->index];
	int rc = view_read(view, m->off, m->end - m->off, &ret->view, err);

	if (rc < 0) {
		live_base_unref(base);
		return rc;
	}
	ret->buf = NULL;
	ret->base = base;
	return 0;
}

static bool is_below(const struct mixed *m)
{
	uint64_t page = m->off >> PAGE_SHIFT, npages = live_page_after(m->end) - page;
	enum delta_state state;
	struct delta *delta;

	return m->end <= live_base_size(m->image->live->base, m->image->index) &&
	       live_count_run(m->image, page, page + npages, &delta, &state) == npages &&
	       state == DELTA_NONE;
}

int live_read(struct live_image *image, uint64_t off, size_t len, struct live_data *ret,
	      struct err *err)
{
	struct mixed m;
	struct live_base *base;

	m.image = image;
	m.off = off;
	m.ngaps = 0;
	pthread_rwlock_rdlock(&image->live->lock);
	m.end = min64(size_of(image), off + min64(len, READ_MAX));
	if (off >= m.end) {
		pthread_rwlock_unlock(&image->live->lock);
		answer_nothing(ret);
		return 0;
	}
	base = live_base_ref(image->live->base);
	if (!is_below(&m))
		return read_mixed(&m, base, ret, err);
	pthread_rwlock_unlock(&image->live->lock);
	return read_below(&m, base, ret, err);
}

void live_release(struct live_image *image, struct live_data *data)
{
	if (data->base)
		view_release(data->base->view[image->index], &data->view);
	live_base_unref(data->base);
	free(data->buf);
	answer_nothing(data);
}

/* ---- what is where ---- */

static int next_run(struct live_image *image, uint64_t off, struct view_run *ret, struct err *err)
{
	uint64_t size = size_of(image), last = live_page_after(size), page = off >> PAGE_SHIFT;
	bool data = false, more = false;
	int64_t n;

	if (off >= size)
		return err_set(err, -ENXIO, "live image '%s': '%s' ends at byte %llu",
			       image->live->row.name, image->live->row.image[image->index],
			       (unsigned long long)size);
	n = live_count_seen(image, page, last, &data, err);
	if (n < 0)
		return (int)n;
	for (page += (uint64_t)n; page < last; page += (uint64_t)n) {
		/* A damaged map behind it is for those who ask for that. */
		n = live_count_seen(image, page, last, &more, NULL);
		if (n < 0 || more != data)
			break;
	}
	*ret = (struct view_run){.off = off, .len = min64(page << PAGE_SHIFT, size) - off,
				 .data = data};
	return 0;
}

int live_next_run(struct live_image *image, uint64_t off, struct view_run *ret, struct err *err)
{
	int rc;

	pthread_rwlock_rdlock(&image->live->lock);
	rc = next_run(image, off, ret, err);
	pthread_rwlock_unlock(&image->live->lock);
	return rc;
}

uint64_t live_size(struct live_image *image)
{
	uint64_t size;

	pthread_rwlock_rdlock(&image->live->lock);
	size = size_of(image);
	pthread_rwlock_unlock(&image->live->lock);
	return size;
}

/* ---- writing: under the frame's lock ---- */

/* Before a full disk is told, the room that zeroed pages still take is given back. */
static bool made_room(struct delta *top, int rc)
{
	return rc == -ENOSPC && delta_has_garbage(top) && delta_sync(top, NULL) == 0;
}

static int64_t data_pages(const struct live_image *image, uint64_t page, uint64_t n)
{
	return live_count_known(image) ? (int64_t)live_count_data(image, page, page + n) : 0;
}

static int put_pages(struct live_image *image, const void *buf, uint64_t page, unsigned n,
		     struct err *err)
{
	struct delta *top = live_io_top(image);
	int64_t before = data_pages(image, page, n);
	int rc = delta_write(top, buf, page, n, err);

	if (made_room(top, rc))
		rc = delta_write(top, buf, page, n, err);
	if (rc == 0)
		live_count_add(image, n - before);
	return rc;
}

static int put_zeros(struct live_image *image, uint64_t page, uint64_t n, struct err *err)
{
	struct delta *top = live_io_top(image);
	int64_t before = data_pages(image, page, n);
	int rc = delta_zero(top, page, n, err);

	if (made_room(top, rc))
		rc = delta_zero(top, page, n, err);
	if (rc == 0)
		live_count_add(image, -before);
	else
		live_count_lose(image);
	return rc;
}

static int read_page(struct live_image *image, uint64_t page, uint8_t buf[PAGE_SIZE],
		     struct err *err)
{
	uint64_t off = page << PAGE_SHIFT;
	enum delta_state state;
	struct delta *delta;

	(void)live_count_run(image, page, page + 1, &delta, &state);
	if (state == DELTA_DATA_PAGE)
		return delta_read(delta, buf, PAGE_SIZE, off, err);
	if (state == DELTA_NONE)
		return live_base_read(image->live->base, image->index, buf, PAGE_SIZE, off, err);
	memset(buf, 0, PAGE_SIZE);
	return 0;
}

/* Within one page. */
static int put_part(struct live_image *image, const struct live_span *s, struct err *err)
{
	uint64_t page = s->off >> PAGE_SHIFT;
	uint8_t whole[PAGE_SIZE];
	int rc;

	if (delta_state(live_io_top(image), page) == DELTA_DATA_PAGE)
		return delta_patch(live_io_top(image), s->buf, s->end - s->off, s->off, err);
	rc = read_page(image, page, whole, err);
	if (rc < 0)
		return rc;
	memcpy(whole + s->off % PAGE_SIZE, s->buf, s->end - s->off);
	return put_pages(image, whole, page, 1, err);
}

/* The first piece of it that is a part of a page, or whole pages. */
static struct live_span first_piece(const struct live_span *s)
{
	struct live_span piece = *s;
	uint64_t whole = s->end & ~(uint64_t)(PAGE_SIZE - 1);

	if (s->off % PAGE_SIZE || whole <= s->off)
		piece.end = min64(s->end, (s->off | (PAGE_SIZE - 1)) + 1);
	else
		piece.end = whole;
	return piece;
}

/* Within one frame. */
static int write_frame(struct live_image *image, struct live_span s, struct err *err)
{
	pthread_mutex_t *lock = lock_frame(image, s.off >> PAGE_SHIFT);
	int rc = 0;

	while (s.off < s.end && rc == 0) {
		struct live_span piece = first_piece(&s);
		uint64_t len = piece.end - piece.off;

		if (len % PAGE_SIZE || piece.off % PAGE_SIZE)
			rc = put_part(image, &piece, err);
		else
			rc = put_pages(image, piece.buf, piece.off >> PAGE_SHIFT,
				       (unsigned)(len >> PAGE_SHIFT), err);
		s.buf += len;
		s.off += len;
	}
	pthread_mutex_unlock(lock);
	return rc;
}

static int write_span(struct live_image *image, struct live_span s, struct err *err)
{
	int rc = 0;

	while (s.off < s.end && rc == 0) {
		struct live_span in_frame = s;

		in_frame.end = min64(s.end, (s.off | (FRAME_SIZE - 1)) + 1);
		rc = write_frame(image, in_frame, err);
		s.buf += in_frame.end - s.off;
		s.off = in_frame.end;
	}
	return rc;
}

/* Behind the end.  What failed leaves the image as long as it was. */
static int write_growing(struct live_image *image, const struct live_span *s, struct err *err)
{
	uint64_t old;
	int rc = 0;

	pthread_rwlock_wrlock(&image->live->lock);
	old = size_of(image);
	if (s->end > old)
		rc = live_io_resize(image, s->end, err);
	if (rc == 0)
		rc = write_span(image, *s, err);
	if (rc < 0 && old < size_of(image))
		(void)live_io_resize(image, old, NULL);
	pthread_rwlock_unlock(&image->live->lock);
	return rc;
}

int live_write(struct live_image *image, const void *buf, size_t len, uint64_t off,
	       struct err *err)
{
	struct live_span s = {.buf = buf, .off = off, .end = off + len};
	bool inside;
	int rc = 0;

	if (is_too_big(off, len))
		return too_big(image, err);
	if (len == 0)
		return 0;
	pthread_rwlock_rdlock(&image->live->lock);
	inside = s.end <= size_of(image);
	if (inside)
		rc = write_span(image, s, err);
	pthread_rwlock_unlock(&image->live->lock);
	return inside ? rc : write_growing(image, &s, err);
}

/* ---- zeros ---- */

static int zero_part(struct live_image *image, uint64_t off, uint64_t end, struct err *err)
{
	static const uint8_t zeros[PAGE_SIZE];
	struct live_span s = {.buf = zeros, .off = off, .end = end};
	uint64_t page = off >> PAGE_SHIFT;
	pthread_mutex_t *lock;
	int rc = 0;

	if (off >= end)
		return 0;
	lock = lock_frame(image, page);
	if (live_count_data(image, page, page + 1))
		rc = put_part(image, &s, err);
	pthread_mutex_unlock(lock);
	return rc;
}

/* From `page` on (< end) the first that is data, or `end`.  Damaged ones are. */
static uint64_t next_data(const struct live_image *image, uint64_t page, uint64_t end)
{
	bool data = false;

	while (page < end) {
		int64_t n = live_count_seen(image, page, end, &data, NULL);

		if (n < 0 || data)
			break;
		page += (uint64_t)n;
	}
	return page;
}

static uint64_t last_data(const struct live_image *image, uint64_t page, uint64_t end)
{
	uint64_t last = page;
	bool data = false;

	while (page < end) {
		int64_t n = live_count_seen(image, page, end, &data, NULL);

		page += n < 0 ? 1 : (uint64_t)n;
		if (n < 0 || data)
			last = page;
	}
	return last;
}

/* Within one frame: from the first page of data to the last, in one go. */
static int zero_frame(struct live_image *image, uint64_t page, uint64_t end, struct err *err)
{
	pthread_mutex_t *lock = lock_frame(image, page);
	int rc = 0;

	page = next_data(image, page, end);
	end = last_data(image, page, end);
	if (page < end)
		rc = put_zeros(image, page, end - page, err);
	pthread_mutex_unlock(lock);
	return rc;
}

/* What is zero already is passed over. */
static int zero_pages(struct live_image *image, uint64_t page, uint64_t end, struct err *err)
{
	int rc = 0;

	while (rc == 0 && (page = next_data(image, page, end)) < end) {
		uint64_t stop = min64(end, (page | (FRAME_PAGES - 1)) + 1);

		rc = zero_frame(image, page, stop, err);
		page = stop;
	}
	return rc;
}

int live_io_zero(struct live_image *image, uint64_t off, uint64_t end, struct err *err)
{
	uint64_t first = live_page_after(off), last = end >> PAGE_SHIFT;
	int rc;

	/* Of the last page what is behind the end is zero. */
	if (end >= size_of(image))
		last = live_page_after(end);
	if (first > last)
		return zero_part(image, off, end, err);
	rc = zero_part(image, off, min64(end, first << PAGE_SHIFT), err);
	if (rc == 0)
		rc = zero_pages(image, first, last, err);
	if (rc == 0)
		rc = zero_part(image, last << PAGE_SHIFT, end, err);
	return rc;
}

static bool all_zero(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p == 0)
		p++;
	return p == end;
}

/* Behind the end, which is within it: 1 or 0. */
static int is_zero_behind(struct live_image *image, uint64_t size, struct err *err)
{
	uint64_t page = size >> PAGE_SHIFT;
	uint8_t whole[PAGE_SIZE];
	enum delta_state state;
	struct delta *delta;
	int rc;

	(void)live_count_run(image, page, page + 1, &delta, &state);
	if (state == DELTA_ZERO_PAGE ||
	    (state == DELTA_NONE && live_base_size(image->live->base, image->index) <= size))
		return 1;
	rc = read_page(image, page, whole, err);
	return rc < 0 ? rc : all_zero(whole + size % PAGE_SIZE, whole + PAGE_SIZE);
}

int live_io_zero_tail(struct live_image *image, struct err *err)
{
	uint64_t size = size_of(image);
	int rc = size % PAGE_SIZE ? is_zero_behind(image, size, err) : 1;

	if (rc == 0)
		return live_io_zero(image, size, DELTA_SIZE_MAX, err);
	return rc < 0 ? rc : zero_pages(image, live_page_after(size), DELTA_PAGES, err);
}

int live_zero(struct live_image *image, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t size;
	int rc = 0;

	pthread_rwlock_rdlock(&image->live->lock);
	size = size_of(image);
	if (off < size)
		rc = live_io_zero(image, off, off + min64(len, size - off), err);
	pthread_rwlock_unlock(&image->live->lock);
	return rc;
}

int live_io_resize(struct live_image *image, uint64_t size, struct err *err)
{
	uint64_t old = size_of(image);
	int rc = 0;

	if (size < old)
		rc = live_io_zero(image, size, old, err);
	return rc == 0 ? delta_set_size(live_io_top(image), size, err) : rc;
}

int live_truncate(struct live_image *image, uint64_t size, struct err *err)
{
	int rc;

	if (is_too_big(size, 0))
		return too_big(image, err);
	/* A delta is synced before it says a smaller size: most of that without the lock. */
	if (size < live_size(image))
		(void)live_sync(image, NULL);
	pthread_rwlock_wrlock(&image->live->lock);
	rc = live_io_resize(image, size, err);
	pthread_rwlock_unlock(&image->live->lock);
	return rc;
}

int live_allocate(struct live_image *image, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t page = off >> PAGE_SHIFT;
	struct delta *top;
	int rc;

	if (is_too_big(off, len))
		return too_big(image, err);
	pthread_rwlock_rdlock(&image->live->lock);
	top = live_io_top(image);
	rc = delta_allocate(top, page, live_page_after(off + len) - page, err);
	if (made_room(top, rc))
		rc = delta_allocate(top, page, live_page_after(off + len) - page, err);
	pthread_rwlock_unlock(&image->live->lock);
	return rc;
}
