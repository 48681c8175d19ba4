/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An input is a list of extents: what has to be read.  Where they come from
 * depends on the mode and the file:
 *
 *	DIRTY		the caller's ranges, widened to pages, sorted, merged
 *	SEEK_DATA	FULL or DIFF of a regular file: asked anew each time
 *	all		block devices, and where SEEK_DATA is not known
 *
 * Wherever they come from, an extent's bytes are pages of the input and the rest
 * is zero (FULL) or the parent's (DIFF, DIRTY).
 *
 * An input_source has no file and no extents: it tells its pages itself.  What
 * is the same for all of it, the pages behind the end, what is behind the end in
 * the last page and pages of zeros, is not its business.
 *
 * The kernel is told of extents ahead of the reads, each once: `ahead` is how
 * far.  It is the only thing that changes after input_open(); SEEK_DATA moves
 * the shared file offset, which nobody reads.
 */
#include "store/input.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/format.h"

#define AHEAD (16u << 20)

struct input {
	const struct input_source *source;	/* or NULL: a file */
	char *path;
	int fd;
	enum input_mode mode;
	bool regular;
	bool sparse;			/* SEEK_DATA is to be trusted */
	uint64_t size;
	struct timespec mtime;
	uint64_t expect;
	struct input_range *ranges;	/* DIRTY: sorted, merged, whole pages */
	size_t nranges;
	pthread_mutex_t lock;
	uint64_t ahead;			/* under lock */
};

