/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/attrs.h"
#include "tests/fault.h"
#include "tests/unit/fixture.h"

static void test_set_and_get(void)
{
	struct attrs a = {0};

	is_int(attrs_set(&a, "source", "vm-17"), 0, "set");
	is_int(attrs_set(&a, "lamina.pages", "1"), 0, "set another");
	is_int(attrs_set(&a, "a", ""), 0, "an empty value");
	is_int(a.n, 3, "three");
	is_str(a.v[0].key, "a", "in order of their keys");
	is_str(a.v[1].key, "lamina.pages", "all");
	is_str(attrs_get(&a, "source"), "vm-17", "get");
	is_str(attrs_get(&a, "sourc"), NULL, "a prefix is another key");
	is_int(attrs_set(&a, "source", "vm-18"), 0, "set again");
	is_str(attrs_get(&a, "source"), "vm-18", "replaces");
	is_int(a.n, 3, "and adds nothing");
	is_int(attrs_set_u64(&a, "big", UINT64_MAX), 0, "a number");
	is_str(attrs_get(&a, "big"), "18446744073709551615", "as decimal");
	attrs_fini(&a);
	attrs_fini(NULL);
	is_str(attrs_get(&a, "a"), NULL, "nothing in nothing");
}

static void test_keys(void)
{
	char key[66];

	memset(key, 'k', 65);
	key[65] = '\0';
	ok(!attrs_key_ok(key), "65 letters are too many");
	key[64] = '\0';
	ok(attrs_key_ok(key), "64 are not");
	ok(attrs_key_ok("guest.page_size-2"), "letters, digits, dot, dash, underline");
	ok(!attrs_key_ok(""), "an empty key");
	ok(!attrs_key_ok("Name"), "capitals");
	ok(!attrs_key_ok("a b") && !attrs_key_ok("a=b") && !attrs_key_ok("\xc3\xa4"), "others");
}

static void test_values(void)
{
	static const char *const good[] = {"", "plain", "tab\tand\nline", "\xc3\xa4",
					   "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"};
	static const char *const bad[] = {
		"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
		"\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xc3(", "\xf0\x9f\x98",
	};
	struct attrs a = {0};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		is_int(attrs_set(&a, "v", good[i]), 0, "good value %zu", i);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_int(attrs_set(&a, "v", bad[i]), -EINVAL, "bad value %zu: no UTF-8", i);
	is_str(attrs_get(&a, "v"), good[6], "the last good one stays");
	is_int(attrs_set(&a, "V", "x"), -EINVAL, "a bad key");
	is_int(a.n, 1, "nothing was added");
	attrs_fini(&a);
}

static void test_limit(void)
{
	struct attrs a = {0};
	char *value = malloc(META_MAX + 1);
	int rc = 0, n = 0;

	memset(value, 'v', META_MAX);
	value[META_MAX] = '\0';
	is_int(attrs_set(&a, "k", value), -EINVAL, "a value that fills everything");
	is_int(attrs_set(&a, "k", value + 100), 0, "one that leaves a little room");
	is_int(attrs_set(&a, "k", value + 99), 0, "may be replaced by a longer one");
	is_int(attrs_set(&a, "l", value + META_MAX - 90), -EINVAL, "another does not fit");
	attrs_fini(&a);
	for (; rc == 0; n++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "k%d", n);
		rc = attrs_set(&a, key, value + META_MAX - 1000);
	}
	is_int(rc, -EINVAL, "many small ones fill it too");
	ok(n > 60 && n < 66, "up to about the limit");
	attrs_fini(&a);
	free(value);
}

/* Written down by hand, so that the format stands still. */
static void test_golden(void)
{
	static const uint8_t want[] = "\x02\x01" "a\x00\x03" "key\x05value";
	struct attrs a = {0}, b = {0};
	struct buf out = {0};
	struct rd rd;

	attrs_set(&a, "key", "value");
	attrs_set(&a, "a", "");
	attrs_encode(&a, &out);
	is_int(out.len, sizeof(want) - 1, "length");
	is_mem(out.data, want, sizeof(want) - 1, "bytes");
	rd_init(&rd, out.data, out.len);
	is_int(attrs_decode(&b, &rd), 0, "decode");
	ok(b.n == 2 && rd_done(&rd), "all of it");
	is_str(attrs_get(&b, "key"), "value", "a value");
	is_str(attrs_get(&b, "a"), "", "and the empty one");
	attrs_fini(&a);
	attrs_fini(&b);
	buf_fini(&out);
}

