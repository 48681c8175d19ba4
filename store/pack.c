/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One read-only descriptor a pack, opened at its first use and kept in a cache
 * by pack number; opening checks the header.  One that is recognizably this
 * pack's in spite of a few damaged bytes is good enough to read records, which
 * check themselves, but not to append.  Below its published end a pack
 * never changes, so a descriptor stays good even when gc has unlinked the
 * file, and keeps its space until packs_forget_gone().  Files are opened for
 * random access (the kernel's own read-ahead would fetch megabytes for a
 * chunk); what is wanted soon is named by packs_willneed().
 *
 * `lock` covers `open`, the list of what the cache holds; it is taken by the
 * cache's load and free, which run without the cache's lock, and never around
 * a call of the cache.
 */
#include "store/pack.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/pack-private.h"

#define NAME_LEN 16			/* "0000000a.pack" and its NUL */

struct pack_file {
	int fd;
	uint32_t number;
	bool hurt;			/* its header is damaged */
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

int pack_open(const struct packs *packs, uint32_t pack, int flags, struct err *err)
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

int pack_check(const struct packs *packs, int fd, uint32_t pack, struct pack_header *ret,
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

static bool is_hurt(const struct packs *packs, int fd, uint32_t pack)
{
	struct pack_header want = {.number = pack, .params = packs->params};
	uint8_t bytes[PACK_HEADER_LEN];

	memcpy(want.uuid, packs->uuid, sizeof(want.uuid));
	return io_pread_all(fd, bytes, sizeof(bytes), 0) == 0 &&
	       pack_header_is_hurt(bytes, &want);
}

/* 0, 1 if its header is damaged though it can be read, or -errno. */
static int check_readable(const struct packs *packs, int fd, uint32_t pack, struct err *err)
{
	struct pack_header h;
	int rc = pack_check(packs, fd, pack, &h, err);

	return rc == -EBADMSG && is_hurt(packs, fd, pack) ? 1 : rc;
}

static int open_checked(struct packs *packs, uint32_t pack, bool *ret_hurt, struct err *err)
{
	int fd = pack_open(packs, pack, O_RDONLY, err), rc;

	if (fd < 0)
		return fd;
	rc = check_readable(packs, fd, pack, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	*ret_hurt = rc == 1;
	return fd;
}

static int list_open(struct packs *packs, uint32_t pack)
{
	int rc;

	pthread_mutex_lock(&packs->lock);
	rc = vec_push(&packs->open, pack);
	pthread_mutex_unlock(&packs->lock);
	return rc;
}

/* One of them: a pack may be loaded again before its old entry is freed. */
static void unlist_open(struct packs *packs, uint32_t pack)
{
	size_t i = 0;

	pthread_mutex_lock(&packs->lock);
	while (packs->open.v[i] != pack)
		i++;
	packs->open.v[i] = packs->open.v[--packs->open.n];
	pthread_mutex_unlock(&packs->lock);
}

static int file_open(struct packs *packs, uint32_t pack, struct pack_file *f, struct err *err)
{
	bool hurt;
	int fd = open_checked(packs, pack, &hurt, err);

	if (fd < 0)
		return fd;
	if (list_open(packs, pack) < 0) {
		close(fd);
		return err_set(err, -ENOMEM, "out of memory");
	}
	*f = (struct pack_file){.fd = fd, .number = pack, .hurt = hurt};
	return 0;
}

static int file_load(void *ctx, uint64_t key, void *arg, void **ret_obj, size_t *ret_cost)
{
	struct opening *o = arg;
	struct pack_file *f = malloc(sizeof(*f));
	int rc;

	o->told = true;
	if (!f)
		return err_set(o->err, -ENOMEM, "out of memory");
	rc = file_open(ctx, (uint32_t)key, f, o->err);
	if (rc < 0) {
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

	unlist_open(ctx, f->number);
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
	p->seed = record_seed(uuid);
	p->params = *params;
	pthread_mutex_init(&p->lock, NULL);
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
	vec_fini(&packs->open);
	pthread_mutex_destroy(&packs->lock);
	free(packs);
}

uint32_t packs_seed(const struct packs *packs)
{
	return packs->seed;
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

static int check_header(struct packs *packs, const struct pack_file *f, struct err *err)
{
	struct pack_header h;

	return f->hurt ? pack_check(packs, f->fd, f->number, &h, err) : 0;
}

int packs_check(struct packs *packs, uint32_t pack, struct err *err)
{
	struct cache_entry *e;
	int rc = file_get(packs, pack, &e, err);

	if (rc < 0)
		return rc;
	rc = check_header(packs, cache_obj(e), err);
	cache_put(packs->files, e);
	return rc;
}

/* By its name: a descriptor outlives the file. */
int packs_check_readable(struct packs *packs, uint32_t pack, uint64_t end, struct err *err)
{
	struct cache_entry *e;
	uint64_t len, alloc;
	int rc = packs_size(packs, pack, &len, &alloc);

	if (rc < 0)
		return err_sys(err, rc, "cannot look at pack %08x", pack);
	if (len < end)
		return err_set(err, -EBADMSG, "pack %08x ends before byte %llu", pack,
			       (unsigned long long)end);
	rc = file_get(packs, pack, &e, err);
	if (rc < 0)
		return rc;
	cache_put(packs->files, e);
	return 0;
}

int packs_header(struct packs *packs, uint32_t pack, uint8_t uuid[16],
		 struct store_params *ret_params, struct err *err)
{
	struct pack_header h;
	int fd = pack_open(packs, pack, O_RDONLY, err), rc;

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
	rc = off < PACK_HEADER_LEN ? check_header(packs, cache_obj(e), err) : 0;
	if (rc == 0)
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
static int read_payload(const struct packs *packs, const struct pack_file *f, uint64_t off,
			const uint8_t *header, void **ret, struct err *err)
{
	struct record r;
	void *payload;
	int rc = record_decode(header, &r);

	if (rc < 0)
		return rc;
	payload = malloc(r.len ? r.len : 1);
	if (!payload)
		return err_set(err, -ENOMEM, "out of memory");
	rc = read_at(f->fd, f->number, off + RECORD_HEADER_LEN, payload, r.len, err);
	if (rc == 0 && record_check(packs->seed, header, payload) < 0)
		rc = err_set(err, -EBADMSG, "record at byte %llu of pack %08x: checksum differs",
			     (unsigned long long)off, f->number);
	if (rc < 0) {
		free(payload);
		return rc;
	}
	*ret = payload;
	return 0;
}

static int read_record(const struct packs *packs, const struct pack_file *f, uint64_t off,
		       struct record *ret, void **ret_payload, struct err *err)
{
	uint8_t header[RECORD_HEADER_LEN];
	struct record r;
	int rc = read_at(f->fd, f->number, off, header, sizeof(header), err);

	if (rc < 0)
		return rc;
	if (record_decode(header, &r) < 0 || r.type == RECORD_CHUNK)
		return err_set(err, -EBADMSG, "there is no such record at byte %llu of pack %08x",
			       (unsigned long long)off, f->number);
	rc = read_payload(packs, f, off, header, ret_payload, err);
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
	rc = read_record(packs, cache_obj(e), off, ret, ret_payload, err);
	cache_put(packs->files, e);
	return rc;
}

void packs_forget(struct packs *packs, uint32_t pack)
{
	cache_drop(packs->files, pack);
}

/* The i-th that is open, or 0; others may come and go meanwhile. */
static uint32_t open_at(struct packs *packs, size_t i)
{
	uint32_t pack;

	pthread_mutex_lock(&packs->lock);
	pack = i < packs->open.n ? packs->open.v[i] : 0;
	pthread_mutex_unlock(&packs->lock);
	return pack;
}

/* Backwards: what is dropped makes room for one that was looked at already. */
void packs_forget_gone(struct packs *packs)
{
	uint64_t len, alloc;
	size_t n = 0;

	while (open_at(packs, n))
		n++;
	while (n-- > 0) {
		uint32_t pack = open_at(packs, n);

		if (pack && packs_size(packs, pack, &len, &alloc) == -ENOENT)
			packs_forget(packs, pack);
	}
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

static int add_number(void *ctx, int dirfd, const char *name)
{
	struct numbers *numbers = ctx;
	uint32_t n = parse_name(name);

	(void)dirfd;
	return n ? vec_push(numbers, n) : 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

int packs_each(struct packs *packs, int (*fn)(void *ctx, uint32_t pack), void *ctx)
{
	struct numbers list = {0};
	int rc = io_each_name(packs->dirfd, ".", add_number, &list);

	if (rc == 0 && list.n)
		qsort(list.v, list.n, sizeof(list.v[0]), by_number);
	for (size_t i = 0; i < list.n && rc == 0; i++)
		rc = fn(ctx, list.v[i]);
	vec_fini(&list);
	return rc;
}
