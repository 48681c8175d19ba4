/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pack headers, as they are and with magic and checksum mended: refused with
 * a sentence, or with parameters that this program knows.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/codec.h"
#include "store/digest.h"
#include "store/pack-header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void use(const uint8_t bytes[PACK_HEADER_LEN])
{
	struct pack_header h;
	struct err err = {""};

	if (pack_header_decode(bytes, &h, &err) < 0) {
		if (!*err.text)
			abort();
		return;
	}
	if (!digest_name(h.params.digest) || !codec_name(h.params.codec) ||
	    h.incompat != FEATURE_SEED)
		abort();
	for (int i = 0; i < IMAGE_KINDS; i++)
		if (h.params.chunk_pages[i] < 1 || h.params.chunk_pages[i] > CHUNK_PAGES_MAX)
			abort();
}

static void mend(uint8_t bytes[PACK_HEADER_LEN])
{
	uint32_t crc;

	memcpy(bytes, PACK_MAGIC, 8);
	bytes[19] = bytes[18] = bytes[17] = 0;
	bytes[16] = FEATURE_SEED;
	bytes[40] = (uint8_t)(bytes[40] % 4);
	bytes[41] = (uint8_t)(bytes[41] % 3);
	bytes[42] = (uint8_t)(bytes[42] % 2);
	for (int i = 44; i < 47; i++)
		bytes[i] = (uint8_t)(bytes[i] % 18);
	crc = digest_crc(bytes, 60, NULL, 0);
	for (int i = 0; i < 4; i++)
		bytes[60 + i] = (uint8_t)(crc >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t bytes[PACK_HEADER_LEN];

	if (digest_init() < 0)
		abort();
	if (len < sizeof(bytes))
		return 0;
	memcpy(bytes, data, sizeof(bytes));
	use(bytes);
	mend(bytes);
	use(bytes);
	return 0;
}