struct extent {
	uint64_t off;
	uint64_t end;
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t page_up(uint64_t off)
{
	return (off + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
}

static uint64_t page_down(uint64_t off)
{
	return off & ~(uint64_t)(PAGE_SIZE - 1);
}

/* The first range that ends behind `off`, or nranges. */
static size_t range_after(const struct input *in, uint64_t off)
{
	size_t lo = 0, hi = in->nranges;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (in->ranges[mid].off + in->ranges[mid].len <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool next_range(const struct input *in, uint64_t off, struct extent *ret)
{
	size_t i = range_after(in, off);

	if (i == in->nranges)
		return false;
	ret->off = off > in->ranges[i].off ? off : in->ranges[i].off;
	ret->end = in->ranges[i].off + in->ranges[i].len;
	return true;
}

/* An error here is found again, and told, by the read that follows. */
static bool next_data(const struct input *in, uint64_t off, struct extent *ret)
{
	off_t data = lseek(in->fd, (off_t)off, SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO)
		return false;
	if (data < (off_t)off)
		data = (off_t)off;
	hole = lseek(in->fd, data, SEEK_HOLE);
	ret->off = (uint64_t)data;
	ret->end = hole <= data ? in->size : min_u64((uint64_t)hole, in->size);
	return ret->off < in->size;
}

/* What is to be read next at or behind `off`, or false. */
static bool next_extent(const struct input *in, uint64_t off, struct extent *ret)
{
	if (off >= in->size)
		return false;
	if (in->mode == INPUT_DIRTY)
		return next_range(in, off, ret);
	if (in->sparse)
		return next_data(in, off, ret);
	ret->off = off;
	ret->end = in->size;
	return true;
}

static int by_off(const void *a, const void *b)
{
	const struct input_range *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Widened to pages and cut at the end of the input; false if nothing is left. */
static bool range_clip(const struct input *in, struct input_range *r)
{
	uint64_t end, last = page_up(in->size);

	if (r->len == 0 || r->off >= last)
		return false;
	if (__builtin_add_overflow(r->off, r->len, &end) || end > last)
		end = last;
	r->off = page_down(r->off);
	r->len = page_up(end) - r->off;
	return true;
}

static void ranges_merge(struct input *in)
{
	size_t n = 0;

	for (size_t i = 0; i < in->nranges; i++) {
		struct input_range *r = &in->ranges[i];
		struct input_range *last = n ? &in->ranges[n - 1] : NULL;

		if (last && r->off <= last->off + last->len) {
			uint64_t end = r->off + r->len;

			if (end > last->off + last->len)
				last->len = end - last->off;
		} else {
			in->ranges[n++] = *r;
		}
	}
	in->nranges = n;
}

static int ranges_copy(struct input *in, const struct input_range *ranges, size_t nranges)
{
	in->ranges = calloc(nranges ? nranges : 1, sizeof(*ranges));
	if (!in->ranges)
		return -ENOMEM;
	for (size_t i = 0; i < nranges; i++) {
		in->ranges[in->nranges] = ranges[i];
		if (range_clip(in, &in->ranges[in->nranges]))
			in->nranges++;
	}
	qsort(in->ranges, in->nranges, sizeof(*ranges), by_off);
	ranges_merge(in);
	in->expect = 0;
	for (size_t i = 0; i < in->nranges; i++)
		in->expect += in->ranges[i].len;
	return 0;
}

static int open_device(struct input *in, struct err *err)
{
	uint64_t size;

	if (in->mode == INPUT_DIFF)
		return err_set(err, -EINVAL, "'%s' is a block device: it has no holes, so it "
			       "cannot be a diff", in->path);
	if (ioctl(in->fd, BLKGETSIZE64, &size) < 0)
		return err_sys(err, -errno, "cannot tell the size of '%s'", in->path);
	in->size = in->expect = size;
	return 0;
}

static int open_regular(struct input *in, const struct stat *st, struct err *err)
{
	in->regular = true;
	in->size = (uint64_t)st->st_size;
	in->mtime = st->st_mtim;
	in->expect = min_u64(in->size, (uint64_t)st->st_blocks * 512);
	in->sparse = lseek(in->fd, 0, SEEK_DATA) >= 0 || errno == ENXIO;
	if (!in->sparse && in->mode == INPUT_DIFF)
		return err_set(err, -ENOTSUP, "the file system of '%s' does not tell holes, so it "
			       "cannot be a diff", in->path);
	return 0;
}

static int open_by_type(struct input *in, struct err *err)
{
	struct stat st;
	char byte;

	if (fstat(in->fd, &st) < 0)
		return err_sys(err, -errno, "cannot look at '%s'", in->path);
	if (S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, "'%s' is a directory", in->path);
	if (S_ISBLK(st.st_mode))
		return open_device(in, err);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "'%s' is neither a regular file nor a block device",
			       in->path);
	if (st.st_size == 0 && pread(in->fd, &byte, 1, 0) > 0)
		return err_set(err, -EINVAL, "'%s' does not tell its size", in->path);
	return open_regular(in, &st, err);
}

int input_dirty_from(struct input *in, uint64_t off)
{
	uint64_t start = page_down(off), end = page_up(in->size);
	struct input_range *last, *more;

	if (in->mode != INPUT_DIRTY || in->size <= off)
		return 0;
	while (in->nranges && in->ranges[in->nranges - 1].off >= start)
		in->nranges--;
	last = in->nranges ? &in->ranges[in->nranges - 1] : NULL;
	if (last && last->off + last->len >= start) {
		last->len = end - last->off;
		return 0;
	}
	more = reallocarray(in->ranges, in->nranges + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	in->ranges = more;
	in->ranges[in->nranges++] = (struct input_range){.off = start, .len = end - start};
	return 0;
}

/* O_NONBLOCK: a pipe without a writer must not keep us waiting. */
static int open_fd(const char *path)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd = open(path, flags | O_NOATIME);

	if (fd < 0 && errno == EPERM)
		fd = open(path, flags);
	return fd < 0 ? -errno : fd;
}

static int open_checked(struct input *in, const struct input_range *ranges, size_t nranges,
			struct err *err)
{
	int rc;

	in->fd = open_fd(in->path);
	if (in->fd < 0)
		return err_sys(err, in->fd, "cannot open '%s'", in->path);
	rc = open_by_type(in, err);
	if (rc < 0)
		return rc;
	if (in->size > IMAGE_SIZE_MAX)
		return err_set(err, -EFBIG, "'%s' is larger than an image can be", in->path);
	if (in->mode == INPUT_DIRTY && ranges_copy(in, ranges, nranges) < 0)
		return err_sys(err, -ENOMEM, "cannot open '%s'", in->path);
	(void)posix_fadvise(in->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

int input_open(const char *path, enum input_mode mode, const struct input_range *ranges,
	       size_t nranges, struct input **ret, struct err *err)
{
	struct input *in = calloc(1, sizeof(*in));
	int rc;

	if (!in)
		return err_sys(err, -ENOMEM, "cannot open '%s'", path);
	pthread_mutex_init(&in->lock, NULL);
	in->fd = -1;
	in->mode = mode;
	in->path = strdup(path);
	if (!in->path)
		rc = err_sys(err, -ENOMEM, "cannot open '%s'", path);
	else
		rc = open_checked(in, ranges, nranges, err);
	if (rc < 0) {
		input_close(in);
		return rc;
	}
	*ret = in;
	return 0;
}

int input_from(const struct input_source *source, struct input **ret, struct err *err)
{
	struct input *in;

	if (source->size > IMAGE_SIZE_MAX)
		return err_set(err, -EFBIG, "%" PRIu64 " bytes are more than an image can have",
			       source->size);
	in = calloc(1, sizeof(*in));
	if (!in)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&in->lock, NULL);
	in->fd = -1;
	in->mode = INPUT_DIFF;
	in->source = source;
	in->size = source->size;
	in->expect = source->expect;
	*ret = in;
	return 0;
}

void input_close(struct input *in)
{
	if (!in)
		return;
	if (in->fd >= 0)
		close(in->fd);
	pthread_mutex_destroy(&in->lock);
	free(in->ranges);
	free(in->path);
	free(in);
}

uint64_t input_size(const struct input *in)
{
	return in->size;
}

uint64_t input_expect(const struct input *in)
{
	return in->expect;
}

static uint64_t next_of_source(const struct input *in, uint64_t frame)
{
	uint64_t page = in->source->next(in->source->ctx, frame * FRAME_PAGES);

	return page >= page_up(in->size) >> PAGE_SHIFT ? UINT64_MAX : page / FRAME_PAGES;
}

uint64_t input_next_frame(struct input *in, uint64_t frame)
{
	struct extent e;

	if (in->source)
		return next_of_source(in, frame);
	if (frame > in->size >> FRAME_SHIFT || !next_extent(in, frame << FRAME_SHIFT, &e))
		return UINT64_MAX;
	return e.off >> FRAME_SHIFT;
}

/* One thread at a time is enough, and the others need not wait for it. */
static void advise(struct input *in, uint64_t off)
{
	uint64_t target = off + AHEAD;
	struct extent e;

	if (pthread_mutex_trylock(&in->lock) != 0)
		return;
	if (in->ahead < off)
		in->ahead = off;
	while (in->ahead < target) {
		if (!next_extent(in, in->ahead, &e))
			e = (struct extent){ UINT64_MAX, UINT64_MAX };
		if (e.off < target)
			(void)posix_fadvise(in->fd, (off_t)e.off,
					    (off_t)(min_u64(e.end, target) - e.off),
					    POSIX_FADV_WILLNEED);
		in->ahead = min_u64(e.end, target > e.off ? target : e.off);
	}
	pthread_mutex_unlock(&in->lock);
}

/* Reads [off, end) of the file to `buf`. */
static int read_bytes(const struct input *in, uint8_t *buf, struct extent e, struct err *err)
{
	while (e.off < e.end) {
		ssize_t n = pread(in->fd, buf, e.end - e.off, (off_t)e.off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, -errno, "cannot read '%s' at offset %" PRIu64,
				       in->path, e.off);
		if (n == 0)
			return err_set(err, -ESTALE, "'%s' became shorter while it was read",
				       in->path);
		buf += n;
		e.off += (uint64_t)n;
	}
	return 0;
}

static uint8_t page_kind(const uint8_t *page)
{
	static const uint8_t zeros[PAGE_SIZE];

	return memcmp(page, zeros, PAGE_SIZE) == 0 ? INPUT_PAGE_ZERO : INPUT_PAGE_DATA;
}

/* Reads the whole pages around `e` into the frame that begins at `base`. */
static int read_extent(const struct input *in, uint64_t base, struct extent e, uint8_t *buf,
		       uint8_t *kind, struct err *err)
{
	uint64_t first = page_down(e.off), last = page_up(e.end);
	struct extent bytes = { first, min_u64(last, in->size) };
	int rc = read_bytes(in, buf + (first - base), bytes, err);

	if (rc < 0)
		return rc;
	memset(buf + (bytes.end - base), 0, last - bytes.end);
	for (uint64_t off = first; off < last; off += PAGE_SIZE)
		kind[(off - base) >> PAGE_SHIFT] = page_kind(buf + (off - base));
	return (int)((last - first) >> PAGE_SHIFT);
}

/* Before anything is read: what the pages of the frame at `base` are without it. */
static void kinds_init(const struct input *in, uint64_t base, uint8_t *kind)
{
	uint64_t left = in->size > base ? page_up(in->size - base) >> PAGE_SHIFT : 0;
	size_t inside = min_u64(left, FRAME_PAGES);

	memset(kind, in->mode == INPUT_FULL ? INPUT_PAGE_ZERO : INPUT_PAGE_PARENT, inside);
	memset(kind + inside, INPUT_PAGE_ZERO, FRAME_PAGES - inside);
}

/* What is behind the end of the image, in its last page, is not part of it. */
static void cut_last(const struct input *in, uint64_t base, uint8_t *buf)
{
	uint64_t end = page_up(in->size);

	if (end > base && end - base <= FRAME_SIZE)
		memset(buf + (in->size - base), 0, end - in->size);
}

static int read_source(const struct input *in, uint64_t frame, uint8_t *buf, uint8_t *kind,
		       struct err *err)
{
	int rc = in->source->read(in->source->ctx, frame, buf, kind, err);

	if (rc < 0)
		return rc;
	cut_last(in, frame << FRAME_SHIFT, buf);
	for (size_t i = 0; i < FRAME_PAGES; i++)
		if (kind[i] == INPUT_PAGE_DATA)
			kind[i] = page_kind(buf + (i << PAGE_SHIFT));
	return rc;
}

int input_read(struct input *in, uint64_t frame, uint8_t *buf, uint8_t kind[512],
	       struct err *err)
{
	uint64_t base = frame << FRAME_SHIFT, end = base + FRAME_SIZE, pos = base;
	struct extent e;
	int npages = 0, rc;

	kinds_init(in, base, kind);
	if (in->source)
		return read_source(in, frame, buf, kind, err);
	advise(in, base);
	while (pos < end && next_extent(in, pos, &e) && e.off < end) {
		e.end = min_u64(e.end, end);
		rc = read_extent(in, base, e, buf, kind, err);
		if (rc < 0)
			return rc;
		npages += rc;
		pos = page_up(e.end);
	}
	return npages;
}

int input_check(struct input *in, struct err *err)
{
	struct stat st;

	if (!in->regular)
		return 0;
	if (fstat(in->fd, &st) < 0)
		return err_sys(err, -errno, "cannot look at '%s'", in->path);
	if ((uint64_t)st.st_size != in->size || st.st_mtim.tv_sec != in->mtime.tv_sec ||
	    st.st_mtim.tv_nsec != in->mtime.tv_nsec)
		return err_set(err, -ESTALE, "'%s' changed while it was read", in->path);
	return 0;
}
