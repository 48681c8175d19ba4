/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "store/index-private.h"

#define COLUMNS "number, published, next_ord, sealed, crc"

static int64_t sum_of(const struct index_pack *p)
{
	struct index_sum sum;

	index_sum_init(&sum, 'p');
	index_sum_u64(&sum, p->number);
	index_sum_u64(&sum, p->end);
	index_sum_u64(&sum, p->next_ord);
	index_sum_u64(&sum, p->sealed);
	return index_sum_end(&sum, NULL, 0);
}

static struct index_pack row(struct index_query *q)
{
	struct index_pack p = {
		.number = (uint32_t)index_query_col(q, 0),
		.end = index_query_col(q, 1),
		.next_ord = (uint32_t)index_query_col(q, 2),
		.sealed = index_query_col(q, 3) != 0,
	};

	if ((int64_t)index_query_col(q, 4) != sum_of(&p))
		index_query_damaged(q, "the checksum of pack %08x's row differs", p.number);
	return p;
}

static void check(struct index_query *q)
{
	(void)row(q);
}

const struct index_table index_pack_table = {"SELECT " COLUMNS " FROM pack", check};

int index_pack_put(struct index *ix, const struct index_pack *pack, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_PACK_PUT,
			  "INSERT OR REPLACE INTO pack(" COLUMNS ") VALUES (?, ?, ?, ?, ?)");
	index_query_u64(&q, pack->number);
	index_query_u64(&q, pack->end);
	index_query_u64(&q, pack->next_ord);
	index_query_u64(&q, pack->sealed);
	index_query_u64(&q, (uint64_t)sum_of(pack));
	return index_query_run(&q, err);
}

/* The one row that was asked for; ends the query. */
static int one(struct index_query *q, const char *none, struct index_pack *ret, struct err *err)
{
	struct index_pack p;
	bool found = index_query_step(q);
	int rc;

	if (found)
		p = row(q);
	rc = index_query_end(q, err);
	if (rc == 0 && !found)
		return err_set(err, -ENOENT, "%s", none);
	if (rc == 0)
		*ret = p;
	return rc;
}

int index_pack_get(struct index *ix, uint32_t number, struct index_pack *ret, struct err *err)
{
	struct index_query q;
	char none[64];

	(void)snprintf(none, sizeof(none), "there is no pack %08x", number);
	index_query_begin(&q, ix, INDEX_PACK_GET, "SELECT " COLUMNS " FROM pack WHERE number = ?");
	index_query_u64(&q, number);
	return one(&q, none, ret, err);
}

int index_pack_last(struct index *ix, struct index_pack *ret, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_PACK_LAST,
			  "SELECT " COLUMNS " FROM pack ORDER BY number DESC LIMIT 1");
	return one(&q, "there are no packs", ret, err);
}

int index_pack_delete(struct index *ix, uint32_t number, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_PACK_DELETE, "DELETE FROM pack WHERE number = ?");
	index_query_u64(&q, number);
	return index_query_run(&q, err);
}

int index_pack_each(struct index *ix, int (*fn)(void *ctx, const struct index_pack *p),
		    void *ctx, struct err *err)
{
	struct index_query q;
	int rc, stop = 0;

	index_query_begin(&q, ix, INDEX_PACK_EACH, "SELECT " COLUMNS " FROM pack ORDER BY number");
	while (stop == 0 && index_query_step(&q)) {
		struct index_pack p = row(&q);

		if (q.rc == 0)
			stop = fn(ctx, &p);
	}
	rc = index_query_end(&q, err);
	return rc < 0 ? rc : stop;
}
