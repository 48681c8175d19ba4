/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/decide.h"

#include <sys/stat.h>

#include "store/append.h"
#include "store/base/fmt.h"
#include "store/lease.h"
#include "store/store.h"
#include "store/traces.h"
#include "tests/fault.h"
#include "tests/tap.h"

static struct err err;
static struct store *store;

/* Layers abcd11..., abcd12..., 7700...: rows are enough to decide about. */
static const struct digest one = {.b = {0xab, 0xcd, 0x11}};
static const struct digest two = {.b = {0xab, 0xcd, 0x12}};
static const struct digest three = {.b = {0x77}};
static const struct digest none = {.b = {0x99}};

/* As a commit would: the layer takes the next sequence number. */
static void add_layer(const struct digest *id)
{
	struct index_layer row = {.id = *id, .manifest = "m", .manifest_len = 1};
	struct append a;

	if (append_begin(store, 0, &a, &err) < 0)
		bail("append_begin: %s", err.text);
	row.seq = append_seq(&a);
	row.pack = a.w.number;
	if (append_sync(&a, &err) < 0 || index_begin(store->index, &err) < 0 ||
	    index_layer_put(store->index, &row, &err) < 0 || append_publish(&a, &err) < 0 ||
	    index_commit(store->index, &err) < 0)
		bail("cannot add a layer: %s", err.text);
	append_end(&a);
}

static void setup(void)
{
	struct store_params params;

	store_params_default(&params);
	if (store_init(tap_path("s"), &params, &err) < 0 ||
	    store_open(tap_path("s"), NULL, &store, &err) < 0)
		bail("no store: %s", err.text);
	add_layer(&two);
	add_layer(&one);
	add_layer(&three);
}

/* ---- names and records ---- */

static void test_names(void)
{
	char name[TAG_NAME_MAX + 2], hex[DIGEST_HEX_LEN];

	ok(decide_tag_name_ok("a"), "one letter is a name");
	ok(decide_tag_name_ok("web-1.2_X"), "so is this");
	ok(decide_tag_name_ok("abcdef"), "and hex digits");
	ok(!decide_tag_name_ok(""), "nothing is not");
	ok(!decide_tag_name_ok(".hidden"), "nor what begins with a dot");
	ok(!decide_tag_name_ok(".."), "nor the parent directory");
	ok(!decide_tag_name_ok("a/b"), "nor a path");
	ok(!decide_tag_name_ok("a b") && !decide_tag_name_ok("a\n"), "nor blanks");
	ok(!decide_tag_name_ok("\xc3\xa4"), "nor other letters");
	memset(name, 'a', sizeof(name));
	name[TAG_NAME_MAX] = '\0';
	ok(decide_tag_name_ok(name), "128 letters are");
	name[TAG_NAME_MAX] = 'a';
	name[TAG_NAME_MAX + 1] = '\0';
	ok(!decide_tag_name_ok(name), "129 are not");
	ok(!decide_tag_name_ok(fmt_hex(hex, one.b, DIGEST_LEN)), "nor is a layer's name");
	hex[63] = '\0';
	ok(decide_tag_name_ok(hex), "but all shorter ones");
	hex[63] = 'g';
	ok(decide_tag_name_ok(hex), "and what is not hex");
}

static int decode(const void *data, size_t len, struct index_decision *ret)
{
	struct rd rd;

	rd_init(&rd, data, len);
	return decide_decode(&rd, 7, ret);
}

