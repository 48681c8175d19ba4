/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An open delta: a descriptor, the bits of all pages in memory (delta-map.c) and
 * what is to be punched (delta-sync.c).  Its parts: delta-open.c loads, delta-io.c writes.
 *
 * Locks, in this order; who only looks at states takes none:
 *
 *	sync_lock	one sync at a time, as long as it takes
 *	stripe		of a frame: bytes and bits of a page are written, or it is punched
 *	garbage_lock	the list of frames with garbage, and which pages these are
 *
 * A frame has one writer at a time, so that its bits are read, changed and stored without more;
 * stores are atomic for those who look.
 *
 * A crash leaves any subset of what was written since the last sync: delta-open.c.  What
 * keeps every page old or new:
 *
 *	- a page that is not WRITTEN has no bytes, or is in a list of garbage, and is punched before
 *	  the next sync returns; so WRITTEN alone, without its bytes, is over a hole
 *	- bytes are punched when ZEROED is known to be on disk (delta-sync.c), and it stays
 *	- the file is made longer, and that synced, before its header says a larger size: a file
 *	  that is shorter than its header says was cut
 *	- what is cut off was zeroed, and that synced, before its header says a smaller size
 *
 * Once a sync has failed the kernel may have dropped what it could not write: `broken`.
 */
#include "store/delta.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/delta-header.h"
#include "store/delta-private.h"
#include "store/store.h"

#define ROOM_STEP (UINT64_C(1) << 30)	/* of the file's length */
#define HEADER_TRIES 3

int delta_said(const struct delta *d, int rc, struct err *err)
{
	return err_wrap(err, rc, "delta %llu of '%s'", (unsigned long long)d->seq, d->name);
}

int delta_check(const struct delta *d, struct err *err)
{
	if (!__atomic_load_n(&d->broken, __ATOMIC_ACQUIRE))
		return 0;
	return delta_said(d, err_set(err, -EIO, "an earlier write or sync failed, and what is on "
				     "disk is not known"), err);
}

void delta_break(struct delta *d)
{
	__atomic_store_n(&d->broken, true, __ATOMIC_RELEASE);
}

static struct delta *new_delta(const struct delta_place *place)
{
	struct delta *d = calloc(1, sizeof(*d));
	char *name = strdup(place->name);

	if (!d || !name) {
		free(d);
		free(name);
		return NULL;
	}
	d->refs = 1;
	d->fd = -1;
	d->name = name;
	d->seq = place->seq;
	memcpy(d->uuid, place->store->uuid, sizeof(d->uuid));
	pthread_mutex_init(&d->sync_lock, NULL);
	pthread_mutex_init(&d->garbage_lock, NULL);
	for (unsigned i = 0; i < DELTA_STRIPES; i++)
		pthread_mutex_init(&d->stripe[i], NULL);
	return d;
}

struct delta *delta_ref(struct delta *d)
{
	__atomic_add_fetch(&d->refs, 1, __ATOMIC_RELAXED);
	return d;
}

