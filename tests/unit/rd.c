/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/rd.h"
#include "tests/tap.h"

static void test_fields(void)
{
	static const uint8_t data[] = {
		0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04,
		0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 'a', 'b',
	};
	struct rd rd;
	const void *p;

	rd_init(&rd, data, sizeof(data));
	is_int(rd_u8(&rd), 1, "u8");
	is_int(rd_u16(&rd), 0x0203, "u16");
	is_int(rd_u32(&rd), 0x04050607, "u32");
	is_int(rd_u64(&rd), 0x08090a0b0c0d0e0f, "u64");
	is_int(rd_left(&rd), 2, "two bytes left");
	ok(rd_ok(&rd) && !rd_done(&rd), "fine, and not at the end");
	p = rd_bytes(&rd, 2);
	ok(p == data + 15, "bytes are borrowed");
	ok(rd_done(&rd), "at the end");
	ok(rd_bytes(&rd, 0) != NULL && rd_ok(&rd), "no bytes can be read there");
}

static void test_short(void)
{
	static const uint8_t data[] = {0xff, 0xff, 0xff};
	struct rd rd;

	rd_init(&rd, data, sizeof(data));
	is_int(rd_u32(&rd), 0, "a field past the end is 0");
	ok(!rd_ok(&rd), "and an error");
	is_int(rd_u8(&rd), 0, "that sticks");
	is_int(rd_left(&rd), 0, "nothing is left");
	ok(rd_bytes(&rd, 1) == NULL, "bytes are NULL");
	ok(!rd_done(&rd), "an error is never the end");

	rd_init(&rd, data, sizeof(data));
	ok(rd_bytes(&rd, SIZE_MAX) == NULL && !rd_ok(&rd), "a length that would wrap");

	rd_init(&rd, NULL, 0);
	ok(rd_done(&rd), "an empty reader is done");
	is_int(rd_varint(&rd), 0, "a varint there is 0");
	ok(!rd_ok(&rd), "and an error");
}

static bool varint_refused(const void *data, size_t len)
{
	struct rd rd;

	rd_init(&rd, data, len);
	return rd_varint(&rd) == 0 && !rd_ok(&rd);
}

static void test_bad_varints(void)
{
	ok(varint_refused("\x80", 1), "a varint cut short");
	ok(varint_refused("\x80\x00", 2), "0 in two bytes");
	ok(varint_refused("\xff\x80\x00", 3), "127 in three bytes");
	ok(varint_refused("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10), "65 bits");
	ok(varint_refused("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11), "eleven bytes");
}

static void test_max(void)
{
	struct rd rd;

	rd_init(&rd, "\x64\x65", 2);
	is_int(rd_varint_max(&rd, 100), 100, "a varint at its limit");
	is_int(rd_varint_max(&rd, 100), 0, "one above it");
	ok(!rd_ok(&rd), "is an error");
}

int main(void)
{
	test_fields();
	test_short();
	test_bad_varints();
	test_max();
	return tap_done();
}
