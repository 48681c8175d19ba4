/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "store/base/fmt.h"
#include "store/index-private.h"

#define COLUMNS "id, seq, pack, crc, manifest"

static int64_t sum_of(const struct index_layer *layer)
{
	struct index_sum sum;

	index_sum_init(&sum, 'l');
	index_sum_bytes(&sum, layer->id.b, DIGEST_LEN);
	index_sum_u64(&sum, layer->seq);
	index_sum_u64(&sum, layer->pack);
	return index_sum_end(&sum, layer->manifest, layer->manifest_len);
}

static struct index_layer row(struct index_query *q)
{
	struct index_layer layer = {
		.seq = index_query_col(q, 1),
		.pack = (uint32_t)index_query_col(q, 2),
	};
	char hex[DIGEST_HEX_LEN];

	memcpy(layer.id.b, index_query_col_exact(q, 0, DIGEST_LEN), DIGEST_LEN);
	layer.manifest = index_query_col_blob(q, 4, &layer.manifest_len);
	if ((int64_t)index_query_col(q, 3) != sum_of(&layer))
		index_query_damaged(q, "the checksum of layer %.12s's row differs",
				    fmt_hex(hex, layer.id.b, DIGEST_LEN));
	return layer;
}

static void check(struct index_query *q)
{
	(void)row(q);
}

const struct index_table index_layer_table = {"SELECT " COLUMNS " FROM layer", check};

int index_layer_put(struct index *ix, const struct index_layer *layer, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_LAYER_PUT,
			  "INSERT OR REPLACE INTO layer(" COLUMNS ") VALUES (?, ?, ?, ?, ?)");
	index_query_blob(&q, layer->id.b, DIGEST_LEN);
	index_query_u64(&q, layer->seq);
	index_query_u64(&q, layer->pack);
	index_query_u64(&q, (uint64_t)sum_of(layer));
	index_query_blob(&q, layer->manifest, layer->manifest_len);
	return index_query_run(&q, err);
}

static int no_layer(const struct digest *id, struct err *err)
{
	char hex[DIGEST_HEX_LEN];

	return err_set(err, -ENOENT, "there is no layer %s", fmt_hex(hex, id->b, DIGEST_LEN));
}

int index_layer_get(struct index *ix, const struct digest *id,
		    int (*fn)(void *ctx, const struct index_layer *layer), void *ctx,
		    struct err *err)
{
	struct index_query q;
	struct index_layer layer;
	bool found;
	int rc, answer = 0;

	index_query_begin(&q, ix, INDEX_LAYER_GET, "SELECT " COLUMNS " FROM layer WHERE id = ?");
	index_query_blob(&q, id->b, DIGEST_LEN);
	found = index_query_step(&q);
	if (found) {
		layer = row(&q);
		if (q.rc == 0 && !digest_equal(&layer.id, id))
			index_query_damaged(&q, "a layer is not at its place");
		if (q.rc == 0)
			answer = fn(ctx, &layer);
	}
	rc = index_query_end(&q, err);
	if (rc == 0 && !found)
		return no_layer(id, err);
	return rc < 0 ? rc : answer;
}

int index_layer_delete(struct index *ix, const struct digest *id, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_LAYER_DELETE, "DELETE FROM layer WHERE id = ?");
	index_query_blob(&q, id->b, DIGEST_LEN);
	return index_query_run(&q, err);
}

struct move {
	struct index *ix;
	uint32_t pack;
	struct err *err;
};

static int put_moved(void *ctx, const struct index_layer *layer)
{
	const struct move *move = ctx;
	struct index_layer moved = *layer;

	moved.pack = move->pack;
	return index_layer_put(move->ix, &moved, move->err);
}

int index_layer_set_pack(struct index *ix, const struct digest *id, uint32_t pack,
			 struct err *err)
{
	struct move move = {ix, pack, err};

	return index_layer_get(ix, id, put_moved, &move, err);
}

int index_layer_each(struct index *ix, int (*fn)(void *ctx, const struct index_layer *layer),
		     void *ctx, struct err *err)
{
	struct index_query q;
	int rc, stop = 0;

	index_query_begin(&q, ix, INDEX_LAYER_EACH, "SELECT " COLUMNS " FROM layer ORDER BY seq");
	while (stop == 0 && index_query_step(&q)) {
		struct index_layer layer = row(&q);

		if (q.rc == 0)
			stop = fn(ctx, &layer);
	}
	rc = index_query_end(&q, err);
	return rc < 0 ? rc : stop;
}

/* The least and the greatest id that begin with `prefix`. */
static int prefix_range(const char *prefix, struct digest *ret_low, struct digest *ret_high)
{
	size_t len = strlen(prefix);
	char low[DIGEST_HEX_LEN], high[DIGEST_HEX_LEN];

	if (len >= sizeof(low))
		return -EINVAL;
	memset(low, '0', sizeof(low) - 1);
	memset(high, 'f', sizeof(high) - 1);
	low[sizeof(low) - 1] = high[sizeof(high) - 1] = '\0';
	memcpy(low, prefix, len);
	memcpy(high, prefix, len);
	if (fmt_unhex(ret_low->b, DIGEST_LEN, low) < 0)
		return -EINVAL;
	return fmt_unhex(ret_high->b, DIGEST_LEN, high);
}

int index_layer_prefix(struct index *ix, const char *hex_prefix,
		       int (*fn)(void *ctx, const struct digest *id), void *ctx, struct err *err)
{
	struct index_query q;
	struct digest low, high, id;
	int rc, stop = 0;

	if (prefix_range(hex_prefix, &low, &high) < 0)
		return err_set(err, -EINVAL, "'%s' is not the beginning of a layer's name",
			       hex_prefix);
	index_query_begin(&q, ix, INDEX_LAYER_PREFIX,
			  "SELECT id FROM layer WHERE id BETWEEN ? AND ? ORDER BY id");
	index_query_blob(&q, low.b, DIGEST_LEN);
	index_query_blob(&q, high.b, DIGEST_LEN);
	while (stop == 0 && index_query_step(&q)) {
		memcpy(id.b, index_query_col_exact(&q, 0, DIGEST_LEN), DIGEST_LEN);
		if (q.rc == 0)
			stop = fn(ctx, &id);
	}
	rc = index_query_end(&q, err);
	return rc < 0 ? rc : stop;
}