static void test_record(void)
{
	struct index_decision d = {.kind = DECISION_TAG, .key = "web", .key_len = 3,
				    .has_value = true, .value = one.b, .value_len = DIGEST_LEN};
	struct index_decision got = {.kind = 99};
	struct buf b = {0};

	decide_encode(&d, &b);
	is_int(b.len, 1 + 1 + 3 + 1 + 1 + DIGEST_LEN, "a tag's record");
	is_int(decode(b.data, b.len, &got), 0, "is read back");
	ok(got.kind == DECISION_TAG && got.seq == 7 && got.has_value, "as it was");
	is_int(got.key_len, 3, "key");
	is_mem(got.key, "web", 3, "of the tag");
	is_int(got.value_len, DIGEST_LEN, "value");
	is_mem(got.value, one.b, DIGEST_LEN, "of the layer");
	for (size_t n = 0; n < b.len; n++)
		if (decode(b.data, n, &got) != -EBADMSG)
			ok(false, "%zu bytes of it are not a record", n);
	buf_u8(&b, 0);
	is_int(decode(b.data, b.len, &got), -EBADMSG, "nor is one with a byte too many");
	buf_reset(&b);
	d.has_value = false;
	decide_encode(&d, &b);
	is_int(b.len, 1 + 1 + 3 + 1 + 1, "a tombstone has no value");
	is_int(decode(b.data, b.len, &got), 0, "and is read back");
	ok(!got.has_value && got.value_len == 0, "as one");
	buf_fini(&b);
}

/* A trace may be longer than anything else, but not of any length. */
static void test_trace_record(void)
{
	static uint8_t value[TRACES_TEXT_MAX + 1];
	struct index_decision d = {.kind = DECISION_TRACE, .has_value = true, .value = value,
				   .key = "0123456789abcdef0123456789abcdefvm1", .key_len = 35};
	struct index_decision got;
	struct buf b = {0};

	for (uint32_t more = 0; more < 2; more++) {
		buf_reset(&b);
		d.value_len = TRACES_TEXT_MAX + more;
		decide_encode(&d, &b);
		is_int(decode(b.data, b.len, &got), more ? -EBADMSG : 0,
		       "a trace of 16 MiB and %u bytes", more);
	}
	ok(got.kind == DECISION_TRACE && got.value_len == TRACES_TEXT_MAX && got.key_len == 35,
	   "is read back");
	buf_reset(&b);
	d.kind = DECISION_ATTRS;
	d.key_len = DIGEST_LEN;
	d.value_len = META_MAX + 1;
	decide_encode(&d, &b);
	is_int(decode(b.data, b.len, &got), -EBADMSG, "attributes may not");
	buf_fini(&b);
}

static void test_bad_records(void)
{
	static const struct {
		const char *bytes, *why;
		size_t len;
	} bad[] = {
		{"\x09\x01" "a" "\x00\x00", "an unknown kind", 5},
		{"\x00\x01" "a" "\x00\x00", "no kind", 5},
		{"\x01\x01" "/" "\x00\x00", "a bad name", 5},
		{"\x01\x03" "a\0b" "\x00\x00", "a name with a NUL", 7},
		{"\x01\x00\x00\x00", "an empty name", 4},
		{"\x02\x20" "0123456789abcdef0123456789abcdef" "\x02\x00", "has_value 2", 36},
		{"\x01\x01" "a" "\x00\x01" "x", "a value that is none", 6},
		{"\x01\x01" "a" "\x01\x01" "x", "a tag on a short id", 6},
		{"\x02\x01" "a" "\x01\x00", "a removal of a short id", 5},
		{"\x03\x01" "a" "\x01\x00", "attributes of a short id", 5},
		{"\x04\x20" "0123456789abcdef0123456789abcdef" "\x00\x00", "a trace without a name",
		 36},
		{"\x04\x21" "0123456789abcdef0123456789abcdef/" "\x00\x00", "one with a bad name",
		 37},
		{"\x01\x81\x01", "a key of 129 bytes", 3},
	};
	struct index_decision got;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_int(decode(bad[i].bytes, bad[i].len, &got), -EBADMSG, "%s is damage",
		       bad[i].why);
}

/* ---- tags ---- */

static int list_tag(void *ctx, const char *name, const struct digest *id)
{
	char *out = ctx;

	(void)sprintf(out + strlen(out), "%s=%02x%02x%02x ", name, id->b[0], id->b[1], id->b[2]);
	return strcmp(name, "stop") == 0 ? 9 : 0;
}