static int decode(const char *bytes, size_t len)
{
	struct attrs a = {0};
	struct rd rd;
	int rc;

	rd_init(&rd, bytes, len);
	rc = attrs_decode(&a, &rd);
	if (rc < 0 && (a.v || a.n))
		return -EUCLEAN;
	attrs_fini(&a);
	return rc;
}

static void test_malformed(void)
{
	is_int(decode("\x00", 1), 0, "none");
	is_int(decode("", 0), -EBADMSG, "no bytes");
	is_int(decode("\x01\x01" "a", 3), -EBADMSG, "no value");
	is_int(decode("\x01\x01" "a\x02" "b", 5), -EBADMSG, "a value cut short");
	is_int(decode("\x01\x00\x00", 3), -EBADMSG, "an empty key");
	is_int(decode("\x01\x01" "A\x00", 4), -EBADMSG, "a bad key");
	is_int(decode("\x01\x01" "a\x01\xff", 5), -EBADMSG, "a value that is no UTF-8");
	is_int(decode("\x01\x01" "a\x01\x00", 5), -EBADMSG, "a NUL");
	is_int(decode("\x02\x01" "b\x00\x01" "a\x00", 7), -EBADMSG, "out of order");
	is_int(decode("\x02\x01" "a\x00\x01" "a\x00", 7), -EBADMSG, "the same key twice");
	is_int(decode("\x02\x01" "a\x00", 4), -EBADMSG, "one too few");
	is_int(decode("\xff\xff\xff\x7f", 4), -EBADMSG, "a number that cannot be");
}

static void test_decode_limit(void)
{
	struct buf b = {0};
	char *value = calloc(1, META_MAX);

	memset(value, 'v', META_MAX);
	for (unsigned len = META_MAX - 100; len <= META_MAX; len += 100) {
		buf_reset(&b);
		buf_bytes(&b, "\x01\x01" "k", 3);
		buf_varint(&b, len);
		buf_bytes(&b, value, len);
		is_int(decode((char *)b.data, b.len), len < META_MAX ? 0 : -EBADMSG,
		       "a value of %u bytes", len);
	}
	buf_fini(&b);
	free(value);
}

static void test_no_memory(void)
{
	struct attrs a = {0};
	struct rd rd;

	for (unsigned long i = 1; i <= 3; i++) {
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		is_int(attrs_set(&a, "k", "v"), -ENOMEM, "no memory for allocation %lu", i);
		ok(a.n == 0, "nothing was added");
		rd_init(&rd, "\x01\x01" "a\x01" "b", 5);
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		is_int(attrs_decode(&a, &rd), -ENOMEM, "nor to decode");
	}
	fault_disarm();
	attrs_fini(&a);
}

static void put_row(struct fixture *f, const struct digest *id, const void *value, size_t len)
{
	struct index_decision d = {.kind = DECISION_ATTRS, .key = id->b, .key_len = DIGEST_LEN,
				   .seq = ++f->seq, .pack = 1, .opack = 1, .has_value = value,
				   .value = value, .value_len = (uint32_t)len};
	struct err err;

	fixture_must(index_begin(f->store->index, &err), &err, "begin");
	fixture_must(index_decision_put(f->store->index, &d, &err), &err, "put");
	fixture_must(index_commit(f->store->index, &err), &err, "commit");
}

static void test_load(void)
{
	struct digest id = {{0xab, 0xcd}};
	struct attrs a = {0};
	struct fixture f;
	struct err err;

	fixture_open(&f, "store", NULL);
	is_int(attrs_load(f.store, &id, &a, &err), 0, "a layer without attributes");
	is_int(a.n, 0, "has none");
	put_row(&f, &id, "\x01\x01" "a\x01" "b", 5);
	is_int(attrs_load(f.store, &id, &a, &err), 0, "one with attributes");
	is_str(attrs_get(&a, "a"), "b", "has them");
	attrs_fini(&a);
	put_row(&f, &id, "\x01\x01" "a\x01" "b+", 6);
	is_err(attrs_load(f.store, &id, &a, &err), &err, -EBADMSG,
	       "the attributes of layer abcd00000000 are damaged");
	ok(a.n == 0 && !a.v, "the output is untouched");
	put_row(&f, &id, NULL, 0);
	is_int(attrs_load(f.store, &id, &a, &err), 0, "attributes taken back");
	is_int(a.n, 0, "are none");
	fixture_close(&f);
}

int main(void)
{
	test_set_and_get();
	test_keys();
	test_values();
	test_limit();
	test_golden();
	test_malformed();
	test_decode_limit();
	test_no_memory();
	test_load();
	return tap_done();
}
