/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/pack-header.h"
#include "store/digest.h"
#include "tests/tap.h"

static struct err err;

static struct pack_header sample(void)
{
	struct pack_header h = {
		.number = 0x0a0b0c0d,
		.params = {.digest = DIGEST_BLAKE2B_256, .codec = CODEC_ZSTD, .level = -3,
			   .chunk_pages = {4, 16, 1}},
	};

	for (int i = 0; i < 16; i++)
		h.uuid[i] = (uint8_t)(i + 1);
	return h;
}

static void set_crc(uint8_t *bytes)
{
	uint32_t crc = digest_crc(bytes, 60, NULL, 0);

	for (int i = 0; i < 4; i++)
		bytes[60 + i] = (uint8_t)(crc >> (8 * i));
}

/* Written down by hand, so that the format stands still. */
static void test_golden(void)
{
	uint8_t bytes[PACK_HEADER_LEN], want[PACK_HEADER_LEN] = {
		'L', 'A', 'M', 'I', 'N', 'A', 'P', 'K',
		0, 0, 0, 0, 0, 0, 0, 0, FEATURE_SEED, 0, 0, 0,
		0x0d, 0x0c, 0x0b, 0x0a,
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
		1, 1, 0, 0xfd, 4, 16, 1,
	};
	struct pack_header h = sample(), back;

	set_crc(want);
	pack_header_encode(&h, bytes);
	is_mem(bytes, want, sizeof(bytes), "a header, field by field");
	is_int(pack_header_decode(bytes, &back, &err), 0, "decode");
	is_mem(back.uuid, h.uuid, 16, "uuid");
	ok(back.number == h.number && back.params.level == -3 &&
	   back.params.digest == DIGEST_BLAKE2B_256 && back.params.codec == CODEC_ZSTD &&
	   back.params.chunk_pages[1] == 16, "and the rest");
}

static void test_every_bit(void)
{
	struct pack_header h = sample(), back = {.number = 77};
	uint8_t bytes[PACK_HEADER_LEN];
	int missed = 0;

	pack_header_encode(&h, bytes);
	for (unsigned bit = 0; bit < 8 * PACK_HEADER_LEN; bit++) {
		bytes[bit / 8] ^= 1u << bit % 8;
		missed += pack_header_decode(bytes, &back, &err) != -EBADMSG;
		bytes[bit / 8] ^= 1u << bit % 8;
	}
	is_int(missed, 0, "no flipped bit goes unnoticed");
	is_int(back.number, 77, "the output is untouched");
}

static void test_hurt(void)
{
	struct pack_header h = sample();
	uint8_t bytes[PACK_HEADER_LEN];
	int missed = 0;

	pack_header_encode(&h, bytes);
	ok(!pack_header_is_hurt(bytes, &h), "a good header is not hurt");
	for (unsigned bit = 0; bit < 8 * PACK_HEADER_LEN; bit++) {
		bytes[bit / 8] ^= 1u << bit % 8;
		missed += !pack_header_is_hurt(bytes, &h);
		bytes[bit / 8] ^= 1u << bit % 8;
	}
	is_int(missed, 0, "with any bit flipped it is");
	bytes[63] ^= 1;
	h.number++;
	ok(pack_header_is_hurt(bytes, &h), "it may be a neighbour's: records have their ids");
	memset(h.uuid, 'z', sizeof(h.uuid));
	ok(!pack_header_is_hurt(bytes, &h), "another store's it is not");
	memset(bytes, 0, sizeof(bytes));
	ok(!pack_header_is_hurt(bytes, &h), "nor is it where there is nothing");
	h.number++;
	pack_header_encode(&h, bytes);
	h.number++;
	ok(!pack_header_is_hurt(bytes, &h), "one that is whole means what it says");
}

static void refused(unsigned at, uint8_t value, int rc, const char *text)
{
	struct pack_header h = sample();
	uint8_t bytes[PACK_HEADER_LEN];

	pack_header_encode(&h, bytes);
	bytes[at] = value;
	set_crc(bytes);
	is_err(pack_header_decode(bytes, &h, &err), &err, rc, "%s", text);
}

static void test_refused(void)
{
	struct pack_header h = sample();
	uint8_t bytes[PACK_HEADER_LEN];

	refused(0, 'l', -EBADMSG, "it does not begin as a pack does");
	refused(17, 1, -EPROTONOSUPPORT, "it needs a newer lamina (features 0x100)");
	refused(16, 0, -EPROTONOSUPPORT,
		"it was written by a lamina of before 0.1.0, whose format is no longer read");
	refused(40, 9, -EPROTONOSUPPORT,
		"it needs a newer lamina (digest 9, codec 1, cipher 0)");
	refused(41, 2, -EPROTONOSUPPORT,
		"it needs a newer lamina (digest 1, codec 2, cipher 0)");
	refused(42, 1, -EPROTONOSUPPORT,
		"it needs a newer lamina (digest 1, codec 1, cipher 1)");
	refused(44, 0, -EBADMSG, "its header asks for chunks of 0 pages");
	refused(46, 17, -EBADMSG, "its header asks for chunks of 17 pages");
	pack_header_encode(&h, bytes);
	bytes[8] = bytes[12] = 1;
	set_crc(bytes);
	is_int(pack_header_decode(bytes, &h, &err), 0, "what is compatible does not matter");
	is_int(h.rocompat, 1, "what forbids writing is passed on");
	bytes[60] ^= 1;
	is_err(pack_header_decode(bytes, &h, &err), &err, -EBADMSG,
	       "its header's checksum differs");
}

int main(void)
{
	if (digest_init() < 0)
		bail("digest_init");
	test_golden();
	test_every_bit();
	test_hurt();
	test_refused();
	return tap_done();
}