static void test_tags(void)
{
	struct digest got;
	char list[128] = "";

	is_err(decide_tag(store, "a/b", &one, 0, &err), &err, -EINVAL,
	       "'a/b' is not a good name for a tag: letters, digits and ._- (not first a dot), "
	       "at most 128, and not a layer's name");
	is_err(decide_tag(store, "web", &none, 0, &err), &err, -ENOENT, "there is no layer "
	       "9900000000000000000000000000000000000000000000000000000000000000");
	is_err(decide_tag_find(store, "web", &got, &err), &err, -ENOENT, "there is no tag 'web'");
	is_int(decide_tag(store, "web", &one, 0, &err), 0, "a tag");
	is_int(decide_tag_find(store, "web", &got, &err), 0, "is found");
	ok(digest_equal(&got, &one), "on its layer");
	is_int(decide_tag(store, "web", &two, 0, &err), 0, "it can be moved");
	is_int(decide_tag(store, "db", &one, 0, &err), 0, "and another made");
	is_int(decide_tag_each(store, list_tag, list, &err), 0, "they are walked");
	is_str(list, "db=abcd11 web=abcd12 ", "by name");
	is_int(decide_untag(store, "web", 0, &err), 0, "one is taken away");
	is_err(decide_tag_find(store, "web", &got, &err), &err, -ENOENT, "there is no tag 'web'");
	is_err(decide_untag(store, "web", 0, &err), &err, -ENOENT, "there is no tag 'web'");
	is_err(decide_untag(store, "../x", 0, &err), &err, -ENOENT, "there is no tag '../x'");
	list[0] = '\0';
	is_int(decide_tag_each(store, list_tag, list, &err), 0, "the walk");
	is_str(list, "db=abcd11 ", "does not meet it");
	is_int(decide_tag(store, "stop", &one, 0, &err), 0, "a callback's answer");
	is_int(decide_tag_each(store, list_tag, list, &err), 9, "ends the walk");
	is_int(decide_untag(store, "stop", 0, &err), 0, "(no more)");
	ok(store->lock_fd < 0, "the lock is given back each time");
}

/* What is decided is in a pack, too, at the place the row says. */
static int find_record(void *ctx, const struct index_decision *row)
{
	struct index_decision d;
	struct index_pack pack;
	struct record r;
	struct rd rd;
	uint64_t off = PACK_HEADER_LEN;
	void *payload;

	if (row->key_len != 2 || index_pack_get(store->index, row->pack, &pack, &err) < 0)
		return 0;
	while (off < pack.end &&
	       packs_read_record(store->packs, row->pack, off, &r, &payload, &err) == 0) {
		rd_init(&rd, payload, r.len);
		if (r.type == RECORD_DECISION && r.id == row->seq &&
		    decide_decode(&rd, r.id, &d) == 0 && d.key_len == row->key_len &&
		    memcmp(d.key, row->key, d.key_len) == 0 && d.value_len == row->value_len &&
		    memcmp(d.value, row->value, d.value_len) == 0)
			++*(int *)ctx;
		off += RECORD_HEADER_LEN + r.len;
		free(payload);
	}
	return 0;
}

static void test_in_pack(void)
{
	int found = 0;

	is_int(index_decision_each(store->index, DECISION_TAG, find_record, &found, &err), 0,
	       "the packs");
	is_int(found, 1, "remember the tag");
}

/* ---- names of layers ---- */

static void resolve(const char *name, const struct digest *want)
{
	struct digest got = {.b = {0}};

	is_int(decide_resolve(store, name, &got, &err), 0, "'%s' names a layer", name);
	ok(digest_equal(&got, want), "the right one");
}

