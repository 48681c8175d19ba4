/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queries with sticky errors, and SQLite's errors in our words.
 */
#include <stdarg.h>
#include <stdio.h>

#include "store/index-private.h"

static int errno_of(struct index *ix, int sqlite_rc)
{
	int sys = sqlite3_system_errno(ix->db);

	switch (sqlite_rc & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_IOERR:
		return sqlite_rc == SQLITE_IOERR_NOMEM ? -ENOMEM : sys ? -sys : -EIO;
	case SQLITE_CANTOPEN:
		return sys ? -sys : -EIO;
	case SQLITE_TOOBIG:
		return -EFBIG;
	case SQLITE_MISUSE:
		return -EINVAL;
	default:
		/* Our statements are right, so it is the file that is wrong. */
		return -EBADMSG;
	}
}

int index_query_error(struct index *ix, int sqlite_rc, struct err *err)
{
	int rc = errno_of(ix, sqlite_rc);

	if (rc == -EBADMSG)
		return err_set(err, rc, "index '%s' is damaged: %s", ix->path,
			       sqlite3_errmsg(ix->db));
	if (rc == -EBUSY)
		return err_set(err, rc, "index '%s' is being changed by somebody else", ix->path);
	if (rc == -ENOMEM)
		return err_set(err, rc, "out of memory");
	return err_sys(err, rc, "index '%s'", ix->path);
}

static void fail(struct index_query *q, int sqlite_rc)
{
	q->rc = index_query_error(q->ix, sqlite_rc, &q->err);
}

void index_query_begin(struct index_query *q, struct index *ix, enum index_slot slot,
		       const char *sql)
{
	int rc = SQLITE_OK;

	*q = (struct index_query){.ix = ix, .slot = slot};
	pthread_mutex_lock(&ix->mutex);
	q->rc = index_rofs_refresh(ix, &q->err);
	ix->lent++;
	q->kept = slot != INDEX_ONCE && !ix->busy[slot];
	if (q->kept)
		q->stmt = ix->stmt[slot];
	if (!q->stmt)
		rc = sqlite3_prepare_v3(ix->db, sql, -1, q->kept ? SQLITE_PREPARE_PERSISTENT : 0,
					&q->stmt, NULL);
	if (rc != SQLITE_OK)
		fail(q, rc);
	if (q->kept && q->stmt) {
		ix->stmt[slot] = q->stmt;
		ix->busy[slot] = true;
	}
	pthread_mutex_unlock(&ix->mutex);
}

static void bound(struct index_query *q, int rc)
{
	if (rc == SQLITE_NOMEM)
		q->rc = err_set(&q->err, -ENOMEM, "out of memory");
	else if (rc == SQLITE_TOOBIG)
		q->rc = err_set(&q->err, -EFBIG, "index '%s': a row is too large", q->ix->path);
	else if (rc != SQLITE_OK)
		q->rc = err_set(&q->err, -EINVAL, "index '%s': cannot bind", q->ix->path);
}

void index_query_u64(struct index_query *q, uint64_t v)
{
	if (q->rc == 0)
		bound(q, sqlite3_bind_int64(q->stmt, ++q->bound, (sqlite3_int64)v));
}

void index_query_text(struct index_query *q, const char *text)
{
	if (q->rc == 0)
		bound(q, sqlite3_bind_text(q->stmt, ++q->bound, text, -1, SQLITE_STATIC));
}

void index_query_blob(struct index_query *q, const void *data, size_t len)
{
	if (q->rc == 0)
		bound(q, sqlite3_bind_blob64(q->stmt, ++q->bound, data ? data : "", len,
					     SQLITE_STATIC));
}

void index_query_null(struct index_query *q)
{
	if (q->rc == 0)
		bound(q, sqlite3_bind_null(q->stmt, ++q->bound));
}

bool index_query_step(struct index_query *q)
{
	int rc;

	if (q->rc < 0)
		return false;
	pthread_mutex_lock(&q->ix->mutex);
	rc = sqlite3_step(q->stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		fail(q, rc);
	pthread_mutex_unlock(&q->ix->mutex);
	return rc == SQLITE_ROW;
}

uint64_t index_query_col(struct index_query *q, int column)
{
	return q->rc < 0 ? 0 : (uint64_t)sqlite3_column_int64(q->stmt, column);
}

const void *index_query_col_blob(struct index_query *q, int column, uint32_t *ret_len)
{
	const void *data;

	*ret_len = 0;
	if (q->rc < 0)
		return "";
	data = sqlite3_column_blob(q->stmt, column);
	*ret_len = (uint32_t)sqlite3_column_bytes(q->stmt, column);
	if (!data && *ret_len > 0)
		q->rc = err_set(&q->err, -ENOMEM, "out of memory");
	return data ? data : "";
}

const void *index_query_col_exact(struct index_query *q, int column, size_t len)
{
	static const uint8_t zeros[DIGEST_LEN];
	uint32_t got;
	const void *data = index_query_col_blob(q, column, &got);

	if (q->rc == 0 && got == len)
		return data;
	if (q->rc == 0)
		index_query_damaged(q, "a value has %u bytes instead of %zu", got, len);
	return zeros;
}

void index_query_damaged(struct index_query *q, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (q->rc < 0)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	q->rc = err_set(&q->err, -EBADMSG, "index '%s' is damaged: %s", q->ix->path, text);
}

int index_query_end(struct index_query *q, struct err *err)
{
	pthread_mutex_lock(&q->ix->mutex);
	q->ix->lent--;
	if (q->kept && q->stmt) {
		(void)sqlite3_reset(q->stmt);
		(void)sqlite3_clear_bindings(q->stmt);
		q->ix->busy[q->slot] = false;
	} else {
		(void)sqlite3_finalize(q->stmt);
	}
	pthread_mutex_unlock(&q->ix->mutex);
	q->stmt = NULL;
	if (q->rc < 0 && err)
		*err = q->err;
	return q->rc;
}

int index_query_run(struct index_query *q, struct err *err)
{
	(void)index_query_step(q);
	return index_query_end(q, err);
}

int index_query_exec(struct index *ix, const char *sql, struct err *err)
{
	int rc, out = 0;

	pthread_mutex_lock(&ix->mutex);
	rc = sqlite3_exec(ix->db, sql, NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		out = index_query_error(ix, rc, err);
	pthread_mutex_unlock(&ix->mutex);
	return out;
}

int index_query_ask(struct index *ix, const char *sql, uint64_t *ret, struct err *err)
{
	struct index_query q;
	uint64_t v = 0;
	int rc;

	index_query_begin(&q, ix, INDEX_ONCE, sql);
	if (index_query_step(&q))
		v = index_query_col(&q, 0);
	rc = index_query_end(&q, err);
	if (rc == 0)
		*ret = v;
	return rc;
}
