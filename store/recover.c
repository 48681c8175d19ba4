/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Under the writer's lock, and only while nobody holds a lease:
 *
 * 1. What store is this?  The old index says so (recover-old.c), and if it cannot
 *    be read the pack headers: most of them count.  A pack of another store is
 *    set aside; one with a damaged header gets a new one.
 * 2. Every record of every pack goes into index.db.new (recover-pack.c), chunks
 *    without a segment into segments of their own (recover-seg.c).
 * 3. What is removed or incomplete goes again, and what only that reached
 *    (recover-layer.c).  Lost digest lists are made again, hooks put.
 * 4. Counters go above all that was seen.  Packs with damage are sealed: what
 *    was lost in them may have had addresses that a map still names.
 * 5. index.db becomes index.db.broken, index.db.new index.db.
 *
 * A crash before 5 leaves the old index; packs have got at most new headers and
 * records behind their ends.  Within 5 it leaves no index at all, and recover is
 * run again.  The old index's log is moved with it before the new one has the
 * name, or SQLite would replay it into the new one.
 */
#include "store/recover.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/clock.h"
#include "store/base/fmt.h"
#include "store/base/io.h"
#include "store/digest.h"
#include "store/index.h"
#include "store/lease.h"
#include "store/older.h"
#include "store/recover-private.h"
#include "store/store-private.h"
#include "store/store.h"

#define NOTE_LEN 768
#define NAME_LEN 64
#define PIDS_SHOWN 4
#define BROKEN_MAX 1000

static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
#define NSUFFIXES (sizeof(suffixes) / sizeof(suffixes[0]))

/* ---- helpers ---- */

void recover_note(struct recover *r, const char *fmt, ...)
{
	char line[NOTE_LEN];
	va_list ap;

	if (!r->opts->note)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	r->opts->note(r->opts->ctx, line);
}

