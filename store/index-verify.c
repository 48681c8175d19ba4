/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/index-private.h"

struct faults {
	void (*fn)(void *ctx, const char *fault);
	void *ctx;
};

/* Each row on its own: a damaged one is told, and the walk goes on. */
static int check_table(struct index *ix, const struct index_table *table,
		       const struct faults *faults, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_ONCE, table->sql);
	while (index_query_step(&q)) {
		table->check(&q);
		if (q.rc != -EBADMSG)
			continue;
		faults->fn(faults->ctx, q.err.text);
		q.rc = 0;
	}
	if (q.rc == -EBADMSG) {		/* the table cannot be walked any further */
		faults->fn(faults->ctx, q.err.text);
		q.rc = 0;
	}
	return index_query_end(&q, err);
}

static int check_integrity(struct index *ix, const struct faults *faults, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_ONCE, "PRAGMA integrity_check");
	while (index_query_step(&q)) {
		const char *text = (const char *)sqlite3_column_text(q.stmt, 0);

		if (text && sqlite3_stricmp(text, "ok") == 0)
			continue;
		index_query_damaged(&q, "%s", text ? text : "no answer");
		faults->fn(faults->ctx, q.err.text);
		q.rc = 0;
	}
	if (q.rc == -EBADMSG) {
		faults->fn(faults->ctx, q.err.text);
		q.rc = 0;
	}
	return index_query_end(&q, err);
}

int index_verify(struct index *ix, void (*fn)(void *ctx, const char *fault), void *ctx,
		 struct err *err)
{
	static const struct index_table *const tables[] = {
		&index_meta_table, &index_pack_table, &index_seg_table,
		&index_frame_table, &index_layer_table, &index_decision_table,
	};
	const struct faults faults = {fn, ctx};
	int rc = check_integrity(ix, &faults, err);

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && rc == 0; i++)
		rc = check_table(ix, tables[i], &faults, err);
	return rc;
}
