/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An open store: the index, the packs, and the caches between them.
 *
 * The writer's lock is flock on STORE/lock, held by the descriptor lock_fd, so
 * that it ends with the process however that ends.  The file's text (pid,
 * what, since when) is for people only: it is written after the lock was taken
 * and may be stale or empty for an instant.
 *
 * Lock order: writer's lock, a lease, the index's mutex, the caches' own.
 *
 * An index of an older lamina is migrated when it is opened, under the
 * writer's lock and only while nobody holds a lease.
 */
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "store/append.h"
#include "store/base/fmt.h"
#include "store/base/io.h"
#include "store/chunk.h"
#include "store/codec.h"
#include "store/digest.h"
#include "store/frame.h"
#include "store/index.h"
#include "store/lease.h"
#include "store/older.h"
#include "store/pack.h"
#include "store/progress.h"
#include "store/seg.h"
#include "store/store-private.h"

#define RESERVE_LEN (1 << 20)
#define LOCK_TEXT_MAX 256
#define LOCK_POLL_MS 20
#define MIGRATE_WAIT_MS 10000

void store_params_default(struct store_params *ret)
{
	*ret = (struct store_params){
		.digest = DIGEST_BLAKE2B_256,
		.codec = CODEC_ZSTD,
		.level = 1,
		.chunk_pages = {
			[IMAGE_MEMFILE] = 8, [IMAGE_ROOTFS] = 16, [IMAGE_OTHER] = 16,
		},
	};
}

void store_limits_default(struct store_limits *ret)
{
	*ret = (struct store_limits){
		.chunk_cache = 32 << 20,
		.frame_cache = 8 << 20,
		.open_packs = 64,
		.segs = 128,
	};
}

int store_params_check(const struct store_params *p, struct err *err)
{
	int least = p->codec == CODEC_NONE ? 0 : 1;

	if (!digest_name(p->digest))
		return err_set(err, -EINVAL, "there is no digest %d", p->digest);
	if (!codec_name(p->codec))
		return err_set(err, -EINVAL, "there is no codec %d", p->codec);
	if (p->level < least || p->level > codec_level_max(p->codec))
		return err_set(err, -EINVAL, "level %d of codec '%s' is not between %d and %d",
			       p->level, codec_name(p->codec), least, codec_level_max(p->codec));
	for (int i = 0; i < IMAGE_KINDS; i++)
		if (p->chunk_pages[i] < 1 || p->chunk_pages[i] > CHUNK_PAGES_MAX)
			return err_set(err, -EINVAL, "%u pages a chunk are not between 1 and %u",
				       p->chunk_pages[i], CHUNK_PAGES_MAX);
	return 0;
}

const char *store_network_fs(long type)
{
	static const struct {
		uint32_t type;
		const char *name;
	} all[] = {
		{0x6969, "NFS"}, {0x517b, "SMB"}, {0xfe534d42, "SMB2"},
		{0xff534d42, "CIFS"}, {0x01021997, "9P"}, {0x00c36400, "CephFS"},
		{0x5346414f, "AFS"}, {0x6b414653, "AFS"}, {0x73757245, "Coda"},
		{0x7461636f, "OCFS2"}, {0x01161970, "GFS2"}, {0x0bd00bd0, "Lustre"},
		{0x47504653, "GPFS"}, {0x19830326, "BeeGFS"},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].type == (uint32_t)type)
			return all[i].name;
	return NULL;
}

int store_check_fs(const char *path, int dirfd, struct err *err)
{
	struct statfs fs;
	const char *name;

	if (fstatfs(dirfd, &fs) < 0)
		return err_sys(err, -errno, "cannot look at the file system of '%s'", path);
	name = store_network_fs((long)fs.f_type);
	if (name)
		return err_set(err, -ENOTSUP,
			       "'%s' is on a network file system (%s): a store needs a local one",
			       path, name);
	return 0;
}

/* ---- the reserve ---- */

static int fill_reserve(int fd)
{
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size >= RESERVE_LEN && st.st_blocks * 512 >= RESERVE_LEN)
		return 0;
	rc = fallocate(fd, 0, 0, RESERVE_LEN) < 0 ? -errno : 0;
	if (rc == -EOPNOTSUPP)
		rc = -posix_fallocate(fd, 0, RESERVE_LEN);	/* writes it */
	return rc < 0 ? rc : io_fsync(fd);
}

int store_reserve_at(int dirfd)
{
	int fd = openat(dirfd, "reserve", O_RDWR | O_CREAT | O_CLOEXEC, 0600), rc;

	if (fd < 0)
		return -errno;
	rc = fill_reserve(fd);
	close(fd);
	/* Half of it would be taken for all of it, and helps nobody. */
	if (rc < 0)
		(void)unlinkat(dirfd, "reserve", 0);
	return rc;
}

void store_reserve_release(struct store *store)
{
	if (unlinkat(store->dirfd, "reserve", 0) == 0)
		(void)io_fsync_dir(store->dirfd, ".");
}