struct recover_pack *recover_pack_of(struct recover *r, uint32_t number)
{
	size_t lo = 0, hi = r->packs.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->packs.v[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->packs.n && r->packs.v[lo].number == number ? &r->packs.v[lo] : NULL;
}

void recover_see_pack(struct recover *r, uint32_t number)
{
	if (number >= r->next_pack)
		r->next_pack = (uint64_t)number + 1;
}

void recover_see_page(struct recover *r, uint64_t paddr)
{
	struct recover_pack *pack = recover_pack_of(r, (uint32_t)(paddr >> 32));

	recover_see_pack(r, (uint32_t)(paddr >> 32));
	if (pack && (uint32_t)paddr >= pack->next_ord)
		pack->next_ord = (uint64_t)(uint32_t)paddr + 1;
}

/* ---- readers ---- */

static int refuse_lease(struct recover *r, const struct digest *id)
{
	char hex[DIGEST_HEX_LEN], list[PIDS_SHOWN * 12 + 1] = "";
	int pids[PIDS_SHOWN], n = lease_holders(r->store, id, pids, PIDS_SHOWN);
	size_t len = 0;

	for (int i = 0; i < n && i < PIDS_SHOWN; i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%d", i ? ", " : "",
					pids[i]);
	if (digest_is_zero(id))
		return err_set(r->err, -EBUSY, "the store is mounted by %s%s: unmount it first",
			       n <= 0 ? "somebody" : n == 1 ? "pid " : "pids ", list);
	return err_set(r->err, -EBUSY, "layer %.12s is being read by %s%s: a store is recovered "
		       "when nobody reads it", fmt_hex(hex, id->b, DIGEST_LEN),
		       n <= 0 ? "somebody" : n == 1 ? "pid " : "pids ", list);
}

static int check_readers(struct recover *r)
{
	struct digest id;
	int rc;

	if (mkdirat(r->store->dirfd, "leases", 0700) < 0 && errno != EEXIST)
		return err_sys(r->err, -errno, "cannot make '%s/leases'", r->store->path);
	rc = lease_any_held(r->store, &id);
	if (rc < 0)
		return err_sys(r->err, rc, "cannot look for readers of '%s'", r->store->path);
	return rc > 0 ? refuse_lease(r, &id) : 0;
}

/* ---- the new index ---- */

static void drop_new(struct recover *r)
{
	char name[NAME_LEN];

	for (size_t i = 0; i < NSUFFIXES; i++) {
		(void)snprintf(name, sizeof(name), RECOVER_INDEX "%s", suffixes[i]);
		(void)unlinkat(r->store->dirfd, name, 0);
	}
}

static int put_identity(struct recover *r)
{
	struct index *ix = r->store->index;
	int rc = index_begin(ix, r->err);

	if (rc < 0)
		return rc;
	rc = store_meta_put(ix, r->store->uuid, &r->store->params, r->err);
	if (rc == 0)
		rc = index_commit(ix, r->err);
	index_abort(ix);
	return rc;
}

static int make_index(struct recover *r)
{
	char *path;
	int rc;

	drop_new(r);
	if (asprintf(&path, "%s/" RECOVER_INDEX, r->store->path) < 0)
		return err_set(r->err, -ENOMEM, "out of memory");
	rc = index_open(path, INDEX_CREATE, &r->store->index, r->err);
	free(path);
	return rc < 0 ? rc : put_identity(r);
}

/* Only the last pack is appended to, and only if all of it could be read. */
static int put_packs(struct recover *r)
{
	int rc = 0;

	for (size_t i = 0; i < r->packs.n && rc == 0; i++) {
		const struct recover_pack *p = &r->packs.v[i];
		struct index_pack row = {
			.number = p->number, .end = p->end,
			.next_ord = p->next_ord > UINT32_MAX ? UINT32_MAX : (uint32_t)p->next_ord,
			.sealed = p->damaged || i + 1 < r->packs.n || p->next_ord > UINT32_MAX,
		};

		rc = index_pack_put(r->store->index, &row, r->err);
	}
	return rc;
}

static int put_counters(struct recover *r)
{
	struct index *ix = r->store->index;
	int rc = put_packs(r);

	if (rc == 0 && r->next_pack > UINT32_MAX)
		rc = err_set(r->err, -EFBIG, "store '%s' has no more pack numbers", r->store->path);
	if (rc == 0)
		rc = store_meta_put(ix, r->store->uuid, &r->store->params, r->err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "next_fid", r->next_fid, r->err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "next_seq", r->next_seq, r->err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "next_pack", r->next_pack, r->err);
	return rc;
}

static int finish_index(struct recover *r)
{
	struct index *ix = r->store->index;
	int rc = index_begin(ix, r->err);

	if (rc < 0)
		return rc;
	rc = put_counters(r);
	if (rc == 0)
		rc = recover_live_settle(r);
	if (rc == 0)
		rc = index_commit(ix, r->err);
	index_abort(ix);
	if (rc < 0)
		return rc;
	index_shrink(ix);
	index_checkpoint(ix);
	return 0;
}

static int fill_index(struct recover *r)
{
	int rc = recover_packs_collect(r);

	/* A store whose only headers were damaged does not know its digest otherwise. */
	if (rc == 0 && r->algo && !r->old.known)
		r->store->params.digest = r->algo;
	if (rc == 0)
		rc = recover_segs_adopt(r);
	if (rc == 0)
		rc = recover_layers_settle(r);
	if (rc == 0)
		rc = recover_segs_list(r);
	if (rc == 0)
		rc = recover_segs_hook(r);
	return rc < 0 ? rc : finish_index(r);
}

/* ---- one index for the other ---- */

static bool is_there(struct recover *r, const char *name)
{
	return faccessat(r->store->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool stem_is_free(struct recover *r, const char *stem)
{
	char name[NAME_LEN];

	for (size_t i = 0; i < NSUFFIXES; i++) {
		(void)snprintf(name, sizeof(name), "%s%s", stem, suffixes[i]);
		if (is_there(r, name))
			return false;
	}
	return true;
}

/* "index.db.broken", or with the first number that is free. */
static int free_stem(struct recover *r, char stem[NAME_LEN / 2])
{
	(void)snprintf(stem, NAME_LEN / 2, "index.db.broken");
	for (int i = 1; i < BROKEN_MAX; i++) {
		if (stem_is_free(r, stem))
			return 0;
		(void)snprintf(stem, NAME_LEN / 2, "index.db.broken.%d", i);
	}
	return err_set(r->err, -EEXIST, "'%s' has too many files index.db.broken", r->store->path);
}

static int set_aside(struct recover *r)
{
	char stem[NAME_LEN / 2], from[NAME_LEN], to[NAME_LEN];
	int rc = free_stem(r, stem);

	for (size_t i = 0; i < NSUFFIXES && rc == 0; i++) {
		(void)snprintf(from, sizeof(from), "index.db%s", suffixes[i]);
		(void)snprintf(to, sizeof(to), "%s%s", stem, suffixes[i]);
		if (renameat(r->store->dirfd, from, r->store->dirfd, to) < 0 && errno != ENOENT)
			rc = err_sys(r->err, -errno, "cannot rename '%s/%s'", r->store->path, from);
	}
	return rc;
}

/* Closing the only connection has moved the log into the file. */
static int check_complete(struct recover *r)
{
	struct stat st;
	int fd, rc;

	if (fstatat(r->store->dirfd, RECOVER_INDEX "-wal", &st, 0) == 0 && st.st_size > 0)
		return err_set(r->err, -EIO, "'%s/" RECOVER_INDEX "' could not be completed",
			       r->store->path);
	fd = openat(r->store->dirfd, RECOVER_INDEX, O_RDONLY | O_CLOEXEC);
	rc = fd < 0 ? -errno : io_fsync(fd);
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		return err_sys(r->err, rc, "cannot sync '%s/" RECOVER_INDEX "'", r->store->path);
	return 0;
}

static int swap(struct recover *r)
{
	int dirfd = r->store->dirfd, rc;

	index_close(r->store->index);
	r->store->index = NULL;
	rc = check_complete(r);
	if (rc == 0)
		rc = set_aside(r);
	if (rc < 0)
		return rc;
	older_forget(r->store);
	rc = io_fsync_dir(dirfd, ".");
	if (rc == 0 && renameat(dirfd, RECOVER_INDEX, dirfd, "index.db") < 0)
		rc = -errno;
	if (rc == 0)
		rc = io_fsync_dir(dirfd, ".");
	return rc < 0 ? err_sys(r->err, rc, "cannot make '%s/index.db'", r->store->path) : 0;
}

/* ---- a run ---- */

static int run_locked(struct recover *r)
{
	struct store_limits limits;
	int rc = check_readers(r);

	store_limits_default(&limits);
	if (rc == 0)
		rc = recover_old_read(r);
	if (rc == 0)
		rc = recover_identity_find(r);
	if (rc == 0)
		rc = make_index(r);
	if (rc == 0 && store_make_caches(r->store, &limits) < 0)
		rc = err_set(r->err, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = recover_identity_check(r);
	if (rc == 0)
		rc = fill_index(r);
	if (rc == 0)
		rc = swap(r);
	if (rc < 0) {
		index_close(r->store->index);
		r->store->index = NULL;
		drop_new(r);
	}
	return rc;
}

static int run(struct recover *r, const char *path)
{
	int rc;

	r->store->path = strdup(path);
	if (!r->store->path)
		return err_set(r->err, -ENOMEM, "out of memory");
	if (digest_init() < 0)
		return err_set(r->err, -ENOTSUP,
			       "libgcrypt does not offer the digests that are needed");
	rc = store_open_dirs(r->store, path, r->err);
	if (rc == 0)
		rc = store_take_lock(r->store, "recover", 0, NULL, r->err);
	if (rc == 0)
		rc = run_locked(r);
	if (rc == 0)
		store_reserve_make(r->store);
	return rc;
}

int recover_run(const char *path, const struct recover_opts *opts, struct recover_result *ret,
		struct err *err)
{
	struct recover r = {
		.opts = opts, .err = err, .next_fid = 1, .next_seq = 1, .next_pack = 1,
		.store = calloc(1, sizeof(*r.store)),
	};
	double start = clock_s();
	int rc;

	if (!r.store)
		return err_set(err, -ENOMEM, "out of memory");
	r.store->dirfd = r.store->lock_fd = r.store->packs_fd = -1;
	rc = run(&r, path);
	store_close(r.store);
	recover_old_fini(&r);
	vec_fini(&r.packs);
	vec_fini(&r.orphans);
	vec_fini(&r.segs);
	if (rc < 0)
		return rc;
	r.res.seconds = clock_s() - start;
	*ret = r.res;
	return 0;
}
