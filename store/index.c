/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file, its transactions, and the statement cache.
 *
 * One connection in SQLite's serialized mode and one recursive mutex of our
 * own.  The mutex guards the statement cache and is held from index_begin()
 * to index_commit() or index_abort(), so that no other thread of this process
 * sees rows that are not published.  Queries hold it only while they step:
 * callbacks run without it and may call anything here, the function that
 * called them too: a cached statement that is lent out is simply prepared
 * once more.
 *
 * What a crash leaves is SQLite's business (WAL, synchronous=FULL): a
 * transaction is there as a whole or not at all.  One thing it does not say:
 * frames of a transaction whose commit failed, or was killed on its way, can
 * become visible later if nothing is written over them and the machine goes
 * down.  append_tidy() writes over them before it cuts anything.
 */
#include "store/index.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/index-private.h"

#define MAGIC "SQLite format 3"		/* with its NUL: 16 bytes */

/* Kept quiet and small; nothing in the file may make SQLite run code. */
#define SETTINGS							\
	"PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"		\
	"PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA synchronous=FULL"

/*
 * The magic is looked at by hand, because SQLite takes an empty file for a new
 * one; through SQLite's descriptor, because closing another one would drop its
 * locks.
 */
static int check_magic(struct index *ix, unsigned flags, bool *ret_empty, struct err *err)
{
	char magic[sizeof(MAGIC)] = "";
	sqlite3_int64 size = 0;
	sqlite3_file *file;

	(void)sqlite3_file_control(ix->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
	if (file->pMethods->xFileSize(file, &size) != SQLITE_OK)
		return err_set(err, -EIO, "cannot read index '%s'", ix->path);
	*ret_empty = size == 0;
	if (size == 0 && !(flags & INDEX_CREATE))
		return err_set(err, -EBADMSG, "index '%s' is damaged: the file is empty", ix->path);
	if (size == 0)
		return 0;
	if (file->pMethods->xRead(file, magic, sizeof(magic), 0) == SQLITE_OK &&
	    memcmp(magic, MAGIC, sizeof(magic)) == 0)
		return 0;
	return err_set(err, -EMEDIUMTYPE, "'%s' is not a lamina index", ix->path);
}

static int mutex_init(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;
	int rc = -pthread_mutexattr_init(&attr);

	if (rc < 0)
		return rc;
	(void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	rc = -pthread_mutex_init(mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	return rc;
}

/* SQLite would make it readable for all. */
static int create_file(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	else if (errno != EEXIST)
		return err_sys(err, -errno, "cannot make index '%s'", path);
	return 0;
}

int index_open_db(struct index *ix, const char *path, int mode, struct err *err)
{
	int rc = sqlite3_open_v2(path, &ix->db, mode | SQLITE_OPEN_FULLMUTEX, NULL);

	if (rc != SQLITE_OK) {
		rc = sqlite3_system_errno(ix->db);
		return err_sys(err, rc ? -rc : -EIO, "cannot open index '%s'", ix->path);
	}
	(void)sqlite3_extended_result_codes(ix->db, 1);
	(void)sqlite3_busy_timeout(ix->db, INDEX_BUSY_MS);
	(void)sqlite3_limit(ix->db, SQLITE_LIMIT_LENGTH, INDEX_BLOB_MAX);
	(void)sqlite3_db_config(ix->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(ix->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	(void)sqlite3_db_config(ix->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	if (mode & SQLITE_OPEN_READONLY)
		(void)sqlite3_db_config(ix->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return 0;
}

static int connect_file(struct index *ix, unsigned flags, struct err *err)
{
	int mode = flags & INDEX_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	int rc = flags & INDEX_CREATE ? create_file(ix->path, err) : 0;

	if (rc < 0)
		return rc;
	return flags & INDEX_ROFS ? index_rofs_connect(ix, !(flags & INDEX_NOWAIT), err) :
				    index_open_db(ix, ix->path, mode, err);
}

static int check_features(struct index *ix, struct err *err)
{
	uint64_t incompat, rocompat, unknown;
	int rc = index_meta_get_u64(ix, "incompat", &incompat, err);

	if (rc == 0)
		rc = index_meta_get_u64(ix, "rocompat", &rocompat, err);
	if (rc == -ENOENT)
		return err_set(err, -EBADMSG, "index '%s' is damaged: no feature bits", ix->path);
	if (rc < 0)
		return rc;
	unknown = incompat & ~(uint64_t)INDEX_INCOMPAT_KNOWN;
	if (unknown)
		return err_set(err, -EPROTONOSUPPORT,
			       "index '%s' was written by a newer lamina (features 0x%llx)",
			       ix->path, (unsigned long long)unknown);
	if (!(incompat & FEATURE_SEED))
		return err_set(err, -EPROTONOSUPPORT,
			       "index '%s' was written by a lamina of before 0.1.0, whose format "
			       "is no longer read", ix->path);
	ix->rocompat = (uint32_t)rocompat & ~INDEX_ROCOMPAT_KNOWN;
	return 0;
}

int index_feature_has(struct index *ix, uint32_t rocompat, struct err *err)
{
	uint64_t bits;
	int rc = index_meta_get_u64(ix, "rocompat", &bits, err);

	return rc < 0 ? rc : (bits & rocompat) == rocompat;
}

int index_feature_add(struct index *ix, uint32_t rocompat, struct err *err)
{
	uint64_t bits;
	int rc = index_meta_get_u64(ix, "rocompat", &bits, err);

	return rc < 0 ? rc : index_meta_set_u64(ix, "rocompat", bits | rocompat, err);
}

static int open_checked(struct index *ix, unsigned flags, struct err *err)
{
	bool empty = false;
	int rc = connect_file(ix, flags, err);

	if (rc == 0)
		rc = check_magic(ix, flags, &empty, err);
	if (rc == 0)
		rc = index_query_exec(ix, SETTINGS, err);
	if (rc == 0 && empty)
		rc = index_schema_create(ix, err);
	if (rc == 0)
		rc = index_schema_check(ix, err);
	if (rc == 0 && !index_outdated(ix))
		rc = check_features(ix, err);
	return rc;
}

int index_open(const char *path, unsigned flags, struct index **ret, struct err *err)
{
	struct index *ix = calloc(1, sizeof(*ix));
	int rc;

	if (!ix)
		return err_set(err, -ENOMEM, "out of memory");
	ix->path = strdup(path);
	if (!ix->path || mutex_init(&ix->mutex) < 0) {
		free(ix->path);
		free(ix);
		return err_set(err, -ENOMEM, "out of memory");
	}
	rc = open_checked(ix, flags, err);
	if (rc < 0) {
		index_close(ix);
		return rc;
	}
	*ret = ix;
	return 0;
}

void index_close(struct index *ix)
{
	if (!ix)
		return;
	index_abort(ix);
	for (int i = 0; i < INDEX_SLOTS; i++)
		(void)sqlite3_finalize(ix->stmt[i]);
	(void)sqlite3_close_v2(ix->db);
	pthread_mutex_destroy(&ix->mutex);
	free(ix->path);
	free(ix);
}

bool index_outdated(const struct index *ix)
{
	return ix->version < INDEX_SCHEMA_VERSION;
}

int index_migrate(struct index *ix, struct err *err)
{
	int rc = index_schema_migrate(ix, NULL, 0, INDEX_SCHEMA_VERSION, err);

	return rc < 0 ? rc : check_features(ix, err);
}

int index_data_version(struct index *ix, uint64_t *ret)
{
	struct index_query q;
	uint64_t v = 0;
	int rc;

	index_query_begin(&q, ix, INDEX_VERSION, "PRAGMA data_version");
	if (index_query_step(&q))
		v = index_query_col(&q, 0);
	pthread_mutex_lock(&ix->mutex);
	v += (uint64_t)ix->opened << 32;
	pthread_mutex_unlock(&ix->mutex);
	rc = index_query_end(&q, NULL);
	if (rc == 0)
		*ret = v;
	return rc;
}

static int run_simple(struct index *ix, enum index_slot slot, const char *sql, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, slot, sql);
	return index_query_run(&q, err);
}

int index_check_writable(const struct index *ix, struct err *err)
{
	if (ix->rocompat)
		return err_set(err, -EPROTONOSUPPORT,
			       "index '%s' was written by a newer lamina and can only be read "
			       "(features 0x%x)", ix->path, ix->rocompat);
	return 0;
}

static int may_begin(struct index *ix, struct err *err)
{
	int rc = index_check_writable(ix, err);

	if (rc < 0)
		return rc;
	if (ix->writing || ix->snapshots)
		return err_set(err, -EBUSY, "index '%s': a transaction is open", ix->path);
	return 0;
}

int index_begin(struct index *ix, struct err *err)
{
	int rc;

	pthread_mutex_lock(&ix->mutex);
	rc = may_begin(ix, err);
	if (rc == 0)
		rc = run_simple(ix, INDEX_BEGIN, "BEGIN IMMEDIATE", err);
	if (rc == 0)
		ix->writing = true;	/* and the mutex is kept */
	else
		pthread_mutex_unlock(&ix->mutex);
	return rc;
}

static void end_transaction(struct index *ix)
{
	ix->writing = false;
	pthread_mutex_unlock(&ix->mutex);
}

int index_commit(struct index *ix, struct err *err)
{
	int rc = run_simple(ix, INDEX_COMMIT, "COMMIT", err);

	if (rc < 0)
		index_abort(ix);
	else
		end_transaction(ix);
	return rc;
}

void index_abort(struct index *ix)
{
	pthread_mutex_lock(&ix->mutex);
	if (ix->writing) {
		/* SQLite has rolled back already after some errors. */
		if (!sqlite3_get_autocommit(ix->db))
			(void)run_simple(ix, INDEX_ROLLBACK, "ROLLBACK", NULL);
		end_transaction(ix);
	}
	pthread_mutex_unlock(&ix->mutex);
}

int index_snapshot_begin(struct index *ix, struct err *err)
{
	uint64_t n;
	int rc = 0;

	pthread_mutex_lock(&ix->mutex);
	if (!ix->writing && ix->snapshots == 0) {
		rc = run_simple(ix, INDEX_SNAPSHOT, "BEGIN", err);
		/* The first read is what fixes the snapshot. */
		if (rc == 0)
			rc = index_query_ask(ix, "SELECT count(*) FROM meta", &n, err);
		if (rc < 0 && !sqlite3_get_autocommit(ix->db))
			(void)run_simple(ix, INDEX_ROLLBACK, "ROLLBACK", NULL);
	}
	if (rc == 0)
		ix->snapshots++;
	pthread_mutex_unlock(&ix->mutex);
	return rc;
}

void index_snapshot_end(struct index *ix)
{
	pthread_mutex_lock(&ix->mutex);
	if (ix->snapshots > 0 && --ix->snapshots == 0 && !ix->writing)
		(void)run_simple(ix, INDEX_COMMIT, "COMMIT", NULL);
	pthread_mutex_unlock(&ix->mutex);
}

/* Readers are not waited for: what they still need is left for the next time. */
void index_checkpoint(struct index *ix)
{
	pthread_mutex_lock(&ix->mutex);
	(void)sqlite3_busy_timeout(ix->db, 0);
	(void)sqlite3_wal_checkpoint_v2(ix->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	(void)sqlite3_busy_timeout(ix->db, INDEX_BUSY_MS);
	pthread_mutex_unlock(&ix->mutex);
}

void index_shrink(struct index *ix)
{
	pthread_mutex_lock(&ix->mutex);
	(void)index_query_exec(ix, "PRAGMA incremental_vacuum", NULL);
	pthread_mutex_unlock(&ix->mutex);
}

static int size_of(struct index *ix, uint64_t *ret)
{
	const char *path = ix->copied ? ix->path : sqlite3_db_filename(ix->db, "main");
	struct stat st;
	uint64_t size;

	if (stat(path, &st) < 0)
		return -errno;
	size = (uint64_t)st.st_size;
	if (!ix->copied && stat(sqlite3_filename_wal(path), &st) == 0)
		size += (uint64_t)st.st_size;
	*ret = size;
	return 0;
}

int index_size(struct index *ix, uint64_t *ret)
{
	int rc;

	pthread_mutex_lock(&ix->mutex);
	rc = size_of(ix, ret);
	pthread_mutex_unlock(&ix->mutex);
	return rc;
}
