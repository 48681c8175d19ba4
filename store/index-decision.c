/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/index-private.h"

#include <string.h>

#define COLUMNS "kind, key, seq, pack, opack, crc, value"

_Static_assert(TAG_NAME_MAX + 64 <= sizeof(((struct index_sum *)0)->b), "keys fit in a checksum");

static int64_t sum_of(const struct index_decision *d)
{
	struct index_sum sum;

	index_sum_init(&sum, 'd');
	index_sum_u64(&sum, d->kind);
	index_sum_u64(&sum, d->seq);
	index_sum_u64(&sum, (uint64_t)d->pack << 32 | d->opack);
	index_sum_u64(&sum, d->has_value);
	index_sum_u64(&sum, d->key_len);
	index_sum_bytes(&sum, d->key, d->key_len);
	return index_sum_end(&sum, d->value, d->value_len);
}

static struct index_decision row(struct index_query *q)
{
	struct index_decision d = {
		.kind = (uint8_t)index_query_col(q, 0),
		.seq = index_query_col(q, 2),
		.pack = (uint32_t)index_query_col(q, 3),
		.opack = (uint32_t)index_query_col(q, 4),
		.has_value = q->rc == 0 && sqlite3_column_type(q->stmt, 6) != SQLITE_NULL,
	};

	d.key = index_query_col_blob(q, 1, &d.key_len);
	d.value = index_query_col_blob(q, 6, &d.value_len);
	if (d.key_len > TAG_NAME_MAX || (int64_t)index_query_col(q, 5) != sum_of(&d))
		index_query_damaged(q, "the checksum of decision %llu's row differs",
				    (unsigned long long)d.seq);
	return d;
}

static void check(struct index_query *q)
{
	(void)row(q);
}

const struct index_table index_decision_table = {"SELECT " COLUMNS " FROM decision", check};

int index_decision_put(struct index *ix, const struct index_decision *d, struct err *err)
{
	struct index_query q;

	if (d->key_len > TAG_NAME_MAX)
		return err_set(err, -EINVAL, "the key of a decision is too long");
	index_query_begin(&q, ix, INDEX_DECISION_PUT,
			  "INSERT OR REPLACE INTO decision(" COLUMNS ") "
			  "VALUES (?, ?, ?, ?, ?, ?, ?)");
	index_query_u64(&q, d->kind);
	index_query_blob(&q, d->key, d->key_len);
	index_query_u64(&q, d->seq);
	index_query_u64(&q, d->pack);
	index_query_u64(&q, d->opack);
	index_query_u64(&q, (uint64_t)sum_of(d));
	if (d->has_value)
		index_query_blob(&q, d->value, d->value_len);
	else
		index_query_null(&q);
	return index_query_run(&q, err);
}

int index_decision_get(struct index *ix, const struct index_decision *what,
		       int (*fn)(void *ctx, const struct index_decision *d), void *ctx,
		       struct err *err)
{
	struct index_query q;
	struct index_decision d;
	bool found;
	int rc, answer = 0;

	index_query_begin(&q, ix, INDEX_DECISION_GET,
			  "SELECT " COLUMNS " FROM decision WHERE kind = ? AND key = ?");
	index_query_u64(&q, what->kind);
	index_query_blob(&q, what->key, what->key_len);
	found = index_query_step(&q);
	if (found) {
		d = row(&q);
		if (q.rc == 0)
			answer = fn(ctx, &d);
	}
	rc = index_query_end(&q, err);
	if (rc == 0 && !found)
		return err_set(err, -ENOENT, "nothing was decided");
	return rc < 0 ? rc : answer;
}

int index_decision_delete(struct index *ix, uint8_t kind, const void *key, uint32_t key_len,
			  struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_DECISION_DELETE,
			  "DELETE FROM decision WHERE kind = ? AND key = ?");
	index_query_u64(&q, kind);
	index_query_blob(&q, key, key_len);
	return index_query_run(&q, err);
}

static int each(struct index_query *q, int (*fn)(void *ctx, const struct index_decision *d),
		void *ctx, struct err *err)
{
	int rc, stop = 0;

	while (stop == 0 && index_query_step(q)) {
		struct index_decision d = row(q);

		if (q->rc == 0)
			stop = fn(ctx, &d);
	}
	rc = index_query_end(q, err);
	return rc < 0 ? rc : stop;
}

int index_decision_under(struct index *ix, const struct index_decision *what,
			 int (*fn)(void *ctx, const struct index_decision *d), void *ctx,
			 struct err *err)
{
	struct index_query q;
	uint8_t end[TAG_NAME_MAX + 1];

	if (what->key_len > TAG_NAME_MAX)
		return err_set(err, -EINVAL, "the key of a decision is too long");
	memcpy(end, what->key, what->key_len);
	end[what->key_len] = 0xff;
	index_query_begin(&q, ix, INDEX_DECISION_UNDER,
			  "SELECT " COLUMNS " FROM decision WHERE kind = ? AND key > ? "
			  "AND key < ? ORDER BY key");
	index_query_u64(&q, what->kind);
	index_query_blob(&q, what->key, what->key_len);
	index_query_blob(&q, end, what->key_len + 1);
	return each(&q, fn, ctx, err);
}

int index_decision_each(struct index *ix, uint8_t kind,
			int (*fn)(void *ctx, const struct index_decision *d), void *ctx,
			struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_DECISION_EACH,
			  "SELECT " COLUMNS " FROM decision WHERE kind BETWEEN ? AND ? "
			  "ORDER BY kind, key");
	index_query_u64(&q, kind ? kind : 0);
	index_query_u64(&q, kind ? kind : UINT8_MAX);
	return each(&q, fn, ctx, err);
}
