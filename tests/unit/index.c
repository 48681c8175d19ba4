/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rows of every table, and that a changed one is noticed.  Opening, meta,
 * transactions and migration are in index-file.c.
 */
#include <sys/stat.h>

#include "tests/unit/index-fixture.h"

static struct digest digest_of(int n)
{
	struct digest d = {.b = {(uint8_t)n, (uint8_t)(n >> 8), 0x5a}};

	d.b[31] = (uint8_t)n;
	return d;
}

/* ---- pack ---- */

static int list_pack(void *ctx, const struct index_pack *p)
{
	char *out = ctx;

	(void)sprintf(out + strlen(out), "%u:%llu:%u:%d ", p->number, (unsigned long long)p->end,
		      p->next_ord, p->sealed);
	return p->number == 99 ? 42 : 0;
}

static void test_pack(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path);
	struct index_pack p = {.number = 10, .end = 1ull << 33, .next_ord = 7}, got;
	char list[128] = "";

	is_err(index_pack_get(ix, 10, &got, &err), &err, -ENOENT, "there is no pack 0000000a");
	is_err(index_pack_last(ix, &got, &err), &err, -ENOENT, "there are no packs");
	is_int(index_pack_put(ix, &p, &err), 0, "pack: a row");
	is_int(index_pack_get(ix, 10, &got, &err), 0, "is found");
	ok(got.number == 10 && got.end == 1ull << 33 && got.next_ord == 7 && !got.sealed,
	   "as it was");
	p.sealed = true;
	is_int(index_pack_put(ix, &p, &err), 0, "it is replaced");
	p = (struct index_pack){.number = 2, .end = 64, .next_ord = UINT32_MAX};
	is_int(index_pack_put(ix, &p, &err), 0, "a second one");
	is_int(index_pack_each(ix, list_pack, list, &err), 0, "both are walked");
	is_str(list, "2:64:4294967295:0 10:8589934592:7:1 ", "by number");
	is_int(index_pack_last(ix, &got, &err), 0, "the last one");
	is_int(got.number, 10, "is the highest");
	p.number = 99;
	is_int(index_pack_put(ix, &p, &err), 0, "a third");
	is_int(index_pack_each(ix, list_pack, list, &err), 42, "a callback's answer ends the walk");
	is_int(index_pack_delete(ix, 99, &err), 0, "it is deleted");
	is_int(index_pack_get(ix, 99, &got, NULL), -ENOENT, "and gone");
	is_int(index_pack_delete(ix, 99, &err), 0, "deleting what is not there is fine");
	index_close(ix);
}

/* ---- seg ---- */

static int check_seg(void *ctx, const struct index_seg *s)
{
	struct index_seg *want = ctx;

	is_int(s->first, want->first, "segment: first");
	is_int(s->span, want->span, "span");
	is_int(s->pack, want->pack, "pack");
	is_int(s->off, want->off, "off");
	is_int(s->dig_off, want->dig_off, "dig_off");
	is_int(s->dig_len, want->dig_len, "dig_len");
	is_int(s->table_len, want->table_len, "table length");
	is_mem(s->table, want->table, want->table_len, "table");
	return 5;
}

static int count_seg(void *ctx, const struct index_seg *s)
{
	(void)s;
	++*(int *)ctx;
	return 0;
}

