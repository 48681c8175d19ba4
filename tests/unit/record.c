/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/record.h"
#include "store/digest.h"
#include "tests/tap.h"

#define SEED 0x44332211u

static const struct record sample = {
	.type = RECORD_CHUNK, .codec = CODEC_ZSTD, .slots = 0x8001, .len = 5,
	.id = UINT64_C(0x0102030405060708),
};

/* Written down by hand, so that the format stands still. */
static void test_golden(void)
{
	uint8_t out[RECORD_HEADER_LEN], want[RECORD_HEADER_LEN] = {
		'L', 'M', 'R', '1', 1, 1, 0x01, 0x80, 5, 0, 0, 0,
		0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1,
	};
	uint8_t covered[29] = {0x11, 0x22, 0x33, 0x44};
	uint32_t crc;

	memcpy(covered + 4, want, 12);
	memcpy(covered + 16, want + 16, 8);
	memcpy(covered + 24, "hello", 5);
	crc = digest_crc(covered, sizeof(covered), NULL, 0);
	for (int i = 0; i < 4; i++)
		want[12 + i] = (uint8_t)(crc >> (8 * i));
	record_encode(SEED, &sample, "hello", out);
	is_mem(out, want, sizeof(out), "a header, field by field");
}

static void test_round_trip(void)
{
	uint8_t bytes[RECORD_HEADER_LEN];
	struct record r;

	record_encode(SEED, &sample, "hello", bytes);
	is_int(record_decode(bytes, &r), 0, "decode");
	ok(r.type == sample.type && r.codec == sample.codec && r.slots == sample.slots &&
	   r.len == sample.len && r.id == sample.id, "every field is there");
	is_int(record_check(SEED, bytes, "hello"), 0, "checksum");
	is_int(record_check(SEED, bytes, "hellp"), -EBADMSG, "another payload");
	is_int(record_check(SEED ^ 1, bytes, "hello"), -EBADMSG, "another store's seed");
}

static void test_every_bit(void)
{
	uint8_t bytes[RECORD_HEADER_LEN + 5];
	int missed = 0;

	record_encode(SEED, &sample, "hello", bytes);
	memcpy(bytes + RECORD_HEADER_LEN, "hello", 5);
	for (unsigned bit = 0; bit < 8 * sizeof(bytes); bit++) {
		/* A flipped length would have the check read past these bytes. */
		if (bit / 8 >= 8 && bit / 8 < 12)
			continue;
		bytes[bit / 8] ^= 1u << bit % 8;
		missed += record_check(SEED, bytes, bytes + RECORD_HEADER_LEN) != -EBADMSG;
		bytes[bit / 8] ^= 1u << bit % 8;
	}
	is_int(missed, 0, "no flipped bit goes unnoticed");
}

static void test_seed(void)
{
	uint8_t bytes[RECORD_HEADER_LEN], uuid[16] = "0123456789abcde";
	uint32_t seed = record_seed(uuid);
	struct record empty = sample;

	is_int(seed, digest_crc(uuid, 16, NULL, 0), "the seed is the CRC of the uuid");
	record_encode(SEED, &sample, "hello", bytes);
	ok(record_seed_of(bytes, "hello") == SEED, "a record tells its seed");
	ok(record_seed_of(bytes, "hellp") != SEED, "a damaged one tells another");
	empty.len = 0;
	record_encode(seed, &empty, NULL, bytes);
	ok(record_seed_of(bytes, NULL) == seed, "an empty one does, too");
	memset(uuid, 'x', sizeof(uuid));
	record_seed_fit(SEED, uuid);
	ok(record_seed(uuid) == SEED, "a uuid is made to have a seed");
	is_mem(uuid, "xxxxxxxxxxxx", 12, "by its last four bytes");
}

static int decode_as(struct record r)
{
	static uint8_t payload[CHUNK_PAGES_MAX * PAGE_SIZE + 1];
	uint8_t bytes[RECORD_HEADER_LEN];
	struct record got = {.type = 77};
	int rc;

	record_encode(SEED, &r, payload, bytes);
	rc = record_decode(bytes, &got);
	return rc < 0 && got.type != 77 ? -EUCLEAN : rc;
}

static void test_plausible(void)
{
	is_int(decode_as((struct record){.type = 0, .len = 1}), -EBADMSG, "type 0");
	is_int(decode_as((struct record){.type = 6, .len = 1}), -EBADMSG, "type 6");
	is_int(decode_as((struct record){.type = RECORD_DECISION}), 0, "an empty decision");
	is_int(decode_as((struct record){.type = RECORD_CHUNK, .len = 1}), -EBADMSG,
	       "a chunk without pages");
	is_int(decode_as((struct record){.type = RECORD_CHUNK, .slots = 1}), -EBADMSG,
	       "a chunk without bytes");
	is_int(decode_as((struct record){.type = RECORD_CHUNK, .slots = 1, .len = 65536}), 0,
	       "the largest chunk");
	is_int(decode_as((struct record){.type = RECORD_CHUNK, .slots = 1, .len = 65537}),
	       -EBADMSG, "a larger one");
}

static void test_limit(void)
{
	uint8_t bytes[RECORD_HEADER_LEN] = {'L', 'M', 'R', '1', RECORD_MAPS};
	struct record r;

	bytes[11] = RECORD_LEN_MAX >> 24;
	is_int(record_decode(bytes, &r), 0, "the longest record");
	bytes[8] = 1;
	is_int(record_decode(bytes, &r), -EBADMSG, "a longer one");
	bytes[8] = bytes[0] = 0;
	is_int(record_decode(bytes, &r), -EBADMSG, "no magic");
}

int main(void)
{
	if (digest_init() < 0)
		bail("digest_init");
	test_golden();
	test_round_trip();
	test_every_bit();
	test_seed();
	test_plausible();
	test_limit();
	return tap_done();
}