static void test_resolve(void)
{
	struct digest got = none;
	char hex[DIGEST_HEX_LEN + 1];

	resolve("db", &one);
	resolve("7700", &three);
	resolve("77000", &three);
	resolve("ABCD11", &one);
	resolve("abcd11", &one);
	resolve(fmt_hex(hex, two.b, DIGEST_LEN), &two);
	is_err(decide_resolve(store, "abcd", &got, &err), &err, -ENOTUNIQ,
	       "'abcd' fits 2 layers: more digits are needed");
	is_err(decide_resolve(store, "abc", &got, &err), &err, -ENOENT,
	       "there is no tag 'abc', and a layer's name needs 4 digits");
	is_err(decide_resolve(store, "abcd19", &got, &err), &err, -ENOENT,
	       "there is no layer or tag 'abcd19'");
	is_err(decide_resolve(store, "nothing", &got, &err), &err, -ENOENT,
	       "there is no layer or tag 'nothing'");
	is_err(decide_resolve(store, "", &got, &err), &err, -ENOENT,
	       "there is no layer or tag ''");
	memset(hex, 'a', sizeof(hex) - 1);
	hex[sizeof(hex) - 1] = '\0';
	is_err(decide_resolve(store, hex, &got, &err), &err, -ENOENT,
	       "there is no layer or tag '%s'", hex);
	ok(digest_equal(&got, &none), "nothing is written then");
	is_int(decide_tag(store, "7700", &one, 0, &err), 0, "a tag that looks like a layer's name");
	resolve("7700", &one);
	is_int(decide_untag(store, "7700", 0, &err), 0, "comes first");
	resolve("7700", &three);
}

/* ---- removal ---- */

static int list_layer(void *ctx, const struct index_layer *l)
{
	char *out = ctx;

	(void)sprintf(out + strlen(out), "%02x%02x%02x ", l->id.b[0], l->id.b[1], l->id.b[2]);
	return 0;
}

static void test_remove_tagged(void)
{
	char many[32];

	is_err(decide_remove(store, &none, false, 0, &err), &err, -ENOENT, "there is no layer "
	       "9900000000000000000000000000000000000000000000000000000000000000");
	is_err(decide_remove(store, &one, false, 0, &err), &err, -EBUSY,
	       "layer abcd11000000 has the tag 'db'");
	for (int i = 1; i <= 6; i++) {
		(void)snprintf(many, sizeof(many), "many-%d", i);
		if (decide_tag(store, many, &one, 0, &err) < 0)
			bail("%s", err.text);
	}
	is_err(decide_remove(store, &one, false, 0, &err), &err, -EBUSY,
	       "layer abcd11000000 has the tags 'db', 'many-1', 'many-2', 'many-3', 'many-4' "
	       "and 2 more");
}

static void test_remove_leased(void)
{
	int lease = lease_take(store, &three, &err);

	is_err(decide_remove(store, &three, false, 0, &err), &err, -EBUSY,
	       "layer 770000000000 is being read by pid %d", (int)getpid());
	is_int(decide_removed(store, &three, 3), 0, "it is still there");
	is_int(decide_remove(store, &three, true, 0, &err), 0, "force removes it all the same");
	is_int(lease_held(store, &three), 1, "and its bytes stay while they are read");
	close(lease);
}

static void test_remove(void)
{
	struct digest got;
	char list[64] = "";

	is_err(decide_remove(store, &three, false, 0, &err), &err, -ENOENT, "layer "
	       "7700000000000000000000000000000000000000000000000000000000000000 was removed");
	is_int(decide_removed(store, &three, 3), 1, "a removed layer");
	is_int(decide_removed(store, &three, 1000), 0, "but not one committed since");
	is_err(decide_resolve(store, "7700", &got, &err), &err, -ENOENT,
	       "there is no layer or tag '7700'");
	is_err(decide_tag(store, "x", &three, 0, &err), &err, -ENOENT, "layer "
	       "7700000000000000000000000000000000000000000000000000000000000000 was removed");
	is_int(decide_layer_each(store, list_layer, list, &err), 0, "the walk");
	is_str(list, "abcd12 abcd11 ", "does not meet it, and goes by age");
	is_int(decide_remove(store, &one, true, 0, &err), 0, "force removes a tagged one");
	is_int(decide_tag_find(store, "db", &got, NULL), -ENOENT, "and its tag");
	is_int(decide_tag_find(store, "many-6", &got, NULL), -ENOENT, "and all others");
	resolve("abcd", &two);
	add_layer(&three);
	list[0] = '\0';
	is_int(decide_layer_each(store, list_layer, list, &err), 0, "one that is committed again");
	is_str(list, "abcd12 770000 ", "is there again");
	is_int(decide_remove(store, &three, false, 0, &err), 0, "and can be removed again");
	is_int(decide_remove(store, &two, false, 0, &err), 0, "without tags there is no fuss");
	add_layer(&two);
}