static void test_seg(void)
{
	struct index *ix = new_index(new_path());
	static char table[20000];
	struct index_seg s = {.first = 1ull << 32, .span = 100, .pack = 1, .off = 64,
			       .dig_off = 99999, .dig_len = 3200, .table = "tab", .table_len = 3};
	struct index_seg far = {.first = 3ull << 32 | 50, .span = 16384, .pack = 7, .off = 4096,
				 .dig_off = 8192, .dig_len = 11, .table = table,
				 .table_len = sizeof(table)};
	int n = 0;

	memset(table, 0xa5, sizeof(table));
	is_int(index_seg_put(ix, &far, &err), 0, "a long table");
	is_int(index_seg_put(ix, &s, &err), 0, "a short one");
	is_int(index_seg_find(ix, s.first, check_seg, &s, &err), 5, "by its first page");
	is_int(index_seg_find(ix, s.first + 99, check_seg, &s, &err), 5, "by its last page");
	is_int(index_seg_find(ix, far.first + 16383, check_seg, &far, &err), 5, "the other");
	is_err(index_seg_find(ix, s.first + 100, check_seg, &s, &err), &err, -ENOENT,
	       "no segment holds page 1:100");
	is_err(index_seg_find(ix, 5, check_seg, &s, &err), &err, -ENOENT,
	       "no segment holds page 0:5");
	s.pack = 9;
	is_int(index_seg_put(ix, &s, &err), 0, "it is replaced");
	is_int(index_seg_find(ix, s.first, check_seg, &s, &err), 5, "and found");
	is_int(index_seg_each(ix, count_seg, &n, &err), 0, "both are walked");
	is_int(n, 2, "once each");
	is_int(index_seg_delete(ix, far.first, &err), 0, "one is deleted");
	is_int(index_seg_find(ix, far.first, check_seg, &far, NULL), -ENOENT, "and gone");
	index_close(ix);
}

/* ---- hook ---- */

static void test_hook(void)
{
	struct index *ix = new_index(new_path());
	struct index_seg s = {.first = 1ull << 32, .span = 1, .pack = 1, .off = 64, .table = "",
			       .table_len = 0};
	uint64_t seg = 1, n = 0;

	is_int(index_hook_find(ix, 3, &seg), -ENOENT, "hook: none");
	is_int(seg, 1, "nothing is written then");
	is_int(index_hook_put(ix, UINT64_MAX, 1ull << 32, &err), 0, "the largest key");
	is_int(index_hook_put(ix, 0, 2ull << 32, &err), 0, "the smallest");
	is_int(index_hook_find(ix, UINT64_MAX, &seg), 0, "is found");
	ok(seg == 1ull << 32, "as it was");
	is_int(index_hook_put(ix, 0, 3ull << 32, &err), 0, "the newest");
	is_int(index_hook_find(ix, 0, &seg), 0, "is found");
	ok(seg == 3ull << 32, "and wins");
	is_int(index_hook_count(ix, &n, &err), 0, "they are counted");
	is_int(n, 2, "two");
	is_int(index_seg_put(ix, &s, &err), 0, "one of their segments is there");
	is_int(index_hook_sweep(ix, &err), 0, "a sweep");
	is_int(index_hook_find(ix, 0, &seg), -ENOENT, "removes the hook without a segment");
	is_int(index_hook_find(ix, UINT64_MAX, &seg), 0, "and leaves the other");
	index_close(ix);
}

/* ---- frame ---- */

static int copy_frame(void *ctx, const struct index_frame *f)
{
	struct index_frame *out = ctx;

	*out = *f;
	out->runs = f->runs_len == 4 && memcmp(f->runs, "runs", 4) == 0 ? "same" : "other";
	return 3;
}

static int sum_fids(void *ctx, const struct index_frame *f)
{
	int *sum = ctx;

	*sum = *sum * 10 + (int)f->fid;
	return 0;
}

