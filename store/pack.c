/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers.  One read-only descriptor a pack, opened at its first use and kept
 * in a cache by pack number; opening checks the header.  Below its published
 * end a pack never changes, so a descriptor stays good even when gc has
 * unlinked the file.  Files are opened for random access (the kernel's own
 * read-ahead would fetch megabytes for a chunk); what is wanted soon is named
 * by packs_willneed().
 *
 * Writer.  Records are gathered in `buf` and written in large pieces:
 *
 *	[0, end - buf_len) is in the file, [end - buf_len, end) in buf
 *
 * A put either appends its whole record or changes nothing of that, so that it
 * may be tried again after ENOSPC.  What a crash leaves behind the published
 * end is cut by the next pack_append_at() or replaced by pack_create().  After
 * a failed fsync nobody knows what the disk holds: the pack is `failed`, and
 * every later put and sync is refused.
 */
#include "store/pack.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "store/base/cache.h"
#include "store/base/io.h"
#include "store/base/vec.h"
#include "store/pack-header.h"

#define NAME_LEN 16			/* "0000000a.pack" and its NUL */
#define WRITE_LEN (1u << 20)

struct packs {
	int dirfd;
	uint8_t uuid[16];
	struct store_params params;
	struct cache *files;		/* by number: struct pack_file */
};

struct pack_file {
	int fd;
};

/* For the loader: where the sentence goes.  Who waited for another is not told. */
struct opening {
	struct err *err;
	bool told;
};

static char *pack_name(char out[NAME_LEN], uint32_t pack)
{
	(void)snprintf(out, NAME_LEN, "%08x.pack", pack);
	return out;
}

static int open_pack(const struct packs *packs, uint32_t pack, int flags, struct err *err)
{
	char name[NAME_LEN];
	int fd;

	do
		fd = openat(packs->dirfd, pack_name(name, pack), flags | O_CLOEXEC, 0600);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? err_sys(err, -errno, "cannot open pack %08x", pack) : fd;
}

/* The header of any store's pack. */
static int read_header(int fd, uint32_t pack, struct pack_header *ret, struct err *err)
{
	uint8_t bytes[PACK_HEADER_LEN];
	int rc = io_pread_all(fd, bytes, sizeof(bytes), 0);

	if (rc == -EBADMSG)
		return err_set(err, rc, "pack %08x ends before its header does", pack);
	if (rc < 0)
		return err_sys(err, rc, "cannot read the header of pack %08x", pack);
	rc = pack_header_decode(bytes, ret, err);
	return rc < 0 ? err_wrap(err, rc, "pack %08x", pack) : 0;
}

static int check_header(const struct packs *packs, int fd, uint32_t pack, struct pack_header *ret,
			struct err *err)
{
	struct pack_header h;
	int rc = read_header(fd, pack, &h, err);

	if (rc < 0)
		return rc;
	if (memcmp(h.uuid, packs->uuid, sizeof(h.uuid)) != 0)
		return err_set(err, -EBADMSG, "pack %08x belongs to another store", pack);
	if (h.number != pack)
		return err_set(err, -EBADMSG, "pack %08x has the header of pack %08x", pack,
			       h.number);
	*ret = h;
	return 0;
}

