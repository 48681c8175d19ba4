/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An index where nothing can be written: on a file system that is mounted
 * read-only.  It may be writable all the same to others, who see it through
 * another mount.  So SQLite's immutable=1 is out of the question: it reads no
 * log and takes no lock, and what it has read is wrong when somebody writes.
 *
 * Live.  Where both the log and its shared memory are there, SQLite can read
 * them without writing, beside writers.  It keeps a shared lock on index.db, so
 * that nobody who closes it removes the two: this state does not end.
 *
 * Copied.  Where there is no log, or an empty one, index.db is all there is,
 * and it changes only when a log is moved into it.  Logs are written under the
 * writer's lock.  While that is held shared and the log is empty, index.db does
 * not change: it is read into memory as a whole.  A store without a file `lock`
 * has no writer, for they make it and nobody removes it: that it is not there
 * is looked at again when all has been read.
 *
 * A copy grows old.  Before each query for which no other one and no snapshot is
 * open, index.db is looked at: if it is another file, or has another time, or
 * there is something in the log, the index is opened anew, either way.  Where
 * that cannot be done yet the old copy is used: it is what was published once,
 * and a pack that is gone since then is looked up again.  Times are as coarse as
 * a tick of the kernel, so a file is copied only when it has not been written
 * to for some of them.
 *
 * A log that is not empty and has no shared memory beside it can only be read by
 * somebody who may write.
 *
 * Closing a descriptor of index.db drops the locks that SQLite has on it in this
 * process: in one that has the same index open live none is copied.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/index-private.h"

#define PAUSE_MS 20
#define SETTLED_MS 50		/* without a change: some ticks of the slowest kernel */
#define VERSIONS_AT 18		/* in SQLite's header: 2 and 2 with a log, 1 and 1 without */
#define HEADER_LEN 100
#define LOG_HEADER_LEN 32	/* of a log; what is in it begins behind that */

/* A file beside the index: its length, or -errno. */
static int64_t length_of(const struct index *ix, const char *suffix)
{
	struct stat st;
	char *path;
	int rc;

	if (asprintf(&path, "%s%s", ix->path, suffix) < 0)
		return -ENOMEM;
	rc = stat(path, &st) < 0 ? -errno : 0;
	free(path);
	return rc < 0 ? rc : st.st_size;
}

/* ---- live ---- */

/* -EAGAIN: the log is no longer there. */
static int connect_live(struct index *ix, struct err *err)
{
	uint64_t n;
	int rc = index_open_db(ix, ix->path, SQLITE_OPEN_READONLY, err);

	if (rc == 0)
		rc = index_query_ask(ix, "SELECT count(*) FROM sqlite_schema", &n, err);
	if (rc == 0 || rc == -EBADMSG)	/* index_open() says better what is wrong */
		return 0;
	(void)sqlite3_close_v2(ix->db);
	ix->db = NULL;
	return rc == -ENOENT || rc == -EROFS || rc == -EIO ? -EAGAIN : rc;
}

/* ---- copied ---- */

/* The lock, held shared; -ENOENT if nobody has ever made it, -EAGAIN if a writer has it. */
static int take_lock(const struct index *ix)
{
	const char *slash = strrchr(ix->path, '/');
	char *path;
	int fd, rc;

	if (asprintf(&path, "%.*slock", slash ? (int)(slash - ix->path) + 1 : 0, ix->path) < 0)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	rc = fd < 0 ? -errno : fd;
	free(path);
	if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0) {
		rc = errno == EWOULDBLOCK || errno == EINTR ? -EAGAIN : -errno;
		close(fd);
	}
	return rc;
}

/* Under the lock: the log is empty, so index.db is all there is. */
static int check_no_log(const struct index *ix, struct err *err)
{
	int64_t len = length_of(ix, "-wal");

	if ((len >= 0 && len <= LOG_HEADER_LEN) || len == -ENOENT)
		return 0;
	if (len < 0)
		return err_sys(err, (int)len, "cannot look at '%s-wal'", ix->path);
	if (length_of(ix, "-shm") >= 0)
		return -EAGAIN;
	return err_set(err, -EROFS, "index '%s' is on a read-only file system, and its log has to "
		       "be moved into it: open the store once where it can be written", ix->path);
}

static bool is_settled(const struct stat *st)
{
	struct timespec now;
	int64_t ms;

	clock_gettime(CLOCK_REALTIME, &now);
	ms = (now.tv_sec - st->st_ctim.tv_sec) * INT64_C(1000) +
	     (now.tv_nsec - st->st_ctim.tv_nsec) / 1000000;
	return ms < 0 || ms >= SETTLED_MS;
}

/* SQLite refuses a file in memory that says it has a log. */
static void forget_log(uint8_t *bytes, size_t len)
{
	if (len >= HEADER_LEN && bytes[VERSIONS_AT] == 2 && bytes[VERSIONS_AT + 1] == 2)
		bytes[VERSIONS_AT] = bytes[VERSIONS_AT + 1] = 1;
}