static void test_frame(void)
{
	struct index *ix = new_index(new_path());
	struct index_frame f = {.fid = 2, .digest = digest_of(2), .pack = 1, .runs = "runs",
				 .runs_len = 4}, got;
	struct digest d = digest_of(7);
	uint64_t fid = 0;
	int sum = 0;

	is_err(index_frame_get(ix, 2, copy_frame, &got, &err), &err, -ENOENT,
	       "there is no frame 2");
	is_int(index_frame_find(ix, &f.digest, &fid), -ENOENT, "nor by digest");
	is_int(index_frame_digest(ix, 2, &d), -ENOENT, "nor its digest");
	is_int(index_frame_put(ix, &f, &err), 0, "frame: a row");
	is_int(index_frame_get(ix, 2, copy_frame, &got, &err), 3, "is found");
	ok(got.fid == 2 && got.pack == 1 && digest_equal(&got.digest, &f.digest), "as it was");
	is_str(got.runs, "same", "with its runs");
	is_int(index_frame_find(ix, &f.digest, &fid), 0, "by digest");
	is_int(fid, 2, "too");
	is_int(index_frame_digest(ix, 2, &d), 0, "its digest alone");
	ok(digest_equal(&d, &f.digest), "is the same");
	is_int(index_frame_set_pack(ix, 2, 8, &err), 0, "it moves to another pack");
	is_int(index_frame_get(ix, 2, copy_frame, &got, &err), 3, "and is found");
	ok(got.pack == 8 && !strcmp(got.runs, "same"), "there");
	is_err(index_frame_set_pack(ix, 5, 8, &err), &err, -ENOENT, "there is no frame 5");

	/* Two digests with the same first eight bytes. */
	f.fid = 1;
	f.digest.b[31] ^= 1;
	is_int(index_frame_put(ix, &f, &err), 0, "a digest with the same beginning");
	is_int(index_frame_find(ix, &f.digest, &fid), 0, "is found");
	is_int(fid, 1, "and not mistaken");
	f.digest.b[31] ^= 2;
	is_int(index_frame_find(ix, &f.digest, &fid), -ENOENT, "a third is not there");
	is_int(index_frame_each(ix, sum_fids, &sum, &err), 0, "they are walked");
	is_int(sum, 12, "by id");
	is_int(index_frame_delete(ix, 2, &err), 0, "one is deleted");
	is_int(index_frame_digest(ix, 2, &d), -ENOENT, "and gone");
	index_close(ix);
}

/* A damaged frame is not offered to a commit, which then stores its content again. */
static void test_frame_damaged(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path);
	struct index_frame f = {.fid = 1, .digest = digest_of(1), .pack = 1, .runs = "runs",
				 .runs_len = 4}, got;
	uint64_t fid = 0;

	is_int(index_frame_put(ix, &f, &err), 0, "a frame");
	f.fid = 2;
	is_int(index_frame_put(ix, &f, &err), 0, "and one of the same content");
	index_close(ix);
	sql(path, "UPDATE frame SET runs = x'72756e74' WHERE fid = 1");
	ix = new_index(path);
	is_int(index_frame_find(ix, &f.digest, &fid), 0, "the whole one is found");
	is_int(fid, 2, "and not the damaged one");
	is_err(index_frame_get(ix, 1, copy_frame, &got, &err), &err, -EBADMSG,
	       "index '%s' is damaged: the checksum of frame 1's row differs", path);
	is_int(index_frame_set_pack(ix, 1, 3, NULL), -EBADMSG, "damage is not sealed over");
	is_int(index_frame_delete(ix, 2, &err), 0, "without the whole one");
	is_int(index_frame_find(ix, &f.digest, &fid), -ENOENT, "none is found");
	index_close(ix);
}

/* ---- layer ---- */

static int copy_layer(void *ctx, const struct index_layer *l)
{
	struct index_layer *out = ctx;

	*out = *l;
	out->manifest = l->manifest_len == 8 && !memcmp(l->manifest, "manifest", 8) ? "same" : "no";
	return 4;
}

static int list_ids(void *ctx, const struct digest *id)
{
	char *out = ctx;

	(void)sprintf(out + strlen(out), "%02x%02x ", id->b[0], id->b[1]);
	return 0;
}

static int list_seqs(void *ctx, const struct index_layer *l)
{
	char *out = ctx;

	(void)sprintf(out + strlen(out), "%llu ", (unsigned long long)l->seq);
	return 0;
}

static void put_layer(struct index *ix, int first, int second, uint64_t seq)
{
	struct index_layer l = {.id.b = {(uint8_t)first, (uint8_t)second}, .seq = seq, .pack = 1,
				 .manifest = "manifest", .manifest_len = 8};

	is_int(index_layer_put(ix, &l, &err), 0, "layer %02x%02x", first, second);
}

