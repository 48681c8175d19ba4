/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/runs.h"
#include "tests/fault.h"
#include "tests/tap.h"

static void test_add(void)
{
	struct runs r = {0};

	is_int(runs_add(&r, 0, 10), 0, "zeros");
	is_int(runs_add(&r, 100, 5), 0, "data");
	is_int(runs_add(&r, 105, 5), 0, "data that goes on");
	is_int(runs_add(&r, 0, 0), 0, "no positions");
	is_int(runs_add(&r, 200, 1), 0, "data elsewhere");
	is_int(runs_add(&r, 0, 3), 0, "zeros");
	is_int(runs_add(&r, 0, 4), 0, "more zeros");
	is_int(r.n, 4, "neighbours are one run");
	is_int(r.count, 28, "positions covered");
	is_int(runs_at(&r, 0), 0, "zeros have no address");
	is_int(runs_at(&r, 10), 100, "the first of a run");
	is_int(runs_at(&r, 19), 109, "the last");
	is_int(runs_at(&r, 20), 200, "the next");
	is_int(runs_at(&r, 27), 0, "zeros at the end");
	is_int(runs_at(&r, 28), 0, "behind the end");
	ok(runs_find(&r, 28) == NULL, "no run behind the end");
	is_int(runs_find(&r, 27)->pos, 21, "the last run");
	runs_reset(&r);
	ok(r.n == 0 && r.count == 0 && runs_find(&r, 0) == NULL, "empty again");
	/* An address of zero after data that would end at 2^64 is still zeros. */
	runs_add(&r, UINT64_MAX, 1);
	runs_add(&r, 0, 1);
	is_int(r.n, 2, "zeros do not continue the highest address");
	runs_fini(&r);
	runs_fini(NULL);
}

static bool encodes_to(const struct runs *r, const void *want, size_t len)
{
	struct buf out = {0};
	bool same;

	runs_encode(r, &out);
	same = out.len == len && memcmp(out.data, want, len) == 0;
	for (size_t i = 0; !same && i < out.len; i++)
		tap_diag("byte %zu: %02x", i, out.data[i]);
	buf_fini(&out);
	return same;
}

/* Bytes written down by hand, so that the format stands still. */
static void test_golden(void)
{
	static const uint8_t none[] = {0}, zeros[] = {1, 0xfc, 0x0f};
	static const uint8_t all_kinds[] = {
		6,			/* runs */
		9 << 2 | 0,		/* ZERO, 10 positions */
		4 << 2 | 3, 0xb4, 0x01,	/* FAR: 100 is 90 from its position */
		1 << 2 | 0,		/* ZERO */
		0 << 2 | 2,		/* SAME: 107 is 90 from 17 */
		1 << 2 | 3, 0x05,	/* FAR: 3 less than SAME would be */
		0 << 2 | 1,		/* NEXT: behind 107 */
	};
	struct runs r = {0};

	ok(encodes_to(&r, none, sizeof(none)), "no positions");
	runs_add(&r, 0, 512);
	ok(encodes_to(&r, zeros, sizeof(zeros)), "512 zeros");
	runs_reset(&r);
	runs_add(&r, 0, 10);
	runs_add(&r, 100, 5);
	runs_add(&r, 0, 2);
	runs_add(&r, 107, 1);
	runs_add(&r, 105, 2);
	runs_add(&r, 108, 1);
	ok(encodes_to(&r, all_kinds, sizeof(all_kinds)), "every kind of run");
	runs_fini(&r);
}

