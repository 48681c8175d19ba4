/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many pages of an image are data.  It is counted when somebody asks for the first time, over
 * the pages of which a delta says anything and all maps of the layer; from then on whoever
 * changes a page says what it was, under the frame's lock, so that the sum stays exact.  A fold
 * loses it: a page of zeros that was written is data in a delta, and none in a layer.
 */
#include <time.h>

#include "store/live-private.h"

uint64_t live_count_run(const struct live_image *image, uint64_t page, uint64_t end,
			struct delta **ret, enum delta_state *ret_state)
{
	*ret_state = DELTA_NONE;
	for (unsigned k = image->live->depth; k-- > 0 && *ret_state == DELTA_NONE;) {
		*ret = image->delta[k];
		end = page + delta_run(image->delta[k], page, end, ret_state);
	}
	return end - page;
}

int64_t live_count_seen(const struct live_image *image, uint64_t page, uint64_t end,
			bool *ret_data, struct err *err)
{
	enum delta_state state;
	struct delta *delta;
	uint64_t n = live_count_run(image, page, end, &delta, &state);

	if (state == DELTA_NONE)
		return live_base_run(image->live->base, image->index, page, page + n, ret_data,
				     err);
	*ret_data = state == DELTA_DATA_PAGE;
	return (int64_t)n;
}

bool live_count_known(const struct live_image *image)
{
	return __atomic_load_n(&image->counted, __ATOMIC_RELAXED);
}

/* What cannot be told is taken for data; its reader learns more. */
static uint64_t base_data(const struct live_image *image, uint64_t page, uint64_t end)
{
	uint64_t sum = 0;
	bool data;

	while (page < end) {
		int64_t n = live_base_run(image->live->base, image->index, page, end, &data, NULL);

		if (n < 0) {
			n = 1;
			data = true;
		}
		sum += data ? (uint64_t)n : 0;
		page += (uint64_t)n;
	}
	return sum;
}

uint64_t live_count_data(const struct live_image *image, uint64_t page, uint64_t end)
{
	uint64_t sum = 0, n;
	enum delta_state state;
	struct delta *delta;

	for (; page < end; page += n) {
		n = live_count_run(image, page, end, &delta, &state);
		if (state == DELTA_NONE)
			sum += base_data(image, page, page + n);
		else if (state == DELTA_DATA_PAGE)
			sum += n;
	}
	return sum;
}

void live_count_add(struct live_image *image, int64_t pages)
{
	if (pages)
		__atomic_add_fetch(&image->data, pages, __ATOMIC_RELAXED);
}

void live_count_lose(struct live_image *image)
{
	__atomic_store_n(&image->counted, false, __ATOMIC_RELAXED);
}

/* What the deltas add to the layer's pages, or take from them. */
static int64_t changed(const struct live_image *image)
{
	uint64_t base = live_base_size(image->live->base, image->index), size, end, n;
	enum delta_state state;
	struct delta *delta;
	int64_t sum = 0;

	size = delta_size(live_io_top(image));
	end = live_page_after(size > base ? size : base);
	for (uint64_t page = 0; page < end; page += n) {
		n = live_count_run(image, page, end, &delta, &state);
		if (state != DELTA_NONE)
			sum -= (int64_t)base_data(image, page, page + n);
		if (state == DELTA_DATA_PAGE)
			sum += (int64_t)n;
	}
	return sum;
}

static void count(struct live_image *image, const struct live_base *base, uint64_t base_bytes)
{
	pthread_rwlock_wrlock(&image->live->lock);
	if (image->live->base == base) {
		int64_t sum = (int64_t)(base_bytes >> PAGE_SHIFT) + changed(image);

		__atomic_store_n(&image->data, sum, __ATOMIC_RELAXED);
		__atomic_store_n(&image->counted, true, __ATOMIC_RELAXED);
	}
	pthread_rwlock_unlock(&image->live->lock);
}

/* The layer's maps are read before anybody is made to wait. */
static int count_base(struct live_image *image, struct err *err)
{
	struct live_base *base;
	uint64_t bytes = 0;
	int rc = 0;

	pthread_rwlock_rdlock(&image->live->lock);
	base = live_base_ref(image->live->base);
	pthread_rwlock_unlock(&image->live->lock);
	if (base->view[image->index])
		rc = view_data_bytes(base->view[image->index], &bytes, err);
	if (rc == 0)
		count(image, base, bytes);
	live_base_unref(base);
	return rc;
}

int live_stat(struct live_image *image, uint64_t *ret_data_bytes, struct timespec *ret_mtime,
	      struct err *err)
{
	struct timespec mtime;
	int rc = 0;

	while (rc == 0 && !live_count_known(image))
		rc = count_base(image, err);
	if (rc < 0)
		return rc;
	pthread_rwlock_rdlock(&image->live->lock);
	rc = delta_mtime(live_io_top(image), &mtime);
	pthread_rwlock_unlock(&image->live->lock);
	if (rc < 0)
		return err_sys(err, rc, "live image '%s': cannot tell when '%s' was written to",
			       image->live->row.name, image->live->row.image[image->index]);
	*ret_data_bytes = (uint64_t)__atomic_load_n(&image->data, __ATOMIC_RELAXED) << PAGE_SHIFT;
	*ret_mtime = mtime;
	return 0;
}