static void test_layer(void)
{
	struct index *ix = new_index(new_path());
	struct digest id = {.b = {0xab, 0xcd}};
	struct index_layer got;
	char list[64] = "";

	is_err(index_layer_get(ix, &id, copy_layer, &got, &err), &err, -ENOENT,
	       "there is no layer "
	       "abcd000000000000000000000000000000000000000000000000000000000000");
	put_layer(ix, 0xab, 0xcd, 9);
	put_layer(ix, 0xab, 0xc0, 3);
	put_layer(ix, 0xaf, 0xff, 5);
	is_int(index_layer_get(ix, &id, copy_layer, &got, &err), 4, "a layer is found");
	ok(got.seq == 9 && got.pack == 1 && !strcmp(got.manifest, "same"), "as it was");
	is_int(index_layer_set_pack(ix, &id, 6, &err), 0, "it moves to another pack");
	is_int(index_layer_get(ix, &id, copy_layer, &got, &err), 4, "and is found");
	ok(got.pack == 6 && !strcmp(got.manifest, "same"), "there");
	is_int(index_layer_each(ix, list_seqs, list, &err), 0, "they are walked");
	is_str(list, "3 5 9 ", "by sequence number");

	list[0] = '\0';
	is_int(index_layer_prefix(ix, "ab", list_ids, list, &err), 0, "by two digits");
	is_str(list, "abc0 abcd ", "in order");
	list[0] = '\0';
	is_int(index_layer_prefix(ix, "abcd0", list_ids, list, &err), 0, "by five");
	is_str(list, "abcd ", "one");
	list[0] = '\0';
	is_int(index_layer_prefix(ix, "a", list_ids, list, &err), 0, "by one");
	is_str(list, "abc0 abcd afff ", "all");
	list[0] = '\0';
	is_int(index_layer_prefix(ix, "ac", list_ids, list, &err), 0, "by another");
	is_str(list, "", "none");
	is_err(index_layer_prefix(ix, "xy", list_ids, list, &err), &err, -EINVAL,
	       "'xy' is not the beginning of a layer's name");
	is_int(index_layer_delete(ix, &id, &err), 0, "one is deleted");
	is_int(index_layer_get(ix, &id, copy_layer, &got, NULL), -ENOENT, "and gone");
	put_layer(ix, 0xaf, 0xff, 11);
	list[0] = '\0';
	is_int(index_layer_each(ix, list_seqs, list, &err), 0, "one that is committed again");
	is_str(list, "3 11 ", "takes its new place");
	index_close(ix);
}

/* ---- decision ---- */

static int list_decision(void *ctx, const struct index_decision *d)
{
	char *out = ctx;

	(void)sprintf(out + strlen(out), "%d %.*s %llu %u/%u %s%.*s;", d->kind, (int)d->key_len,
		      (const char *)d->key, (unsigned long long)d->seq, d->pack, d->opack,
		      d->has_value ? "=" : "none", (int)d->value_len, (const char *)d->value);
	return 0;
}

static int put_decision(struct index *ix, int kind, const char *key, const char *value)
{
	struct index_decision d = {
		.kind = (uint8_t)kind, .key = key, .key_len = (uint32_t)strlen(key), .seq = 8,
		.pack = 3, .opack = 2, .has_value = value != NULL, .value = value,
		.value_len = value ? (uint32_t)strlen(value) : 0,
	};

	return index_decision_put(ix, &d, &err);
}

static int get_decision(struct index *ix, int kind, const char *key, char *list)
{
	struct index_decision what = {.kind = (uint8_t)kind, .key = key,
				      .key_len = (uint32_t)strlen(key)};

	return index_decision_get(ix, &what, list_decision, list, &err);
}

