/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/index-private.h"

#define COLUMNS "first, span, pack, off, dig_off, dig_len, crc, chunks"

static int64_t sum_of(const struct index_seg *seg)
{
	struct index_sum sum;

	index_sum_init(&sum, 's');
	index_sum_u64(&sum, seg->first);
	index_sum_u64(&sum, seg->span);
	index_sum_u64(&sum, seg->pack);
	index_sum_u64(&sum, seg->off);
	index_sum_u64(&sum, seg->dig_off);
	index_sum_u64(&sum, seg->dig_len);
	return index_sum_end(&sum, seg->table, seg->table_len);
}

static struct index_seg row(struct index_query *q)
{
	struct index_seg seg = {
		.first = index_query_col(q, 0),
		.span = (uint32_t)index_query_col(q, 1),
		.pack = (uint32_t)index_query_col(q, 2),
		.off = index_query_col(q, 3),
		.dig_off = index_query_col(q, 4),
		.dig_len = (uint32_t)index_query_col(q, 5),
	};

	seg.table = index_query_col_blob(q, 7, &seg.table_len);
	if ((int64_t)index_query_col(q, 6) != sum_of(&seg))
		index_query_damaged(q, "the checksum of segment " PADDR_FMT "'s row differs",
				    PADDR_ARG(seg.first));
	return seg;
}

static void check(struct index_query *q)
{
	(void)row(q);
}

const struct index_table index_seg_table = {"SELECT " COLUMNS " FROM seg", check};

int index_seg_put(struct index *ix, const struct index_seg *seg, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_SEG_PUT,
			  "INSERT OR REPLACE INTO seg(" COLUMNS ") "
			  "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
	index_query_u64(&q, seg->first);
	index_query_u64(&q, seg->span);
	index_query_u64(&q, seg->pack);
	index_query_u64(&q, seg->off);
	index_query_u64(&q, seg->dig_off);
	index_query_u64(&q, seg->dig_len);
	index_query_u64(&q, (uint64_t)sum_of(seg));
	index_query_blob(&q, seg->table, seg->table_len);
	return index_query_run(&q, err);
}

int index_seg_find(struct index *ix, uint64_t paddr,
		   int (*fn)(void *ctx, const struct index_seg *seg), void *ctx, struct err *err)
{
	struct index_query q;
	struct index_seg seg;
	bool found;
	int rc, answer = 0;

	index_query_begin(&q, ix, INDEX_SEG_FIND, "SELECT " COLUMNS " FROM seg WHERE first <= ? "
			  "ORDER BY first DESC LIMIT 1");
	index_query_u64(&q, paddr);
	found = index_query_step(&q);
	if (found) {
		seg = row(&q);
		found = q.rc == 0 && paddr >= seg.first && paddr - seg.first < seg.span;
		if (found)
			answer = fn(ctx, &seg);
	}
	rc = index_query_end(&q, err);
	if (rc == 0 && !found)
		return err_set(err, -ENOENT, "no segment holds page " PADDR_FMT, PADDR_ARG(paddr));
	return rc < 0 ? rc : answer;
}

int index_seg_delete(struct index *ix, uint64_t first, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_SEG_DELETE, "DELETE FROM seg WHERE first = ?");
	index_query_u64(&q, first);
	return index_query_run(&q, err);
}

int index_seg_each(struct index *ix, int (*fn)(void *ctx, const struct index_seg *seg),
		   void *ctx, struct err *err)
{
	struct index_query q;
	int rc, stop = 0;

	index_query_begin(&q, ix, INDEX_SEG_EACH, "SELECT " COLUMNS " FROM seg ORDER BY first");
	while (stop == 0 && index_query_step(&q)) {
		struct index_seg seg = row(&q);

		if (q.rc == 0)
			stop = fn(ctx, &seg);
	}
	rc = index_query_end(&q, err);
	return rc < 0 ? rc : stop;
}
