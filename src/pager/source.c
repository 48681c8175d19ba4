/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A source has one descriptor number for all its life.  source_reopen() puts
 * another file behind it with dup3(), which is atomic: a read is either of the
 * old file, which lives until that read has ended, or of the new one.  So no
 * reader takes a lock; `lock` is only between those who reopen.
 *
 * Its size is that of the first opening: what regions were checked against.  The
 * same file with another size is refused, and one that has become shorter shows
 * in the reads themselves.
 *
 * What is opened again is the path without the links that it had at first: a tag of
 * the mount may be another layer's by now.  Its identity is compared, because of a
 * guest that got pages of two files nobody could say what it is.  The birth counts
 * because an inode's number is given again when nobody has the file open, as between
 * two workers; the mtime does not on one device, where a file that was cut off
 * may be made whole again.
 *
 * How the page cache is asked (`way`) is found out at each opening.  A reader that
 * took the way of the old file to the new one gets EOPNOTSUPP at worst, which
 * is "not known": -EAGAIN.
 *
 * Where there is no RWF_NOWAIT, mincore() is asked before a pread().  It knows whether
 * a page has its bytes (cachestat() counts also those that somebody is just reading:
 * the pread would wait for a daemon that may never answer).  For it the file
 * is mapped (`map`, without any access, never touched), at the same address for all
 * its life, and one page more: to whoever may not know, Linux says of every
 * page that it is there, and of one behind the end that cannot be true.
 */
#include "src/pager/source.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "store/base/io.h"

#define PAGE 4096
/* What every file system reads ahead when asked; more at once may be cut. */
#define WARM_PIECE (UINT64_C(128) << 10)

enum way {
	WAY_NOWAIT,	/* preadv2(RWF_NOWAIT) */
	WAY_MINCORE,	/* mincore(), then pread() */
	WAY_NONE
};

/* Whether the path led to another file, and whether that has been told. */
enum other { OTHER_NOT, OTHER_FOUND, OTHER_TOLD };

struct source {
	char *path;
	uint64_t size;
	struct source_id id;
	int fd;
	void *map;		/* MAP_FAILED: none */
	_Atomic int way;
	_Atomic bool absent;	/* could not be opened yet */
	_Atomic int other;	/* enum other */
	pthread_mutex_t lock;
};

struct file {
	int fd;
	uint64_t size;
	struct source_id id;
};