static void test_decision(void)
{
	struct index *ix = new_index(new_path());
	char list[256] = "", long_key[TAG_NAME_MAX + 2];

	is_err(get_decision(ix, 1, "a", list), &err, -ENOENT, "nothing was decided");
	is_int(put_decision(ix, 1, "b", "value"), 0, "decision: with a value");
	is_int(put_decision(ix, 1, "a", NULL), 0, "none");
	is_int(put_decision(ix, 2, "a", ""), 0, "an empty one");
	is_int(get_decision(ix, 1, "b", list), 0, "is found");
	is_str(list, "1 b 8 3/2 =value;", "as it was");
	list[0] = '\0';
	is_int(index_decision_each(ix, 0, list_decision, list, &err), 0, "all are walked");
	is_str(list, "1 a 8 3/2 none;1 b 8 3/2 =value;2 a 8 3/2 =;", "by kind and key");
	list[0] = '\0';
	is_int(index_decision_each(ix, 2, list_decision, list, &err), 0, "those of a kind");
	is_str(list, "2 a 8 3/2 =;", "alone");
	is_int(put_decision(ix, 1, "b", "other"), 0, "it is replaced");
	is_int(index_decision_delete(ix, 1, "a", 1, &err), 0, "another deleted");
	list[0] = '\0';
	is_int(index_decision_each(ix, 1, list_decision, list, &err), 0, "what is left");
	is_str(list, "1 b 8 3/2 =other;", "is right");
	memset(long_key, 'k', sizeof(long_key) - 1);
	long_key[sizeof(long_key) - 1] = '\0';
	is_err(put_decision(ix, 1, long_key, NULL), &err, -EINVAL,
	       "the key of a decision is too long");
	index_close(ix);
}

static void test_decision_under(void)
{
	struct index_decision what = {.kind = 4, .key = "ab", .key_len = 2};
	static const char *const keys[] = {"aa", "ab", "abz", "aba", "abab", "ac", "ab\xff"};
	struct index *ix = new_index(new_path());
	char list[256] = "";

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		is_int(put_decision(ix, 4, keys[i], NULL), 0, "decision %zu", i);
	is_int(put_decision(ix, 3, "abc", NULL), 0, "and one of another kind");
	is_int(index_decision_under(ix, &what, list_decision, list, &err), 0, "under a key");
	is_str(list, "4 aba 8 3/2 none;4 abab 8 3/2 none;4 abz 8 3/2 none;",
	       "are those that go on behind it");
	what.key_len = TAG_NAME_MAX + 1;
	is_err(index_decision_under(ix, &what, list_decision, list, &err), &err, -EINVAL,
	       "the key of a decision is too long");
	index_close(ix);
}

/* ---- damage: any value of any column of a row with a checksum ---- */

static void fill(const char *path)
{
	struct index *ix = new_index(path);
	struct index_pack p = {.number = 1, .end = 640, .next_ord = 5};
	struct index_seg s = {.first = 1ull << 32, .span = 5, .pack = 1, .off = 64, .dig_off = 99,
			       .dig_len = 12, .table = "table", .table_len = 5};
	struct index_frame f = {.fid = 1, .digest = digest_of(1), .pack = 1, .runs = "runs",
				 .runs_len = 4};
	struct index_layer l = {.id.b = {1}, .seq = 1, .pack = 1, .manifest = "m",
				 .manifest_len = 1};

	if (index_pack_put(ix, &p, &err) || index_seg_put(ix, &s, &err) ||
	    index_frame_put(ix, &f, &err) || index_layer_put(ix, &l, &err) ||
	    put_decision(ix, 1, "tag", "value"))
		bail("cannot fill an index: %s", err.text);
	index_close(ix);
}

static int any_pack(void *ctx, const struct index_pack *p)
{
	(void)ctx;
	(void)p;
	return 0;
}

static int any_seg(void *ctx, const struct index_seg *s)
{
	(void)ctx;
	(void)s;
	return 0;
}

static int any_frame(void *ctx, const struct index_frame *f)
{
	(void)ctx;
	(void)f;
	return 0;
}

static int any_layer(void *ctx, const struct index_layer *l)
{
	(void)ctx;
	(void)l;
	return 0;
}

static int any_decision(void *ctx, const struct index_decision *d)
{
	(void)ctx;
	(void)d;
	return 0;
}

