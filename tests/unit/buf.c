/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/buf.h"
#include "store/base/rd.h"
#include "tests/fault.h"
#include "tests/tap.h"

static void test_layout(void)
{
	static const uint8_t want[] = {
		0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04,
		0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 'a', 'b',
	};
	struct buf b = {0};

	buf_u8(&b, 0x01);
	buf_u16(&b, 0x0203);
	buf_u32(&b, 0x04050607);
	buf_u64(&b, UINT64_C(0x08090a0b0c0d0e0f));
	buf_bytes(&b, "ab", 2);
	buf_bytes(&b, NULL, 0);
	is_int(b.len, sizeof(want), "the sum of the fields is the length");
	is_mem(b.data, want, sizeof(want), "integers are little-endian, nothing between them");
	is_int(buf_error(&b), 0, "no error");
	buf_reset(&b);
	is_int(b.len, 0, "reset empties");
	ok(b.cap > 0, "reset keeps the memory");
	buf_fini(&b);
	ok(!b.data && !b.cap, "fini leaves an empty buf");
}

static void test_varint(void)
{
	static const uint64_t values[] = {
		0, 1, 127, 128, 300, 16383, 16384, UINT32_MAX, UINT64_MAX >> 1, UINT64_MAX,
	};
	static const size_t lens[] = {1, 1, 1, 2, 2, 2, 3, 5, 9, 10};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct buf b = {0};
		struct rd rd;

		buf_varint(&b, values[i]);
		is_int(b.len, lens[i], "varint %llu takes %zu bytes",
		       (unsigned long long)values[i], lens[i]);
		rd_init(&rd, b.data, b.len);
		ok(rd_varint(&rd) == values[i] && rd_done(&rd), "and reads back");
		buf_fini(&b);
	}
}

static void test_growth(void)
{
	struct buf b = {0};

	for (unsigned i = 0; i < 100000; i++)
		buf_u32(&b, i);
	is_int(b.len, 400000, "a hundred thousand fields");
	is_int(b.data[399996], 99999 & 0xff, "the last is where it should be");
	is_int(buf_reserve(&b, 1 << 20), 0, "room for a MiB");
	ok(b.cap >= b.len + (1 << 20), "is there");
	buf_fini(&b);
}

static void test_printf(void)
{
	struct buf b = {0};

	buf_u8(&b, 'x');
	buf_printf(&b, "%s %d", "is", 7);
	buf_printf(&b, "%s", "");
	is_int(b.len, 5, "no NUL counts");
	ok(!memcmp(b.data, "xis 7", 5), "behind what was there");
	buf_printf(&b, "%*d|", 5000, 1);
	is_int(b.len, 5006, "longer than what it had room for");
	ok(b.data[5004] == '1' && b.data[5005] == '|', "to its end");
	buf_fini(&b);
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	buf_printf(&b, "%d", 1);
	fault_disarm();
	is_int(buf_error(&b), -ENOMEM, "a failed allocation is an error");
	is_int(b.len, 0, "and writes nothing");
	buf_fini(&b);
}

static void test_no_memory(void)
{
	struct buf b = {0};

	buf_u32(&b, 7);
	is_int(buf_reserve(&b, SIZE_MAX), -ENOMEM, "a size that overflows is refused");
	buf_u32(&b, 8);
	is_int(b.len, 4, "puts behind an error do nothing");
	is_int(buf_error(&b), -ENOMEM, "the error sticks");
	buf_reset(&b);
	is_int(buf_error(&b), 0, "until the reset");
	buf_fini(&b);

	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	buf_u64(&b, 1);
	fault_disarm();
	is_int(buf_error(&b), -ENOMEM, "a failed allocation is an error");
	is_int(b.len, 0, "and writes nothing");
	buf_fini(&b);
	buf_fini(NULL);
}

int main(void)
{
	test_layout();
	test_varint();
	test_growth();
	test_printf();
	test_no_memory();
	return tap_done();
}