static bool survives(const struct runs *r)
{
	struct runs back = {0};
	struct buf out = {0};
	struct rd rd;
	bool same;

	runs_encode(r, &out);
	rd_init(&rd, out.data, out.len);
	same = runs_decode(&back, &rd, r->count, r->n) == 0 && rd_done(&rd) &&
	       runs_equal(r, &back);
	runs_fini(&back);
	buf_fini(&out);
	return same;
}

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void test_round_trip(void)
{
	uint64_t x = tap_seed(4711);
	struct runs r = {0};
	int good = 0;

	for (int i = 0; i < 200; i++) {
		runs_reset(&r);
		for (int n = (int)(next_random(&x) % 30); n > 0; n--)
			runs_add(&r, next_random(&x) % 4 ? next_random(&x) % 1000 + 1 : 0,
				 next_random(&x) % 20 + 1);
		good += survives(&r);
	}
	is_int(good, 200, "200 random maps survive");
	runs_reset(&r);
	runs_add(&r, UINT64_MAX - 9, 9);
	runs_add(&r, 1, UINT64_C(1) << 40);
	runs_add(&r, UINT64_MAX, 0);
	ok(survives(&r), "so do the highest addresses");
	runs_fini(&r);
}

static int decode(const void *bytes, size_t len, uint64_t count, size_t max_runs)
{
	struct runs r = {0};
	struct rd rd;
	int rc;

	rd_init(&rd, bytes, len);
	rc = runs_decode(&r, &rd, count, max_runs);
	if (rc < 0 && (r.v || r.n || r.count))
		return -EUCLEAN;
	runs_fini(&r);
	return rc;
}

static void test_malformed(void)
{
	is_int(decode("\x00", 1, 0, 0), 0, "nothing at all is a map of nothing");
	is_int(decode("", 0, 0, 0), -EBADMSG, "no bytes are not");
	is_int(decode("\x01\x04", 2, 2, 9), 0, "two zeros");
	is_int(decode("\x01\x04", 2, 3, 9), -EBADMSG, "a position is missing");
	is_int(decode("\x01\x04", 2, 1, 9), -EBADMSG, "a position too many");
	is_int(decode("\x00", 1, 1, 9), -EBADMSG, "no runs for one position");
	is_int(decode("\x02\x00\x00", 3, 2, 9), -EBADMSG, "zeros twice: not one run");
	is_int(decode("\x02\x03\x14\x02", 4, 2, 9), -EBADMSG, "data that goes on: not one run");
	is_int(decode("\x01\x01", 2, 1, 9), -EBADMSG, "NEXT before any address");
	is_int(decode("\x01\x02", 2, 1, 9), -EBADMSG, "SAME before any address");
	is_int(decode("\x01\x03\x00", 3, 1, 9), -EBADMSG, "FAR to address 0");
	is_int(decode("\x01\x03", 2, 1, 9), -EBADMSG, "FAR without its distance");
	is_int(decode("\x02\x00\x03\x14", 4, 2, 1), -EBADMSG, "more runs than allowed");
	is_int(decode("\x01\x07\x01", 3, 2, 9), -EBADMSG, "an address that wraps");
	is_int(decode("\x01\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, 1, 9), -EBADMSG,
	       "a length that no image has");
	is_int(decode("\x80\x80\x80\x80\x10", 5, 1, SIZE_MAX), -EBADMSG,
	       "a number of runs that is not there");
}

static void test_no_memory(void)
{
	struct runs r = {0};
	struct rd rd;

	rd_init(&rd, "\x01\x04", 2);
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(runs_decode(&r, &rd, 2, 9), -ENOMEM, "no memory to decode");
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(runs_add(&r, 1, 1), -ENOMEM, "no memory to add");
	fault_disarm();
	ok(r.n == 0 && r.count == 0, "nothing was added");
}

static void test_equal(void)
{
	struct runs a = {0}, b = {0};

	ok(runs_equal(&a, &b), "empty maps");
	runs_add(&a, 7, 3);
	ok(!runs_equal(&a, &b), "another length");
	runs_add(&b, 7, 2);
	runs_add(&b, 1, 1);
	ok(!runs_equal(&a, &b), "other runs");
	runs_reset(&b);
	runs_add(&b, 8, 3);
	ok(!runs_equal(&a, &b), "another address");
	runs_reset(&b);
	runs_add(&b, 7, 3);
	ok(runs_equal(&a, &b), "the same");
	runs_fini(&a);
	runs_fini(&b);
}

int main(void)
{
	test_add();
	test_golden();
	test_round_trip();
	test_malformed();
	test_no_memory();
	test_equal();
	return tap_done();
}
