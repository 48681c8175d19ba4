/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hooks need no checksum: a wrong one makes dedup look at a list in which it
 * does not find the digest.
 */
#include "store/index-private.h"

int index_hook_put(struct index *ix, uint64_t key, uint64_t seg_first, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_HOOK_PUT,
			  "INSERT OR REPLACE INTO hook(key, seg) VALUES (?, ?)");
	index_query_u64(&q, key);
	index_query_u64(&q, seg_first);
	return index_query_run(&q, err);
}

int index_hook_find(struct index *ix, uint64_t key, uint64_t *ret_seg_first)
{
	struct index_query q;
	uint64_t seg = 0;
	bool found;
	int rc;

	index_query_begin(&q, ix, INDEX_HOOK_FIND, "SELECT seg FROM hook WHERE key = ?");
	index_query_u64(&q, key);
	found = index_query_step(&q);
	if (found)
		seg = index_query_col(&q, 0);
	rc = index_query_end(&q, NULL);
	if (rc < 0 || !found)
		return rc < 0 ? rc : -ENOENT;
	*ret_seg_first = seg;
	return 0;
}

int index_hook_sweep(struct index *ix, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_HOOK_SWEEP,
			  "DELETE FROM hook WHERE seg NOT IN (SELECT first FROM seg)");
	return index_query_run(&q, err);
}

int index_hook_count(struct index *ix, uint64_t *ret, struct err *err)
{
	struct index_query q;
	uint64_t n = 0;
	int rc;

	index_query_begin(&q, ix, INDEX_HOOK_COUNT, "SELECT count(*) FROM hook");
	if (index_query_step(&q))
		n = index_query_col(&q, 0);
	rc = index_query_end(&q, err);
	if (rc == 0)
		*ret = n;
	return rc;
}
