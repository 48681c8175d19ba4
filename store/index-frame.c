/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "store/index-private.h"

#define COLUMNS "fid, digest, pack, crc, runs"

static int64_t sum_of(const struct index_frame *frame)
{
	struct index_sum sum;

	index_sum_init(&sum, 'f');
	index_sum_u64(&sum, frame->fid);
	index_sum_bytes(&sum, frame->digest.b, DIGEST_LEN);
	index_sum_u64(&sum, frame->pack);
	return index_sum_end(&sum, frame->runs, frame->runs_len);
}

static struct index_frame row(struct index_query *q)
{
	struct index_frame frame = {
		.fid = index_query_col(q, 0),
		.pack = (uint32_t)index_query_col(q, 2),
	};

	memcpy(frame.digest.b, index_query_col_exact(q, 1, DIGEST_LEN), DIGEST_LEN);
	frame.runs = index_query_col_blob(q, 4, &frame.runs_len);
	if ((int64_t)index_query_col(q, 3) != sum_of(&frame))
		index_query_damaged(q, "the checksum of frame %llu's row differs",
				    (unsigned long long)frame.fid);
	return frame;
}

static void check(struct index_query *q)
{
	(void)row(q);
}

const struct index_table index_frame_table = {"SELECT " COLUMNS " FROM frame", check};

int index_frame_put(struct index *ix, const struct index_frame *frame, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_FRAME_PUT,
			  "INSERT OR REPLACE INTO frame(" COLUMNS ", key) "
			  "VALUES (?, ?, ?, ?, ?, ?)");
	index_query_u64(&q, frame->fid);
	index_query_blob(&q, frame->digest.b, DIGEST_LEN);
	index_query_u64(&q, frame->pack);
	index_query_u64(&q, (uint64_t)sum_of(frame));
	index_query_blob(&q, frame->runs, frame->runs_len);
	index_query_u64(&q, digest_key(&frame->digest));
	return index_query_run(&q, err);
}

int index_frame_get(struct index *ix, uint64_t fid,
		    int (*fn)(void *ctx, const struct index_frame *frame), void *ctx,
		    struct err *err)
{
	struct index_query q;
	struct index_frame frame;
	bool found;
	int rc, answer = 0;

	index_query_begin(&q, ix, INDEX_FRAME_GET, "SELECT " COLUMNS " FROM frame WHERE fid = ?");
	index_query_u64(&q, fid);
	found = index_query_step(&q);
	if (found) {
		frame = row(&q);
		if (q.rc == 0 && frame.fid != fid)
			index_query_damaged(&q, "frame %llu is not at its place",
					    (unsigned long long)fid);
		if (q.rc == 0)
			answer = fn(ctx, &frame);
	}
	rc = index_query_end(&q, err);
	if (rc == 0 && !found)
		return err_set(err, -ENOENT, "there is no frame %llu", (unsigned long long)fid);
	return rc < 0 ? rc : answer;
}

int index_frame_digest(struct index *ix, uint64_t fid, struct digest *ret)
{
	struct index_query q;
	struct digest digest;
	bool found;
	int rc;

	index_query_begin(&q, ix, INDEX_FRAME_DIGEST, "SELECT digest FROM frame WHERE fid = ?");
	index_query_u64(&q, fid);
	found = index_query_step(&q);
	if (found)
		memcpy(digest.b, index_query_col_exact(&q, 0, DIGEST_LEN), DIGEST_LEN);
	rc = index_query_end(&q, NULL);
	if (rc < 0 || !found)
		return rc < 0 ? rc : -ENOENT;
	*ret = digest;
	return 0;
}

/* A damaged row is passed over: the same content is then stored once more. */
static bool is_frame(struct index_query *q, const struct digest *digest, uint64_t *ret_fid)
{
	struct index_frame frame = row(q);

	if (q->rc == -EBADMSG)
		q->rc = 0;
	else if (q->rc == 0 && digest_equal(&frame.digest, digest)) {
		*ret_fid = frame.fid;
		return true;
	}
	return false;
}

int index_frame_find(struct index *ix, const struct digest *digest, uint64_t *ret_fid)
{
	struct index_query q;
	uint64_t fid = 0;
	bool found = false;
	int rc;

	/* The newest first: an older one may have been stored anew because its pack is lost. */
	index_query_begin(&q, ix, INDEX_FRAME_FIND,
			  "SELECT " COLUMNS " FROM frame WHERE key = ? ORDER BY fid DESC");
	index_query_u64(&q, digest_key(digest));
	while (!found && index_query_step(&q))
		found = is_frame(&q, digest, &fid);
	rc = index_query_end(&q, NULL);
	if (rc < 0 || !found)
		return rc < 0 ? rc : -ENOENT;
	*ret_fid = fid;
	return 0;
}

struct move {
	struct index *ix;
	uint32_t pack;
	struct err *err;
};

static int put_moved(void *ctx, const struct index_frame *frame)
{
	const struct move *move = ctx;
	struct index_frame moved = *frame;

	moved.pack = move->pack;
	return index_frame_put(move->ix, &moved, move->err);
}

int index_frame_set_pack(struct index *ix, uint64_t fid, uint32_t pack, struct err *err)
{
	struct move move = {ix, pack, err};

	return index_frame_get(ix, fid, put_moved, &move, err);
}

int index_frame_delete(struct index *ix, uint64_t fid, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_FRAME_DELETE, "DELETE FROM frame WHERE fid = ?");
	index_query_u64(&q, fid);
	return index_query_run(&q, err);
}

int index_frame_each(struct index *ix, int (*fn)(void *ctx, const struct index_frame *frame),
		     void *ctx, struct err *err)
{
	struct index_query q;
	int rc, stop = 0;

	index_query_begin(&q, ix, INDEX_FRAME_EACH, "SELECT " COLUMNS " FROM frame ORDER BY fid");
	while (stop == 0 && index_query_step(&q)) {
		struct index_frame frame = row(&q);

		if (q.rc == 0)
			stop = fn(ctx, &frame);
	}
	rc = index_query_end(&q, err);
	return rc < 0 ? rc : stop;
}
