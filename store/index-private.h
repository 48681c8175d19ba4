/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * index-private: what the index-*.c files share.  Nobody else includes this,
 * but the index's own tests.
 */
#ifndef LAMINA_INDEX_PRIVATE_H
#define LAMINA_INDEX_PRIVATE_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "store/index.h"

#define INDEX_APPLICATION_ID 0x4c414d49		/* "LAMI" */
#define INDEX_SCHEMA_VERSION 1u
#define INDEX_INCOMPAT_KNOWN FEATURE_SEED
#define INDEX_ROCOMPAT_KNOWN FEATURE_LIVE
#define INDEX_BLOB_MAX (64 << 20)		/* bytes of any one value */
#define INDEX_BUSY_MS 10000

#define INDEX_NOWAIT 8u		/* for index_open(), with INDEX_ROFS: -EBUSY at once */

/* One slot of the statement cache for each text. */
enum index_slot {
	INDEX_BEGIN, INDEX_COMMIT, INDEX_ROLLBACK, INDEX_SNAPSHOT, INDEX_VERSION,
	INDEX_META_GET, INDEX_META_SET,
	INDEX_PACK_PUT, INDEX_PACK_GET, INDEX_PACK_LAST, INDEX_PACK_DELETE, INDEX_PACK_EACH,
	INDEX_SEG_PUT, INDEX_SEG_FIND, INDEX_SEG_DELETE, INDEX_SEG_EACH,
	INDEX_HOOK_PUT, INDEX_HOOK_FIND, INDEX_HOOK_SWEEP, INDEX_HOOK_COUNT,
	INDEX_FRAME_PUT, INDEX_FRAME_GET, INDEX_FRAME_DIGEST, INDEX_FRAME_FIND,
	INDEX_FRAME_DELETE, INDEX_FRAME_EACH,
	INDEX_LAYER_PUT, INDEX_LAYER_GET, INDEX_LAYER_DELETE, INDEX_LAYER_EACH,
	INDEX_LAYER_PREFIX,
	INDEX_DECISION_PUT, INDEX_DECISION_GET, INDEX_DECISION_DELETE, INDEX_DECISION_EACH,
	INDEX_DECISION_UNDER,
	INDEX_ONCE,		/* not kept */
	INDEX_SLOTS
};

struct index {
	pthread_mutex_t mutex;	/* recursive; a transaction holds it */
	sqlite3 *db;
	char *path;
	unsigned version;	/* of the schema as found */
	uint32_t rocompat;	/* unknown read-only-compat bits: no writing */
	bool writing;		/* under mutex: between begin and commit or abort */
	unsigned snapshots;	/* under mutex: nested snapshot_begin */
	bool copied;		/* under mutex, as all below: it is in memory */
	struct stat copy_of;	/* if so: of the file */
	unsigned opened;	/* anew, how often */
	unsigned lent;		/* queries that have begun and not ended */
	sqlite3_stmt *stmt[INDEX_SLOTS];	/* under mutex */
	bool busy[INDEX_SLOTS];			/* under mutex: lent to a query */
};

/*
 * A statement from begin to end.  Errors stick: binds and steps after a
 * failure are no-ops, and index_query_end() says what happened.  Between
 * begin and end the statement is this query's own, so rows may be looked at
 * (and callbacks called) without the mutex.
 */
struct index_query {
	struct index *ix;
	sqlite3_stmt *stmt;
	enum index_slot slot;
	bool kept;		/* from the cache */
	int bound;
	int rc;			/* 0 or -errno */
	struct err err;
};

void index_query_begin(struct index_query *q, struct index *ix, enum index_slot slot,
		       const char *sql);
/* The next parameter. */
void index_query_u64(struct index_query *q, uint64_t v);
void index_query_text(struct index_query *q, const char *text);
void index_query_blob(struct index_query *q, const void *data, size_t len);
void index_query_null(struct index_query *q);
/* Whether there is a row. */
bool index_query_step(struct index_query *q);
uint64_t index_query_col(struct index_query *q, int column);
/* Borrowed until the next step.  Exactly `len` bytes, or the query fails with -EBADMSG. */
const void *index_query_col_exact(struct index_query *q, int column, size_t len);
const void *index_query_col_blob(struct index_query *q, int column, uint32_t *ret_len);
/* Fails the query: the row it stands on is damaged. */
void index_query_damaged(struct index_query *q, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int index_query_end(struct index_query *q, struct err *err);
/* For a statement without rows: steps once, then ends. */
int index_query_run(struct index_query *q, struct err *err);

/* Several statements without parameters or rows that matter. */
int index_query_exec(struct index *ix, const char *sql, struct err *err);
/* The first column of the first row of a statement without parameters. */
int index_query_ask(struct index *ix, const char *sql, uint64_t *ret, struct err *err);
/* SQLite's last error as -errno, with a sentence.  The mutex is held. */
int index_query_error(struct index *ix, int sqlite_rc, struct err *err);

/*
 * The checksum of a row: over a letter for its table, its key and contents,
 * and at last a blob that may be long.
 */
struct index_sum {
	uint8_t b[256];
	size_t len;
};
void index_sum_init(struct index_sum *sum, char table);
void index_sum_u64(struct index_sum *sum, uint64_t v);
void index_sum_bytes(struct index_sum *sum, const void *data, size_t len);
/* As SQLite keeps it: small negative numbers take less room than large ones. */
int64_t index_sum_end(const struct index_sum *sum, const void *blob, size_t len);

/* Sets ix->db: a connection with our limits, nothing read yet.  SQLite's flags. */
int index_open_db(struct index *ix, const char *path, int mode, struct err *err);

/* index-rofs.c: sets ix->db where nothing can be written.  -EBUSY: no state to read now. */
int index_rofs_connect(struct index *ix, bool wait, struct err *err);
/* Under the mutex, before a query: another database if this copy is old. */
int index_rofs_refresh(struct index *ix, struct err *err);

/* Tables and indexes of a new file, features included; one transaction. */
int index_schema_create(struct index *ix, struct err *err);
/* That this is ours, not newer, and has exactly our tables. */
int index_schema_check(struct index *ix, struct err *err);

/* A step from schema `from` to from + 1, within a transaction. */
struct index_step {
	unsigned from;
	int (*run)(struct index *ix, struct err *err);
};
/*
 * Copies the file to PATH.v<version>, then runs the steps in one transaction.
 * -EPROTONOSUPPORT if one is missing.
 */
int index_schema_migrate(struct index *ix, const struct index_step *steps, size_t nsteps,
			 unsigned target, struct err *err);

/* For index_verify(): the rows of one table. */
struct index_table {
	const char *sql;	/* all rows */
	/* Reads the row; a damaged one fails the query with its sentence. */
	void (*check)(struct index_query *q);
};
extern const struct index_table index_meta_table, index_pack_table, index_seg_table,
	index_frame_table, index_layer_table, index_decision_table;

#endif