void store_reserve_make(struct store *store)
{
	(void)store_reserve_at(store->dirfd);
}

/* ---- the writer's lock ---- */

/* Whole seconds are what the lock's text has: no more is said. */
static char *since_when(char out[FMT_SIZE_LEN], long long then)
{
	long long age = time(NULL) - then;

	if (age >= 60)
		return fmt_duration(out, (double)age);
	(void)snprintf(out, FMT_SIZE_LEN, "%lld s", age > 0 ? age : 0);
	return out;
}

/* "pid 123 commit since 1700000000"; anything else says nothing. */
static int busy(struct store *store, int fd, struct err *err)
{
	char text[LOCK_TEXT_MAX + 1], what[65], since[FMT_SIZE_LEN];
	long long then;
	int pid;
	ssize_t n = io_pread(fd, text, LOCK_TEXT_MAX, 0);

	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "pid %d %64s since %lld", &pid, what, &then) != 3)
		return err_set(err, -EBUSY, "store '%s' is being written by somebody else",
			       store->path);
	return err_set(err, -EBUSY, "store '%s' is being written by pid %d (%s, since %s)",
		       store->path, pid, what, since_when(since, then));
}

static void say_who(int fd, const char *what)
{
	char text[LOCK_TEXT_MAX];
	int n = snprintf(text, sizeof(text), "pid %d %.64s since %lld\n", (int)getpid(), what,
			 (long long)time(NULL));

	if (ftruncate(fd, 0) == 0)
		(void)io_pwrite_all(fd, text, (size_t)n, 0);
}

static int wait_lock(int fd, uint64_t wait_ms, const struct progress *progress)
{
	static const struct timespec pause = {.tv_nsec = LOCK_POLL_MS * 1000000L};
	int rc = io_lock_until(fd, 0);

	for (uint64_t waited = 0; rc == -EBUSY && waited < wait_ms; waited += LOCK_POLL_MS) {
		if (progress_tell(progress, "waiting for a writer", PROGRESS_COUNT, 0, 0) < 0)
			return -ECANCELED;
		(void)nanosleep(&pause, NULL);
		rc = io_lock_until(fd, 0);
	}
	return rc;
}

int store_take_lock(struct store *store, const char *what, uint64_t wait_ms,
		    const struct progress *progress, struct err *err)
{
	int fd, rc;

	if (store->lock_fd >= 0)
		return err_set(err, -EBUSY, "store '%s' is being written by this process",
			       store->path);
	fd = openat(store->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EROFS)
		return err_set(err, -EROFS, "store '%s' is on a read-only file system",
			       store->path);
	if (fd < 0)
		return err_sys(err, -errno, "cannot open '%s/lock'", store->path);
	rc = wait_lock(fd, wait_ms, progress);
	if (rc == -EBUSY)
		rc = busy(store, fd, err);
	else if (rc == -ECANCELED)
		rc = err_set(err, rc, "%s was cancelled", what);
	else if (rc < 0)
		rc = err_sys(err, rc, "cannot lock '%s/lock'", store->path);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	say_who(fd, what);
	store->lock_fd = fd;
	return 0;
}

int store_lock_told(struct store *store, const char *what, uint64_t wait_ms,
		    const struct progress *progress, struct err *err)
{
	int rc = store_take_lock(store, what, wait_ms, progress, err);

	if (rc < 0)
		return rc;
	/* Before we had it a gc may have moved segments and dropped pages of them. */
	seg_cache_clear(store->segs);
	/* Whoever appends does it again and hears why it failed, if it was not this. */
	rc = append_tidy(store, err);
	if (rc != -EBADMSG)
		return 0;
	store_unlock(store);
	return rc;
}

int store_lock(struct store *store, const char *what, uint64_t wait_ms, struct err *err)
{
	return store_lock_told(store, what, wait_ms, NULL, err);
}

int store_lock_too(struct store *store, const char *what, uint64_t wait_ms, bool *ret_taken,
		   struct err *err)
{
	*ret_taken = store->lock_fd < 0;
	return *ret_taken ? store_lock(store, what, wait_ms, err) : 0;
}

void store_unlock_too(struct store *store, bool taken)
{
	if (taken)
		store_unlock(store);
}

void store_unlock(struct store *store)
{
	if (store->lock_fd < 0)
		return;
	if (store->index)
		older_note(store);
	(void)!ftruncate(store->lock_fd, 0);
	close(store->lock_fd);
	store->lock_fd = -1;
}

/* ---- opening ---- */

static int check_no_leases(struct store *store, struct err *err)
{
	struct digest id;
	int rc = lease_any_held(store, &id);

	if (rc > 0)
		return err_set(err, -EBUSY, "store '%s' was written by an older lamina and cannot "
			       "be migrated while its layers are being read", store->path);
	return rc < 0 ? err_sys(err, rc, "cannot read '%s/leases'", store->path) : 0;
}