/* The whole of index.db, for sqlite3_free(). */
static int read_all(struct index *ix, int fd, uint8_t **ret, struct err *err)
{
	struct stat *st = &ix->copy_of;
	uint8_t *bytes;
	int rc;

	if (fstat(fd, st) < 0)
		return err_sys(err, -errno, "cannot look at index '%s'", ix->path);
	if (st->st_size == 0)
		return err_set(err, -EBADMSG, "index '%s' is damaged: the file is empty", ix->path);
	if (!is_settled(st))
		return -EAGAIN;
	bytes = sqlite3_malloc64((sqlite3_uint64)st->st_size);
	if (!bytes)
		return err_set(err, -ENOMEM, "out of memory: index '%s' is on a read-only file "
			       "system, and must be copied to be read", ix->path);
	rc = io_pread_all(fd, bytes, (size_t)st->st_size, 0);
	if (rc < 0) {
		sqlite3_free(bytes);
		return err_sys(err, rc, "cannot read index '%s'", ix->path);
	}
	forget_log(bytes, (size_t)st->st_size);
	*ret = bytes;
	return 0;
}

static int read_file(struct index *ix, uint8_t **ret, struct err *err)
{
	int fd = open(ix->path, O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return err_sys(err, -errno, "cannot open index '%s'", ix->path);
	rc = read_all(ix, fd, ret, err);
	close(fd);
	return rc;
}

/* Whether there is still no lock: a writer that came meanwhile has made it. */
static bool is_unlocked(const struct index *ix)
{
	int lock = take_lock(ix);

	if (lock >= 0)
		close(lock);
	return lock == -ENOENT;
}

/* `lock` is what take_lock() said. */
static int read_quiet(struct index *ix, int lock, uint8_t **ret, struct err *err)
{
	int rc = check_no_log(ix, err);

	if (rc == 0)
		rc = read_file(ix, ret, err);
	if (rc < 0 || lock >= 0 || is_unlocked(ix))
		return rc;
	sqlite3_free(*ret);
	return -EAGAIN;
}

static int connect_copy(struct index *ix, struct err *err)
{
	uint8_t *bytes = NULL;
	int lock = take_lock(ix), rc;

	if (lock == -EAGAIN)
		return lock;
	if (lock < 0 && lock != -ENOENT)
		return err_sys(err, lock, "cannot lock the store of index '%s'", ix->path);
	rc = read_quiet(ix, lock, &bytes, err);
	if (lock >= 0)
		close(lock);
	if (rc < 0)
		return rc;
	rc = index_open_db(ix, ":memory:", SQLITE_OPEN_READWRITE, err);
	if (rc < 0) {
		sqlite3_free(bytes);
		return rc;
	}
	/* It frees them even when it fails. */
	rc = sqlite3_deserialize(ix->db, "main", bytes, ix->copy_of.st_size, ix->copy_of.st_size,
				 SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY);
	ix->copied = true;
	return rc == SQLITE_OK ? 0 : index_query_error(ix, rc, err);
}

/* ---- both ---- */

static int connect_once(struct index *ix, struct err *err)
{
	int64_t len = length_of(ix, "-wal");
	/* SQLite cannot read a log that ends behind its header, as a killed writer may leave it. */
	bool live = len >= 0 && len != LOG_HEADER_LEN && length_of(ix, "-shm") >= 0;

	return live ? connect_live(ix, err) : connect_copy(ix, err);
}

int index_rofs_connect(struct index *ix, bool wait, struct err *err)
{
	struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
	int rc;

	for (int left = wait ? INDEX_BUSY_MS : 0;; left -= PAUSE_MS) {
		rc = connect_once(ix, err);
		if (rc != -EAGAIN || left <= 0)
			break;
		(void)nanosleep(&pause, NULL);
	}
	if (rc == -EAGAIN)
		return err_set(err, -EBUSY, "index '%s' is being changed by somebody else",
			       ix->path);
	return rc;
}

static bool is_as_copied(const struct index *ix)
{
	const struct stat *a = &ix->copy_of;
	struct stat b;

	return length_of(ix, "-wal") <= LOG_HEADER_LEN && stat(ix->path, &b) == 0 &&
	       a->st_dev == b.st_dev && a->st_ino == b.st_ino && a->st_size == b.st_size &&
	       a->st_ctim.tv_sec == b.st_ctim.tv_sec && a->st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

/* `fresh` gets what is old. */
static void swap(struct index *ix, struct index *fresh)
{
	sqlite3 *db = ix->db;

	for (int i = 0; i < INDEX_SLOTS; i++) {
		sqlite3_stmt *stmt = ix->stmt[i];

		ix->stmt[i] = fresh->stmt[i];
		fresh->stmt[i] = stmt;
	}
	ix->db = fresh->db;
	fresh->db = db;
	ix->copied = fresh->copied;
	ix->copy_of = fresh->copy_of;
	ix->version = fresh->version;
	ix->rocompat = fresh->rocompat;
}

int index_rofs_refresh(struct index *ix, struct err *err)
{
	struct index *fresh;
	int rc;

	if (!ix->copied || ix->lent || ix->snapshots || is_as_copied(ix))
		return 0;
	rc = index_open(ix->path, INDEX_ROFS | INDEX_NOWAIT, &fresh, err);
	if (rc == -EBUSY || rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	swap(ix, fresh);
	ix->opened++;
	index_close(fresh);
	return 0;
}
