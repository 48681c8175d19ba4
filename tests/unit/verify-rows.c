/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What verify says where the index is wrong under right checksums. */
#include "store/frame.h"
#include "tests/unit/verify-fixture.h"

static void test_pack_row(void)
{
	struct err err;

	make("pack-row");
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_pack_delete(s.store->index, 1, &err), &err, "delete");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	ok(verify(false) > 0, "a pack without its row is a fault");
	is_str(find("pack") ? find("pack")->reason : "",
	       "the index names it for a segment, but does not know it", "which says so");
	ok(find("pack") && find("pack")->nlayers == 4, "and whom it hurts");
	store_close(s.store);
}

static int move_seg(void *ctx, const struct index_seg *row)
{
	struct index_seg moved = *row;
	struct err err;

	if (row->pack != 2)
		return 0;
	moved.off += *(uint64_t *)ctx;
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_seg_put(s.store->index, &moved, &err), &err, "put");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	return 1;
}

static void test_seg_row(void)
{
	uint64_t by = 1;
	struct err err;

	make("seg-row");
	(void)index_seg_find(s.store->index, UINT64_C(2) << 32, move_seg, &by, &err);
	series_reopen(&s);
	ok(verify(false) > 10, "a row that is wrong about a segment's place");
	is_str(seen[0].reason, "no record begins there", "is a fault of each chunk");
	ok(names_are_right(), "of all layers that have one");
	store_close(s.store);
	make("seg-row2");
	by = record_at(2, RECORD_CHUNK, 1).off - record_at(2, RECORD_CHUNK, 0).off;
	(void)index_seg_find(s.store->index, UINT64_C(2) << 32, move_seg, &by, &err);
	series_reopen(&s);
	(void)verify(false);
	is_str(seen[0].reason, "another record is in its place", "even where records begin");
	store_close(s.store);
}

static int misdirect(void *ctx, const struct index_frame *row)
{
	struct runs map = {0};
	struct buf runs = {0};
	struct index_frame wrong = *row;
	struct err err;

	runs_add(&map, *(uint64_t *)ctx, 1);
	runs_add(&map, 0, FRAME_PAGES - 1);
	runs_encode(&map, &runs);
	wrong.runs = runs.data;
	wrong.runs_len = (uint32_t)runs.len;
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_frame_put(s.store->index, &wrong, &err), &err, "put");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	runs_fini(&map);
	buf_fini(&runs);
	return 0;
}

static void test_frame_row(void)
{
	uint64_t to = (UINT64_C(9) << 32) + 7;
	const struct seen *f = NULL;
	struct err err;

	make("frame-row");
	(void)index_frame_get(s.store->index, 1, misdirect, &to, &err);
	(void)verify(false);
	for (size_t i = 0; i < nseen; i++)
		if (strstr(seen[i].reason, "page 9:7 is not in the store"))
			f = &seen[i];
	ok(f && f->id == 1 && strcmp(f->what, "maps") == 0, "a map that points nowhere is a fault");
	ok(f && f->hurts[0], "of the layers that have the frame");
	ok(find("maps") && strstr(find("maps")->reason, "is not the index's"),
	   "and the pack's copy differs: %s", find("maps") ? find("maps")->reason : "");
	to = UINT64_C(1) << 32;
	(void)index_frame_get(s.store->index, 1, misdirect, &to, &err);
	series_reopen(&s);
	(void)verify(true);
	f = NULL;
	for (size_t i = 0; i < nseen; i++)
		if (strcmp(seen[i].reason, "the digest of frame 1 differs") == 0)
			f = &seen[i];
	ok(f && f->hurts[0], "one that points at other pages is found by a deep look");
	store_close(s.store);
}

static int retime(void *ctx, const struct index_layer *row)
{
	struct index_layer wrong = *row;
	uint8_t *copy = malloc(row->manifest_len);
	struct err err;

	memcpy(copy, row->manifest, row->manifest_len);
	copy[*(size_t *)ctx] ^= 1;
	wrong.manifest = copy;
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_layer_put(s.store->index, &wrong, &err), &err, "put");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	free(copy);
	return 0;
}

static void test_layer_row(void)
{
	size_t parent = 1 + DIGEST_LEN + 1 + 5;
	bool differs = false;
	struct err err;

	make("layer-row");
	(void)index_layer_get(s.store->index, &s.layer[2].id, retime, &parent, &err);
	(void)verify(false);
	for (size_t i = 0; i < nseen; i++)
		differs |= strcmp(seen[i].reason, "its Merkle root differs") == 0 &&
			   seen[i].hurts[2];
	ok(differs, "a layer that is not what its name says");
	ok(is_hurt(2) && !is_hurt(1) && !is_hurt(3), "hurts itself alone");
	store_close(s.store);
}

static void test_tag_row(void)
{
	uint8_t nobody[DIGEST_LEN] = {1, 2, 3};
	struct index_decision d = {
		.kind = DECISION_TAG, .key = "lost", .key_len = 4, .seq = 999, .pack = 1,
		.opack = 1, .has_value = true, .value = nobody, .value_len = DIGEST_LEN,
	};
	bool told = false;
	struct err err;

	make("tag-row");
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_decision_put(s.store->index, &d, &err), &err, "put");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	(void)verify(false);
	for (size_t i = 0; i < nseen; i++)
		told |= strcmp(seen[i].reason, "tag 'lost' names a layer that is not there") == 0;
	ok(told, "a tag that points nowhere");
	store_close(s.store);
}

/* A list with other digests and a right checksum: only the bytes can tell. */
static void test_deep(void)
{
	struct place p;
	struct record r;
	uint8_t *bytes;
	char path[PATH_MAX + 64];
	struct err err;
	int fd;

	make("deep");
	p = record_at(2, RECORD_DIGESTS, 0);
	bytes = malloc(p.len);
	series_must(packs_read(s.store->packs, 2, p.off, bytes, p.len, &err), &err, "read");
	series_must(record_decode(bytes, &r), NULL, "decode");
	bytes[p.len - 1] ^= 1;
	record_encode(packs_seed(s.store->packs), &r, bytes + RECORD_HEADER_LEN, bytes);
	series_pack_path(&s, 2, path, sizeof(path));
	fd = open(path, O_WRONLY);
	if (fd < 0 || pwrite(fd, bytes, p.len, (off_t)p.off) != (ssize_t)p.len)
		bail("cannot write");
	close(fd);
	free(bytes);
	series_reopen(&s);
	is_int(verify(false), 0, "a wrong digest under a right checksum passes a quick look");
	ok(verify(true) > 0, "but not a deep one");
	ok(find("chunk") && strcmp(find("chunk")->reason, "the digest of a page differs") == 0,
	   "which names the chunk");
	ok(find("maps"), "and the frame");
	store_close(s.store);
}

int main(void)
{
	test_pack_row();
	test_seg_row();
	test_frame_row();
	test_layer_row();
	test_tag_row();
	test_deep();
	return tap_done();
}