/* The walk that meets the row. */
static int walk(struct index *ix, const char *table)
{
	switch (*table) {
	case 'p':
		return index_pack_each(ix, any_pack, NULL, &err);
	case 's':
		return index_seg_each(ix, any_seg, NULL, &err);
	case 'f':
		return index_frame_each(ix, any_frame, NULL, &err);
	case 'l':
		return index_layer_each(ix, any_layer, NULL, &err);
	default:
		return index_decision_each(ix, 0, any_decision, NULL, &err);
	}
}

static void keep_first(void *ctx, const char *fault)
{
	char *first = ctx;

	if (!*first)
		(void)snprintf(first, sizeof(err.text), "%s", fault);
}

static void test_damage(void)
{
	static const struct {
		const char *table, *change, *row;
	} cases[] = {
		{"pack", "published = published + 1", "pack 00000001"},
		{"pack", "number = 2", "pack 00000002"},
		{"pack", "next_ord = 4", "pack 00000001"},
		{"pack", "sealed = 1", "pack 00000001"},
		{"pack", "crc = crc + 1", "pack 00000001"},
		{"seg", "first = first + 1", "segment 1:1"},
		{"seg", "span = 6", "segment 1:0"},
		{"seg", "pack = 2", "segment 1:0"},
		{"seg", "off = 65", "segment 1:0"},
		{"seg", "dig_off = 98", "segment 1:0"},
		{"seg", "dig_len = 13", "segment 1:0"},
		{"seg", "chunks = x'00'", "segment 1:0"},
		{"frame", "fid = 2", "frame 2"},
		{"frame", "digest = zeroblob(32)", "frame 1"},
		{"frame", "pack = 2", "frame 1"},
		{"frame", "runs = x''", "frame 1"},
		{"layer", "id = zeroblob(32)", "layer 000000000000"},
		{"layer", "seq = 2", "layer 010000000000"},
		{"layer", "pack = 2", "layer 010000000000"},
		{"layer", "manifest = 'n'", "layer 010000000000"},
		{"decision", "kind = 2", "decision 8"},
		{"decision", "key = 'gat'", "decision 8"},
		{"decision", "seq = 9", "decision 9"},
		{"decision", "pack = 9", "decision 8"},
		{"decision", "opack = 9", "decision 8"},
		{"decision", "value = x''", "decision 8"},
		{"decision", "value = NULL", "decision 8"},
		{"decision", "key = zeroblob(1000)", "decision 8"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = new_path();
		char text[256], fault[sizeof(err.text)] = "";
		struct index *ix;

		fill(path);
		(void)snprintf(text, sizeof(text), "UPDATE %s SET %s", cases[i].table,
			       cases[i].change);
		sql(path, text);
		ix = new_index(path);
		is_err(walk(ix, cases[i].table), &err, -EBADMSG,
		       "index '%s' is damaged: the checksum of %s's row differs", path,
		       cases[i].row);
		is_int(index_verify(ix, keep_first, fault, &err), 0, "%s: verify", text);
		ok(strstr(fault, cases[i].row), "names it: %s", fault);
		index_close(ix);
	}
}

static void test_verify(void)
{
	const char *path = new_path();
	char fault[sizeof(err.text)] = "";
	struct index *ix;

	fill(path);
	ix = new_index(path);
	is_int(index_verify(ix, keep_first, fault, &err), 0, "verify of a whole index");
	is_str(fault, "", "finds nothing");
	index_close(ix);
	sql(path, "UPDATE frame SET digest = x'0102'");
	ix = new_index(path);
	is_int(index_verify(ix, keep_first, fault, &err), 0, "a digest of two bytes");
	ok(strstr(fault, "a value has 2 bytes instead of 32"), "is told: %s", fault);
	is_int(index_frame_digest(ix, 1, &(struct digest){.b = {0}}), -EBADMSG,
	       "and is not a digest");
	index_close(ix);
}

int main(void)
{
	test_pack();
	test_seg();
	test_hook();
	test_frame();
	test_frame_damaged();
	test_layer();
	test_decision();
	test_decision_under();
	test_damage();
	test_verify();
	return tap_done();
}
