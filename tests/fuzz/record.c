/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records: a header and its payload as they are, and with their magic and
 * checksum mended, so that the fields behind them are reached.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/chunk.h"
#include "store/digest.h"
#include "store/record.h"
#include "store/seg.h"

#define SEED 0x5eed5eedu

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_again(const uint8_t *bytes, const struct record *r)
{
	uint8_t again[RECORD_HEADER_LEN];

	record_encode(SEED, r, bytes + RECORD_HEADER_LEN, again);
	if (memcmp(again, bytes, sizeof(again)) != 0)
		abort();
	if (record_seed_of(bytes, bytes + RECORD_HEADER_LEN) != SEED)
		abort();
}

static void use(const uint8_t *bytes, size_t len)
{
	static uint8_t out[CHUNK_PAGES_MAX * PAGE_SIZE];
	struct seg_chunk sc = {0};
	struct record r;

	if (len < RECORD_HEADER_LEN || record_decode(bytes, &r) < 0)
		return;
	if (r.len > RECORD_LEN_MAX)
		abort();
	if (r.len == len - RECORD_HEADER_LEN &&
	    record_check(SEED, bytes, bytes + RECORD_HEADER_LEN) == 0)
		check_again(bytes, &r);
	sc.slots = r.slots;
	sc.len = r.len;
	(void)chunk_decode(SEED, r.id, &sc, bytes, len, out, NULL);
}

static void mend(uint8_t *bytes, size_t len)
{
	struct record r = {
		.type = bytes[4] % 5 + 1,
		.codec = bytes[5] % 3,
		.slots = (uint16_t)(bytes[6] | bytes[7] << 8 | 1),
		.len = (uint32_t)(len - RECORD_HEADER_LEN),
	};

	memcpy(&r.id, bytes + 16, 8);
	record_encode(SEED, &r, bytes + RECORD_HEADER_LEN, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *copy;

	if (digest_init() < 0)
		abort();
	use(data, len);
	if (len <= RECORD_HEADER_LEN)
		return 0;
	copy = malloc(len);
	if (!copy)
		abort();
	memcpy(copy, data, len);
	mend(copy, len);
	use(copy, len);
	free(copy);
	return 0;
}