static int open_checked(struct packs *packs, uint32_t pack, struct err *err)
{
	struct pack_header h;
	int fd = open_pack(packs, pack, O_RDONLY, err), rc;

	if (fd < 0)
		return fd;
	rc = check_header(packs, fd, pack, &h, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	return fd;
}

static int file_load(void *ctx, uint64_t key, void *arg, void **ret_obj, size_t *ret_cost)
{
	struct opening *o = arg;
	struct pack_file *f = malloc(sizeof(*f));

	o->told = true;
	if (!f)
		return err_set(o->err, -ENOMEM, "out of memory");
	f->fd = open_checked(ctx, (uint32_t)key, o->err);
	if (f->fd < 0) {
		int rc = f->fd;

		free(f);
		return rc;
	}
	*ret_obj = f;
	*ret_cost = 1;
	return 0;
}

static void file_free(void *ctx, void *obj)
{
	struct pack_file *f = obj;

	(void)ctx;
	close(f->fd);
	free(f);
}

static const struct cache_ops file_ops = {.load = file_load, .free = file_free};

int packs_new(int dirfd, const uint8_t uuid[16], const struct store_params *params, size_t max_open,
	      struct packs **ret)
{
	struct packs *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	p->dirfd = dirfd;
	memcpy(p->uuid, uuid, sizeof(p->uuid));
	p->params = *params;
	rc = cache_new(&file_ops, p, max_open, &p->files);
	if (rc < 0) {
		free(p);
		return rc;
	}
	*ret = p;
	return 0;
}

void packs_free(struct packs *packs)
{
	if (!packs)
		return;
	cache_free(packs->files);
	free(packs);
}

/* An entry for cache_put(), and its descriptor. */
static int file_get(struct packs *packs, uint32_t pack, struct cache_entry **ret, struct err *err)
{
	struct opening o = {.err = err};
	struct pack_file *f;
	int rc = cache_get(packs->files, pack, &o, ret);

	if (rc < 0)
		return o.told ? rc : err_sys(err, rc, "cannot open pack %08x", pack);
	f = cache_obj(*ret);
	return f->fd;
}

int packs_header(struct packs *packs, uint32_t pack, uint8_t uuid[16],
		 struct store_params *ret_params, struct err *err)
{
	struct pack_header h;
	int fd = open_pack(packs, pack, O_RDONLY, err), rc;

	if (fd < 0)
		return fd;
	rc = read_header(fd, pack, &h, err);
	close(fd);
	if (rc < 0)
		return rc;
	memcpy(uuid, h.uuid, sizeof(h.uuid));
	*ret_params = h.params;
	return 0;
}

static int read_at(int fd, uint32_t pack, uint64_t off, void *buf, size_t len, struct err *err)
{
	int rc = io_pread_all(fd, buf, len, off);

	if (rc == -EBADMSG)
		return err_set(err, rc, "pack %08x ends before byte %llu", pack,
			       (unsigned long long)(off + len));
	if (rc < 0)
		return err_sys(err, rc, "cannot read pack %08x at byte %llu", pack,
			       (unsigned long long)off);
	return 0;
}

int packs_read(struct packs *packs, uint32_t pack, uint64_t off, void *buf, size_t len,
	       struct err *err)
{
	struct cache_entry *e;
	int fd = file_get(packs, pack, &e, err), rc;

	if (fd < 0)
		return fd;
	rc = read_at(fd, pack, off, buf, len, err);
	cache_put(packs->files, e);
	return rc;
}

void packs_willneed(struct packs *packs, uint32_t pack, uint64_t off, size_t len)
{
	struct cache_entry *e;
	int fd = file_get(packs, pack, &e, NULL);

	if (fd < 0)
		return;
	(void)posix_fadvise(fd, (off_t)off, (off_t)len, POSIX_FADV_WILLNEED);
	cache_put(packs->files, e);
}

/* The payload of a record whose header, at `off`, has been read. */
static int read_payload(int fd, uint32_t pack, uint64_t off, const uint8_t *header, void **ret,
			struct err *err)
{
	struct record r;
	void *payload;
	int rc = record_decode(header, &r);

	if (rc < 0)
		return rc;
	payload = malloc(r.len ? r.len : 1);
	if (!payload)
		return err_set(err, -ENOMEM, "out of memory");
	rc = read_at(fd, pack, off + RECORD_HEADER_LEN, payload, r.len, err);
	if (rc == 0 && record_check(header, payload) < 0)
		rc = err_set(err, -EBADMSG, "record at byte %llu of pack %08x: checksum differs",
			     (unsigned long long)off, pack);
	if (rc < 0) {
		free(payload);
		return rc;
	}
	*ret = payload;
	return 0;
}

static int read_record(int fd, uint32_t pack, uint64_t off, struct record *ret, void **ret_payload,
		       struct err *err)
{
	uint8_t header[RECORD_HEADER_LEN];
	struct record r;
	int rc = read_at(fd, pack, off, header, sizeof(header), err);

	if (rc < 0)
		return rc;
	if (record_decode(header, &r) < 0 || r.type == RECORD_CHUNK)
		return err_set(err, -EBADMSG, "there is no such record at byte %llu of pack %08x",
			       (unsigned long long)off, pack);
	rc = read_payload(fd, pack, off, header, ret_payload, err);
	if (rc == 0)
		*ret = r;
	return rc;
}

int packs_read_record(struct packs *packs, uint32_t pack, uint64_t off, struct record *ret,
		      void **ret_payload, struct err *err)
{
	struct cache_entry *e;
	int fd = file_get(packs, pack, &e, err), rc;

	if (fd < 0)
		return fd;
	rc = read_record(fd, pack, off, ret, ret_payload, err);
	cache_put(packs->files, e);
	return rc;
}

void packs_forget(struct packs *packs, uint32_t pack)
{
	cache_drop(packs->files, pack);
}

int packs_unlink(struct packs *packs, uint32_t pack, struct err *err)
{
	char name[NAME_LEN];

	packs_forget(packs, pack);
	if (unlinkat(packs->dirfd, pack_name(name, pack), 0) < 0 && errno != ENOENT)
		return err_sys(err, -errno, "cannot remove pack %08x", pack);
	return 0;
}

int packs_size(struct packs *packs, uint32_t pack, uint64_t *ret_len, uint64_t *ret_alloc)
{
	char name[NAME_LEN];
	struct stat st;

	if (fstatat(packs->dirfd, pack_name(name, pack), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret_len = (uint64_t)st.st_size;
	*ret_alloc = (uint64_t)st.st_blocks * 512;
	return 0;
}

/* The number in a name that is exactly what pack_name() writes, else 0. */
static uint32_t parse_name(const char *name)
{
	char same[NAME_LEN];
	unsigned long n = strtoul(name, NULL, 16);

	if (n == 0 || n > UINT32_MAX || strcmp(pack_name(same, (uint32_t)n), name) != 0)
		return 0;
	return (uint32_t)n;
}

struct numbers {
	uint32_t *v;
	size_t n;
	size_t cap;
};

static int list_numbers(const struct packs *packs, struct numbers *ret)
{
	int fd = openat(packs->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (rc == 0 && (errno = 0, d = readdir(dir))) {
		uint32_t n = parse_name(d->d_name);

		if (n)
			rc = vec_push(ret, n);
	}
	if (rc == 0)
		rc = -errno;
	closedir(dir);
	return rc;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

int packs_each(struct packs *packs, int (*fn)(void *ctx, uint32_t pack), void *ctx)
{
	struct numbers list = {0};
	int rc = list_numbers(packs, &list);

	if (rc == 0 && list.n)
		qsort(list.v, list.n, sizeof(list.v[0]), by_number);
	for (size_t i = 0; i < list.n && rc == 0; i++)
		rc = fn(ctx, list.v[i]);
	vec_fini(&list);
	return rc;
}

static int writer_init(struct packs *packs, uint32_t number, int fd, struct pack_writer *ret,
		       struct err *err)
{
	*ret = (struct pack_writer){.packs = packs, .number = number, .fd = fd};
	ret->buf = malloc(WRITE_LEN);
	return ret->buf ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int pack_create(struct packs *packs, uint32_t number, struct pack_writer *ret, struct err *err)
{
	struct pack_header h = {.number = number, .params = packs->params};
	struct pack_writer w;
	int fd, rc;

	packs_forget(packs, number);
	fd = open_pack(packs, number, O_RDWR | O_CREAT | O_TRUNC, err);
	if (fd < 0)
		return fd;
	rc = writer_init(packs, number, fd, &w, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	memcpy(h.uuid, packs->uuid, sizeof(h.uuid));
	pack_header_encode(&h, w.buf);
	w.created = true;
	w.end = w.buf_len = PACK_HEADER_LEN;
	*ret = w;
	return 0;
}

static int cut(int fd, uint32_t number, uint64_t end, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, -errno, "cannot stat pack %08x", number);
	if ((uint64_t)st.st_size < end)
		return err_set(err, -EBADMSG, "pack %08x ends before byte %llu", number,
			       (unsigned long long)end);
	if ((uint64_t)st.st_size > end && ftruncate(fd, (off_t)end) < 0)
		return err_sys(err, -errno, "cannot cut pack %08x", number);
	return 0;
}

static int check_appendable(struct packs *packs, int fd, uint32_t number, uint64_t end,
			    struct err *err)
{
	struct pack_header h;
	int rc = check_header(packs, fd, number, &h, err);

	if (rc < 0)
		return rc;
	if (h.rocompat & ~PACK_ROCOMPAT_KNOWN)
		return err_set(err, -EPROTONOSUPPORT,
			       "pack %08x may only be read: it needs a newer lamina (features %#x)",
			       number, h.rocompat & ~PACK_ROCOMPAT_KNOWN);
	return cut(fd, number, end, err);
}

int pack_append_at(struct packs *packs, uint32_t number, uint64_t end, struct pack_writer *ret,
		   struct err *err)
{
	struct pack_writer w;
	int fd = open_pack(packs, number, O_RDWR, err), rc;

	if (fd < 0)
		return fd;
	rc = check_appendable(packs, fd, number, end, err);
	if (rc == 0)
		rc = writer_init(packs, number, fd, &w, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	w.end = end;
	*ret = w;
	return 0;
}

static int write_at(struct pack_writer *w, const void *data, size_t len, uint64_t off,
		    struct err *err)
{
	int rc = io_pwrite_all(w->fd, data, len, off);

	if (rc < 0)
		return err_sys(err, rc, "cannot write pack %08x", w->number);
	/* Starts the writing now: the fsync at the end has less to wait for. */
	(void)sync_file_range(w->fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
	return 0;
}

static int flush(struct pack_writer *w, struct err *err)
{
	int rc;

	if (w->failed)
		return err_set(err, -EIO, "pack %08x could not be synced: it is not written again",
			       w->number);
	rc = w->buf_len ? write_at(w, w->buf, w->buf_len, w->end - w->buf_len, err) : 0;
	if (rc == 0)
		w->buf_len = 0;
	return rc;
}

static void gather(struct pack_writer *w, const void *data, size_t len)
{
	if (len)
		memcpy(w->buf + w->buf_len, data, len);
	w->buf_len += len;
	w->end += len;
}

/* What is larger than the buffer goes past it, once that is empty. */
static int write_through(struct pack_writer *w, const struct iovec piece[2], struct err *err)
{
	uint64_t off = w->end;
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++) {
		rc = write_at(w, piece[i].iov_base, piece[i].iov_len, off, err);
		off += piece[i].iov_len;
	}
	if (rc == 0)
		w->end = off;
	return rc;
}

/* Two pieces one behind the other: both or nothing. */
static int append(struct pack_writer *w, const struct iovec piece[2], uint64_t *ret_off,
		  struct err *err)
{
	size_t len = piece[0].iov_len + piece[1].iov_len;
	uint64_t off = w->end;
	int rc = 0;

	if (w->failed || len > WRITE_LEN - w->buf_len)
		rc = flush(w, err);
	if (rc == 0 && len > WRITE_LEN)
		rc = write_through(w, piece, err);
	else if (rc == 0)
		for (int i = 0; i < 2; i++)
			gather(w, piece[i].iov_base, piece[i].iov_len);
	if (rc == 0 && ret_off)
		*ret_off = off;
	return rc;
}

int pack_put(struct pack_writer *w, const struct record *r, const void *payload, uint64_t *ret_off,
	     struct err *err)
{
	uint8_t header[RECORD_HEADER_LEN];
	struct iovec piece[2] = {
		{.iov_base = header, .iov_len = sizeof(header)},
		{.iov_base = (void *)payload, .iov_len = r->len},
	};

	record_encode(r, payload, header);
	return append(w, piece, ret_off, err);
}

int pack_put_raw(struct pack_writer *w, const void *bytes, size_t len, uint64_t *ret_off,
		 struct err *err)
{
	struct iovec piece[2] = {{.iov_base = (void *)bytes, .iov_len = len}};

	return append(w, piece, ret_off, err);
}

int pack_sync(struct pack_writer *w, struct err *err)
{
	int rc = flush(w, err);

	if (rc < 0)
		return rc;
	rc = io_fsync(w->fd);
	if (rc == 0 && w->created)
		rc = io_fsync_dir(w->packs->dirfd, ".");
	if (rc < 0) {
		w->failed = true;
		return err_sys(err, rc, "cannot sync pack %08x", w->number);
	}
	w->created = false;
	return 0;
}

void pack_close(struct pack_writer *w)
{
	if (!w->buf)
		return;
	close(w->fd);
	free(w->buf);
	*w = (struct pack_writer){.fd = -1};
}

void pack_abort(struct pack_writer *w, uint64_t end)
{
	if (!w->buf)
		return;
	/* What cannot be cut now is cut by the next writer. */
	if (w->created || end == 0)
		(void)packs_unlink(w->packs, w->number, NULL);
	else
		(void)!ftruncate(w->fd, (off_t)end);
	pack_close(w);
}