static uint64_t round_up(uint64_t n)
{
	return (n + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

/* ---- opening ---- */

static int64_t time_ns(struct statx_timestamp t)
{
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct source_id id_of(const struct statx *st)
{
	struct source_id id = {
		.dev = makedev(st->stx_dev_major, st->stx_dev_minor),
		.ino = st->stx_ino,
		.mtime_ns = time_ns(st->stx_mtime),
		.birth_ns = st->stx_mask & STATX_BTIME ? time_ns(st->stx_btime) : 0,
	};

	if (S_ISBLK(st->stx_mode)) {
		id.ino = makedev(st->stx_rdev_major, st->stx_rdev_minor);
		id.mtime_ns = id.birth_ns = 0;
	}
	return id;
}

static int look_at(const char *path, struct file *file, struct err *err)
{
	struct statx st;
	off_t size;

	if (statx(file->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return err_sys(err, -errno, "cannot look at '%s'", path);
	if (S_ISDIR(st.stx_mode))
		return err_set(err, -EISDIR, "'%s' is a directory", path);
	if (!S_ISREG(st.stx_mode) && !S_ISBLK(st.stx_mode))
		return err_set(err, -EMEDIUMTYPE, "'%s' is neither a file nor a block device",
			       path);
	size = S_ISREG(st.stx_mode) ? (off_t)st.stx_size : lseek(file->fd, 0, SEEK_END);
	if (size < 0)
		return err_sys(err, -errno, "cannot find the size of '%s'", path);
	if (size == 0)
		return err_set(err, -EINVAL, "'%s' is empty", path);
	file->size = (uint64_t)size;
	file->id = id_of(&st);
	return 0;
}

/* Non-blocking for open() alone, which would wait for a FIFO's other end. */
static int open_file(const char *path, struct file *ret, struct err *err)
{
	struct file file;
	int rc;

	file.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file.fd < 0)
		return err_sys(err, -errno, "cannot open '%s'", path);
	rc = look_at(path, &file, err);
	if (rc < 0) {
		close(file.fd);
		return rc;
	}
	(void)fcntl(file.fd, F_SETFL, 0);
	(void)posix_fadvise(file.fd, 0, 0, POSIX_FADV_RANDOM);
	*ret = file;
	return 0;
}

static size_t map_len(uint64_t size)
{
	return (size_t)round_up(size) + PAGE;
}

/* At `where`, or anywhere if that is NULL. */
static void *map_file(const struct file *file, void *where)
{
	return mmap(where, map_len(file->size), PROT_NONE, MAP_PRIVATE | (where ? MAP_FIXED : 0),
		    file->fd, 0);
}

static enum way find_way(const struct file *file, void *map)
{
	unsigned char there;
	char byte;
	struct iovec v = {&byte, 1};

	if (preadv2(file->fd, &v, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN)
		return WAY_NOWAIT;
	if (map == MAP_FAILED || mincore((char *)map + round_up(file->size), PAGE, &there) < 0)
		return WAY_NONE;
	return there & 1 ? WAY_NONE : WAY_MINCORE;
}

static int source_new(const char *path, const struct file *file, struct source **ret,
		      struct err *err)
{
	struct source *s = calloc(1, sizeof(*s));

	if (s)
		s->path = strdup(path);
	if (!s || !s->path) {
		free(s);
		return err_set(err, -ENOMEM, "cannot open '%s': out of memory", path);
	}
	s->fd = file->fd;
	s->size = file->size;
	s->id = file->id;
	s->map = MAP_FAILED;
	atomic_init(&s->way, WAY_NONE);
	pthread_mutex_init(&s->lock, NULL);
	*ret = s;
	return 0;
}

static int open_now(const char *path, struct source **ret, struct err *err)
{
	struct file file;
	int rc = open_file(path, &file, err);

	if (rc < 0)
		return rc;
	rc = source_new(path, &file, ret, err);
	if (rc < 0) {
		close(file.fd);
		return rc;
	}
	(*ret)->map = map_file(&file, NULL);
	atomic_store(&(*ret)->way, find_way(&file, (*ret)->map));
	return 0;
}

/* What cannot be resolved may be opened all the same: a descriptor below /proc. */
int source_open(const char *path, struct source **ret, struct err *err)
{
	char *real = realpath(path, NULL);
	int rc = open_now(real ? real : path, ret, err);

	free(real);
	return rc;
}

int source_open_later(const char *path, uint64_t size, const struct source_id *id,
		      struct source **ret, struct err *err)
{
	struct file nothing = {.size = size, .id = *id};
	int rc;

	nothing.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (nothing.fd < 0)
		return err_sys(err, -errno, "cannot open '/dev/null'");
	rc = source_new(path, &nothing, ret, err);
	if (rc < 0) {
		close(nothing.fd);
		return rc;
	}
	atomic_store(&(*ret)->absent, true);
	return 0;
}

bool source_absent(const struct source *source)
{
	return atomic_load_explicit(&((struct source *)source)->absent, memory_order_relaxed);
}

void source_close(struct source *source)
{
	if (!source)
		return;
	if (source->map != MAP_FAILED)
		munmap(source->map, map_len(source->size));
	close(source->fd);
	pthread_mutex_destroy(&source->lock);
	free(source->path);
	free(source);
}

static bool is_same(const struct source *s, const struct file *file)
{
	const struct source_id *was = &s->id, *is = &file->id;

	if (is->ino != was->ino)
		return false;
	if (is->dev == was->dev)
		return is->birth_ns == was->birth_ns;
	return is->mtime_ns == was->mtime_ns && file->size == s->size;
}

static int find_other(struct source *s, struct err *err)
{
	int not = OTHER_NOT;

	(void)atomic_compare_exchange_strong(&s->other, &not, OTHER_FOUND);
	return err_set(err, -EMEDIUMTYPE, "'%s' is another file now", s->path);
}

bool source_is_other(struct source *source, struct err *err)
{
	int found = OTHER_FOUND;

	if (!atomic_compare_exchange_strong(&source->other, &found, OTHER_TOLD))
		return false;
	(void)err_set(err, -EMEDIUMTYPE, "'%s' is another file now, of which nothing is taken",
		      source->path);
	return true;
}

/* Puts `file` in the place of what is open. */
static int replace(struct source *s, const struct file *file, struct err *err)
{
	if (!is_same(s, file))
		return find_other(s, err);
	if (file->size != s->size)
		return err_set(err, -EMEDIUMTYPE, "'%s' has %llu bytes now, and had %llu", s->path,
			       (unsigned long long)file->size, (unsigned long long)s->size);
	if (dup3(file->fd, s->fd, O_CLOEXEC) < 0)
		return err_sys(err, -errno, "cannot reopen '%s'", s->path);
	if (s->map != MAP_FAILED)
		(void)map_file(file, s->map);
	else
		s->map = map_file(file, NULL);	/* nobody looks at it before `way` says so */
	atomic_store(&s->absent, false);
	atomic_store(&s->other, OTHER_NOT);
	atomic_store(&s->way, find_way(file, s->map));
	return 0;
}

int source_reopen(struct source *source, struct err *err)
{
	struct file file;
	int rc;

	pthread_mutex_lock(&source->lock);
	rc = open_file(source->path, &file, err);
	if (rc == 0) {
		rc = replace(source, &file, err);
		close(file.fd);
	}
	pthread_mutex_unlock(&source->lock);
	return rc;
}

uint64_t source_size(const struct source *source)
{
	return source->size;
}

const char *source_path(const struct source *source)
{
	return source->path;
}

const struct source_id *source_id(const struct source *source)
{
	return &source->id;
}

/* ---- reading ---- */

static int absence(const struct source *s)
{
	return atomic_load(&((struct source *)s)->other) ? -EMEDIUMTYPE : -ENOTCONN;
}

/* How many of the bytes wanted the file has to have; the others are zero. */
static int inside(const struct source *s, size_t len, uint64_t off, size_t *ret)
{
	uint64_t end = round_up(s->size), have = off < s->size ? s->size - off : 0;

	if (off > end || len > end - off)
		return -ENODATA;
	if (source_absent(s))
		return absence(s);
	*ret = len < have ? len : (size_t)have;
	return 0;
}

static int read_now(struct source *s, void *buf, size_t len, uint64_t off)
{
	struct iovec v = {buf, len};
	ssize_t n;

	do
		n = preadv2(s->fd, &v, 1, (off_t)off, RWF_NOWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EOPNOTSUPP ? -EAGAIN : -errno;
	if (n == 0 && len > 0)
		return -ENODATA;
	return (size_t)n == len ? 0 : -EAGAIN;
}

static int read_whole(struct source *s, void *buf, size_t len, uint64_t off)
{
	ssize_t n = io_pread(s->fd, buf, len, off);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -ENODATA;
}

/* Whether each of `n` pages has its bytes. */
static bool resident(const struct source *s, uint64_t first, uint64_t n)
{
	unsigned char there[512];
	char *at = (char *)s->map + first * PAGE;

	while (n > 0) {
		size_t now = n < sizeof(there) ? (size_t)n : sizeof(there);

		if (mincore(at, now * PAGE, there) < 0)
			return false;
		for (size_t i = 0; i < now; i++)
			if (!(there[i] & 1))
				return false;
		at += now * PAGE;
		n -= now;
	}
	return true;
}

static int read_resident(struct source *s, void *buf, size_t len, uint64_t off)
{
	uint64_t first = off / PAGE, end = round_up(off + len) / PAGE;

	return len == 0 || resident(s, first, end - first) ? read_whole(s, buf, len, off)
							   : -EAGAIN;
}

int source_try(struct source *source, void *buf, size_t len, uint64_t off)
{
	int way = atomic_load_explicit(&source->way, memory_order_acquire);
	size_t have;
	int rc = inside(source, len, off, &have);

	if (rc < 0)
		return rc;
	if (way == WAY_NONE)
		return -EAGAIN;
	rc = (way == WAY_NOWAIT ? read_now : read_resident)(source, buf, have, off);
	if (rc == 0)
		memset((char *)buf + have, 0, len - have);
	return rc;
}

int source_read(struct source *source, void *buf, size_t len, uint64_t off)
{
	size_t have;
	int rc = inside(source, len, off, &have);

	if (rc == 0)
		rc = read_whole(source, buf, have, off);
	if (rc == 0)
		memset((char *)buf + have, 0, len - have);
	return rc;
}

const char *source_strerror(int code)
{
	if (code == -ENODATA)
		return "the file has become too short";
	if (code == -ENOTCONN)
		return "the daemon of its file system is gone";
	if (code == -EMEDIUMTYPE)
		return "another file is there now";
	return strerror(-code);
}

void source_warm(struct source *source, uint64_t off, uint64_t len)
{
	uint64_t end = source->size;

	if (off >= end)
		return;
	if (len < end - off)
		end = off + len;
	for (; off < end; off += WARM_PIECE) {
		uint64_t piece = end - off < WARM_PIECE ? end - off : WARM_PIECE;

		(void)posix_fadvise(source->fd, (off_t)off, (off_t)piece, POSIX_FADV_WILLNEED);
	}
}

/* ---- holes ---- */

/* Nothing but a hole from here on: also what is said of a file that was cut off. */
static int last_hole(const struct source *s)
{
	struct stat st;

	if (fstat(s->fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) && (uint64_t)st.st_size < s->size ? -ENODATA : 0;
}

/* The first byte of data at or behind `off`; the end if there is none. */
static int find_data(const struct source *s, uint64_t off, uint64_t *ret)
{
	off_t at = lseek(s->fd, (off_t)off, SEEK_DATA);
	int rc = 0;

	if (at >= 0) {
		*ret = (uint64_t)at;
	} else if (errno == ENXIO) {
		rc = last_hole(s);
		*ret = round_up(s->size);
	} else if (errno == EINVAL || errno == EOPNOTSUPP) {
		*ret = off;
	} else {
		rc = -errno;
	}
	return rc;
}

/* Where the data at `off` ends. */
static int find_hole(const struct source *s, uint64_t off, uint64_t *ret)
{
	off_t at = lseek(s->fd, (off_t)off, SEEK_HOLE);

	if (at < 0 && errno != EINVAL && errno != EOPNOTSUPP)
		return errno == ENXIO ? -ENODATA : -errno;
	*ret = at < 0 ? round_up(s->size) : round_up((uint64_t)at);
	return 0;
}

int source_run(struct source *source, uint64_t off, uint64_t max, bool *ret_hole,
	       uint64_t *ret_len)
{
	uint64_t size = round_up(source->size), data = 0, end;
	bool hole;
	int rc;

	if (off >= size)
		return -ENODATA;
	if (source_absent(source))
		return absence(source);
	rc = find_data(source, off, &data);
	if (rc < 0)
		return rc;
	end = data & ~(uint64_t)(PAGE - 1);
	hole = end > off;
	if (!hole)
		rc = find_hole(source, data, &end);
	if (rc < 0)
		return rc;
	if (end > size)
		end = size;
	*ret_hole = hole;
	*ret_len = end - off < max ? end - off : max;
	return 0;
}

uint64_t source_hole_now(struct source *source, uint64_t off, uint64_t max)
{
	uint64_t size = round_up(source->size), data = 0, len;

	if (atomic_load_explicit(&source->way, memory_order_acquire) != WAY_NOWAIT ||
	    off >= size || source_absent(source) || find_data(source, off, &data) < 0)
		return 0;
	data &= ~(uint64_t)(PAGE - 1);
	len = data > off ? data - off : 0;
	return len < max ? len : max;
}