int store_migrate(struct store *store, struct err *err)
{
	int rc = store_take_lock(store, "migrate", MIGRATE_WAIT_MS, NULL, err);

	if (rc == 0)
		rc = check_no_leases(store, err);
	if (rc == 0)
		rc = index_migrate(store->index, err);
	store_unlock(store);
	return rc;
}

int store_open_dirs(struct store *store, const char *path, struct err *err)
{
	struct statvfs fs;

	store->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dirfd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(err, -ENOENT, "there is no store in '%s'", path);
	if (store->dirfd < 0)
		return err_sys(err, -errno, "cannot open store '%s'", path);
	store->packs_fd = openat(store->dirfd, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->packs_fd < 0 && errno == ENOENT)
		return err_set(err, -ENOENT, "there is no store in '%s'", path);
	if (store->packs_fd < 0)
		return err_sys(err, -errno, "cannot open '%s/packs'", path);
	store->read_only = fstatvfs(store->dirfd, &fs) == 0 && (fs.f_flag & ST_RDONLY);
	return store_check_fs(path, store->dirfd, err);
}

static bool may_write(const struct store *store)
{
	return faccessat(store->dirfd, ".", W_OK, AT_EACCESS) == 0 &&
	       faccessat(store->dirfd, "index.db", W_OK, AT_EACCESS) == 0;
}

/*
 * SQLite makes files beside the index even to read it.  Where it may not, what
 * it says then (no such file, a read-only file) leads astray.
 */
static int explain(const struct store *store, int rc, struct err *err)
{
	if ((rc != -ENOENT && rc != -EROFS) || store->read_only || may_write(store))
		return rc;
	return err_sys(err, -errno, "even to read store '%s' lamina has to write beside its index",
		       store->path);
}

static int load_index(struct store *store, const char *path, struct err *err)
{
	int rc;

	index_close(store->index);
	store->index = NULL;
	rc = index_open(path, store->read_only ? INDEX_ROFS : 0, &store->index, err);
	if (rc < 0)
		return explain(store, rc, err);
	if (index_outdated(store->index))
		rc = store_migrate(store, err);
	return rc < 0 ? rc : store_meta_get(store->index, store->uuid, &store->params, err);
}

static int open_index(struct store *store, struct err *err)
{
	struct stat st;
	char *path;
	int rc;

	if (fstatat(store->dirfd, "index.db", &st, 0) < 0 && errno == ENOENT)
		return err_set(err, -ENOENT,
			       "'%s' has no index.db: 'lamina recover' makes it again "
			       "from its packs", store->path);
	if (asprintf(&path, "%s/index.db", store->path) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rc = load_index(store, path, err);
	if (rc == -ENOSPC) {
		/* SQLite needs a file of its own beside the index even to read it. */
		store_reserve_release(store);
		store->reserve_lent = true;
		rc = load_index(store, path, err);
	}
	free(path);
	return rc;
}

int store_make_caches(struct store *store, const struct store_limits *l)
{
	int rc = packs_new(store->packs_fd, store->uuid, &store->params, l->open_packs,
			   &store->packs);

	if (rc == 0)
		rc = seg_cache_new(l->segs, &store->segs);
	if (rc == 0)
		rc = cache_new(&frame_cache_ops, store, l->frame_cache, &store->frames);
	if (rc == 0)
		rc = cache_new(&chunk_cache_ops, store, l->chunk_cache, &store->chunks);
	return rc;
}

static int open_all(struct store *store, const char *path, const struct store_limits *limits,
		    struct err *err)
{
	struct store_limits l;
	int rc;

	store_limits_default(&l);
	store->path = strdup(path);
	if (!store->path)
		return err_set(err, -ENOMEM, "out of memory");
	if (digest_init() < 0)
		return err_set(err, -ENOTSUP,
			       "libgcrypt does not offer the digests that are needed");
	rc = store_open_dirs(store, path, err);
	if (rc == 0)
		rc = open_index(store, err);
	if (rc < 0)
		return rc;
	rc = store_make_caches(store, limits ? limits : &l);
	if (rc < 0)
		return err_sys(err, rc, "cannot open store '%s'", path);
	return older_check_owner(store, err);
}

int store_open(const char *path, const struct store_limits *limits, struct store **ret,
	       struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));
	int rc;

	if (!store)
		return err_set(err, -ENOMEM, "out of memory");
	store->dirfd = store->lock_fd = store->packs_fd = -1;
	rc = open_all(store, path, limits, err);
	if (rc < 0) {
		store_close(store);
		return rc;
	}
	*ret = store;
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	store_unlock(store);
	if (store->chunks)
		cache_free(store->chunks);
	if (store->frames)
		cache_free(store->frames);
	seg_cache_free(store->segs);
	packs_free(store->packs);
	index_close(store->index);
	if (store->reserve_lent)
		store_reserve_make(store);
	if (store->packs_fd >= 0)
		close(store->packs_fd);
	if (store->dirfd >= 0)
		close(store->dirfd);
	free(store->path);
	free(store);
}