void delta_unref(struct delta *d)
{
	if (!d || __atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	delta_map_free(d);
	for (unsigned i = 0; i < DELTA_STRIPES; i++)
		pthread_mutex_destroy(&d->stripe[i]);
	pthread_mutex_destroy(&d->garbage_lock);
	pthread_mutex_destroy(&d->sync_lock);
	if (d->fd >= 0)
		close(d->fd);
	free(d->name);
	free(d);
}

static int open_file(struct delta *d, const struct delta_place *place, int flags)
{
	do
		d->fd = openat(place->dirfd, place->name, flags | O_CLOEXEC, 0600);
	while (d->fd < 0 && errno == EINTR);
	if (d->fd < 0)
		return -errno;
	/* Neighbours that nobody asked for stay out of the cache (delta-open.c). */
	(void)posix_fadvise(d->fd, 0, 0, POSIX_FADV_RANDOM);
	return 0;
}

static int check_blocks(struct delta *d, struct err *err)
{
	struct statfs fs;

	if (fstatfs(d->fd, &fs) < 0)
		return err_sys(err, -errno, "cannot tell the file system's blocks");
	if (fs.f_bsize > (long)PAGE_SIZE)
		return err_set(err, -ENOTSUP, "the file system has blocks of %ld bytes, and it "
			       "needs %u at most", (long)fs.f_bsize, PAGE_SIZE);
	return 0;
}

/* Of a new file, which has nothing but its header. */
static int check_holes(struct delta *d, struct err *err)
{
	int rc;

	if (lseek(d->fd, DELTA_BITS, SEEK_DATA) >= 0 || errno != ENXIO)
		return err_set(err, -ENOTSUP, "the file system does not tell where a file has "
			       "holes");
	rc = delta_punch(d, 0, 1);
	if (rc == -EOPNOTSUPP)
		return err_set(err, -ENOTSUP, "the file system cannot punch holes into a file");
	return rc < 0 ? err_sys(err, rc, "cannot punch a hole") : 0;
}

static int put_header(struct delta *d, uint64_t size)
{
	struct delta_header h = {.seq = d->seq, .size = size};
	uint8_t bytes[DELTA_HEADER_LEN];

	memcpy(h.uuid, d->uuid, sizeof(h.uuid));
	delta_header_encode(&h, bytes);
	return io_pwrite_all(d->fd, bytes, sizeof(bytes), 0);
}

static uint64_t room_for(uint64_t size)
{
	return (size + ROOM_STEP - 1) / ROOM_STEP * ROOM_STEP;
}

static int set_length(struct delta *d, uint64_t size)
{
	int rc;

	do
		rc = ftruncate(d->fd, (off_t)(DELTA_DATA + room_for(size)));
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -errno;
	d->room = room_for(size);
	return 0;
}

static int check_size(uint64_t size, struct err *err)
{
	if (size <= DELTA_SIZE_MAX)
		return 0;
	return err_set(err, -EFBIG, "an image of %llu bytes is larger than 8 TiB",
		       (unsigned long long)size);
}

static int fill_new(struct delta *d, uint64_t size, struct err *err)
{
	int rc = check_blocks(d, err);

	if (rc < 0)
		return rc;
	rc = set_length(d, size);
	if (rc == 0)
		rc = put_header(d, size);
	if (rc < 0)
		return err_sys(err, rc, "cannot make an image of %llu bytes",
			       (unsigned long long)size);
	d->size = size;
	delta_touch(d);
	return check_holes(d, err);
}

static int create(struct delta *d, const struct delta_place *place, uint64_t size, struct err *err)
{
	int rc = check_size(size, err);

	if (rc < 0)
		return rc;
	rc = open_file(d, place, O_RDWR | O_CREAT | O_EXCL);
	if (rc < 0)
		return err_sys(err, rc, "cannot create its file");
	rc = fill_new(d, size, err);
	if (rc < 0)
		(void)unlinkat(place->dirfd, place->name, 0);
	return rc;
}

int delta_create(const struct delta_place *place, uint64_t size, struct delta **ret,
		 struct err *err)
{
	struct delta *d = new_delta(place);
	int rc;

	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	rc = create(d, place, size, err);
	if (rc < 0) {
		rc = delta_said(d, rc, err);
		delta_unref(d);
		return rc;
	}
	*ret = d;
	return 0;
}

/* Somebody may be writing it: half of the old one, half of the new one. */
static int read_header(struct delta *d, struct delta_header *ret, struct err *err)
{
	uint8_t bytes[DELTA_HEADER_LEN];
	int rc = -EBADMSG;

	for (int i = 0; i < HEADER_TRIES && rc == -EBADMSG; i++) {
		rc = io_pread_all(d->fd, bytes, sizeof(bytes), 0);
		if (rc == -EBADMSG)
			return err_set(err, rc, "it is too short for a header");
		if (rc < 0)
			return err_sys(err, rc, "cannot read its header");
		rc = delta_header_decode(bytes, ret, err);
	}
	return rc;
}

static int check_header(const struct delta *d, const struct delta_header *h, struct err *err)
{
	if (memcmp(h->uuid, d->uuid, sizeof(h->uuid)) != 0)
		return err_set(err, -EBADMSG, "it belongs to another store");
	if (h->seq != d->seq)
		return err_set(err, -EBADMSG, "its header says that it is delta %llu",
			       (unsigned long long)h->seq);
	if (!d->read_only && h->rocompat & ~DELTA_ROCOMPAT_KNOWN)
		return err_set(err, -EPROTONOSUPPORT, "to write to it needs a newer lamina "
			       "(features %#x)", h->rocompat & ~DELTA_ROCOMPAT_KNOWN);
	return 0;
}

static int check_length(struct delta *d, struct err *err)
{
	struct stat st;

	if (fstat(d->fd, &st) < 0)
		return err_sys(err, -errno, "cannot tell its length");
	if ((uint64_t)st.st_size < DELTA_DATA + room_for(d->size))
		return err_set(err, -EBADMSG, "it was cut: its file has %llu bytes of %llu",
			       (unsigned long long)st.st_size,
			       (unsigned long long)(DELTA_DATA + room_for(d->size)));
	d->room = ((uint64_t)st.st_size - DELTA_DATA) / ROOM_STEP * ROOM_STEP;
	return 0;
}

static int open_header(struct delta *d, const struct delta_place *place, struct err *err)
{
	struct delta_header h;
	int rc = open_file(d, place, d->read_only ? O_RDONLY : O_RDWR);

	if (rc < 0)
		return err_sys(err, rc, "cannot open its file");
	rc = check_blocks(d, err);
	if (rc == 0)
		rc = read_header(d, &h, err);
	if (rc == 0)
		rc = check_header(d, &h, err);
	if (rc < 0)
		return rc;
	d->size = h.size;
	return check_length(d, err);
}

int delta_open(const struct delta_place *place, unsigned flags, struct delta **ret,
	       struct err *err)
{
	struct delta *d = new_delta(place);
	int rc;

	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	d->read_only = flags & DELTA_READ;
	d->mended = d->read_only && flags & DELTA_MENDED;
	d->dirty = true;
	rc = open_header(d, place, err);
	rc = rc < 0 ? delta_said(d, rc, err) : delta_load(d, err);
	if (rc < 0) {
		delta_unref(d);
		return rc;
	}
	*ret = d;
	return 0;
}

static int check_name(const struct delta *d, const struct delta_place *place, struct err *err)
{
	struct stat named, st;

	if (fstatat(place->dirfd, place->name, &named, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, -errno, "cannot find its file");
	if (fstat(d->fd, &st) < 0)
		return err_sys(err, -errno, "cannot look at its file");
	if (st.st_dev != named.st_dev || st.st_ino != named.st_ino)
		return err_set(err, -EBADMSG, "another file has its name");
	return (uint64_t)st.st_size < DELTA_DATA + room_for(delta_size(d)) ?
	       err_set(err, -EBADMSG, "it was cut: its file has %llu bytes",
		       (unsigned long long)st.st_size) : 0;
}

int delta_verify(struct delta *d, const struct delta_place *place, struct err *err)
{
	struct delta_header h;
	int rc = check_name(d, place, err);

	if (rc == 0)
		rc = read_header(d, &h, err);
	if (rc == 0)
		rc = check_header(d, &h, err);
	return rc < 0 ? delta_said(d, rc, err) : 0;
}

uint64_t delta_seq(const struct delta *d)
{
	return d->seq;
}

uint64_t delta_size(const struct delta *d)
{
	return __atomic_load_n(&d->size, __ATOMIC_ACQUIRE);
}

static int lengthen(struct delta *d, uint64_t size, struct err *err)
{
	int rc;

	if (room_for(size) <= d->room)
		return 0;
	rc = set_length(d, size);
	if (rc < 0)
		return delta_said(d, err_sys(err, rc, "cannot make room for an image of %llu bytes",
					     (unsigned long long)size), err);
	delta_touch(d);
	return delta_sync(d, err);
}

int delta_set_size(struct delta *d, uint64_t size, struct err *err)
{
	uint64_t old = delta_size(d);
	int rc = check_size(size, err);

	if (rc < 0)
		return delta_said(d, rc, err);
	if (d->read_only)
		return delta_said(d, err_set(err, -EROFS, "it is open to be read only"), err);
	rc = delta_check(d, err);
	if (rc == 0)
		rc = size < old ? delta_sync(d, err) : lengthen(d, size, err);
	if (rc < 0 || size == old)
		return rc;
	rc = put_header(d, size);
	if (rc < 0 && put_header(d, old) < 0)
		delta_break(d);
	delta_touch(d);
	if (rc < 0)
		return delta_said(d, err_sys(err, rc, "cannot write a size of %llu bytes",
					     (unsigned long long)size), err);
	__atomic_store_n(&d->size, size, __ATOMIC_RELEASE);
	return 0;
}

void delta_count(struct delta *d, struct delta_counts *ret)
{
	struct stat st;

	ret->data = __atomic_load_n(&d->data, __ATOMIC_RELAXED);
	ret->zero = __atomic_load_n(&d->zero, __ATOMIC_RELAXED);
	ret->frames = __atomic_load_n(&d->frames, __ATOMIC_RELAXED);
	ret->disk = fstat(d->fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

int delta_mtime(struct delta *d, struct timespec *ret)
{
	struct stat st;

	if (fstat(d->fd, &st) < 0)
		return -errno;
	*ret = st.st_mtim;
	return 0;
}