/* ---- the lock, a full disk ---- */

static void test_lock(void)
{
	struct store *other;

	if (store_open(tap_path("s"), NULL, &other, &err) < 0)
		bail("%s", err.text);
	is_int(store_lock(other, "gc", 0, &err), 0, "another writer");
	is_int(decide_tag(store, "web", &two, 0, &err), -EBUSY, "a tag waits");
	ok(strstr(err.text, "(gc, since "), "and says for whom: %s", err.text);
	is_int(decide_untag(store, "web", 0, &err), -EBUSY, "so does an untag");
	is_int(decide_remove(store, &two, false, 0, &err), -EBUSY, "and a removal");
	store_unlock(other);
	store_close(other);
	is_int(store_lock(store, "prune", 0, &err), 0, "who holds the lock");
	is_int(decide_tag(store, "web", &two, 0, &err), 0, "may decide");
	ok(store->lock_fd >= 0, "and holds it still");
	is_int(decide_remove(store, &two, true, 0, &err), 0, "several times");
	store_unlock(store);
	add_layer(&two);
}

static void test_full_disk(void)
{
	struct digest got;
	struct stat before, after;

	if (stat(tap_path("s/reserve"), &before) < 0)
		bail("no reserve");
	/* The first write is to the lock, in words. */
	fault_arm(FAULT_PWRITE, 2, ENOSPC);
	is_int(decide_tag(store, "full", &two, 0, &err), 0, "a full disk: %s", err.text);
	ok(fault_struck(), "it was full");
	fault_disarm();
	is_int(decide_tag_find(store, "full", &got, &err), 0, "and yet there is the tag");
	is_int(stat(tap_path("s/reserve"), &after), 0, "the reserve was made again");
	ok(before.st_ino != after.st_ino || before.st_ctim.tv_sec != after.st_ctim.tv_sec ||
	   before.st_ctim.tv_nsec != after.st_ctim.tv_nsec, "after it had been given back");
	fault_arm(FAULT_LIB_PWRITE, 1, ENOSPC);
	is_int(decide_untag(store, "full", 0, &err), 0, "full for the index: %s", err.text);
	ok(fault_struck(), "it was full");
	fault_arm_from(FAULT_PWRITE, 1, ENOSPC);
	is_int(decide_tag(store, "full", &two, 0, &err), -ENOSPC, "full for ever: %s", err.text);
	fault_disarm();
	is_int(decide_tag_find(store, "full", &got, NULL), -ENOENT, "there is no half of a tag");
	is_int(decide_tag(store, "full", &two, 0, &err), 0, "and later there can be one");
}

/* A store that failed anywhere is as before, or has the tag. */
static void test_faults(void)
{
	static const enum fault_kind kinds[] = {FAULT_MALLOC, FAULT_PWRITE, FAULT_FSYNC,
						 FAULT_LIB_PWRITE, FAULT_LIB_FSYNC};
	struct digest got;
	int failed = 0;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		bool struck = true;

		for (unsigned long n = 1; n < 40 && struck; n++) {
			int rc, found;

			if (decide_tag_find(store, "try", &got, NULL) == 0 &&
			    decide_untag(store, "try", 0, &err) < 0)
				bail("%s", err.text);
			fault_arm(kinds[k], n, kinds[k] == FAULT_MALLOC ? ENOMEM : EIO);
			rc = decide_tag(store, "try", &two, 0, &err);
			struck = fault_struck();
			fault_disarm();
			found = decide_tag_find(store, "try", &got, &err);
			failed += rc < 0;
			if ((rc == 0) != (found == 0))
				ok(false, "kind %zu, call %lu: said %d, found %d", k, n, rc, found);
		}
	}
	ok(failed > 5, "%d calls failed, and said the truth", failed);
}

int main(void)
{
	setup();
	test_names();
	test_record();
	test_trace_record();
	test_bad_records();
	test_tags();
	test_in_pack();
	test_resolve();
	test_remove_tagged();
	test_remove_leased();
	test_remove();
	test_lock();
	test_full_disk();
	test_faults();
	store_close(store);
	return tap_done();
}
