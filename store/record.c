/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/record.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "store/base/rd.h"
#include "store/digest.h"

#define CRC_AT 12
#define AFTER_CRC 16

static void put_le(uint8_t *p, uint64_t v, unsigned len)
{
	for (; len > 0; len--, v >>= 8)
		*p++ = (uint8_t)v;
}

static uint32_t checksum(const uint8_t header[RECORD_HEADER_LEN], const void *payload, size_t len)
{
	uint8_t covered[RECORD_HEADER_LEN - (AFTER_CRC - CRC_AT)];

	memcpy(covered, header, CRC_AT);
	memcpy(covered + CRC_AT, header + AFTER_CRC, RECORD_HEADER_LEN - AFTER_CRC);
	return digest_crc(covered, sizeof(covered), payload, len);
}

void record_encode(const struct record *r, const void *payload, uint8_t out[RECORD_HEADER_LEN])
{
	put_le(out, RECORD_MAGIC, 4);
	out[4] = r->type;
	out[5] = r->codec;
	put_le(out + 6, r->slots, 2);
	put_le(out + 8, r->len, 4);
	put_le(out + AFTER_CRC, r->id, 8);
	put_le(out + CRC_AT, checksum(out, payload, r->len), 4);
}

static bool plausible(const struct record *r)
{
	if (r->type < RECORD_CHUNK || r->type > RECORD_DECISION)
		return false;
	if (r->type == RECORD_CHUNK)
		return r->slots && r->len && r->len <= CHUNK_PAGES_MAX * PAGE_SIZE;
	return r->len <= RECORD_LEN_MAX;
}

int record_decode(const uint8_t in[RECORD_HEADER_LEN], struct record *ret)
{
	struct record r;
	struct rd rd;
	uint32_t magic;

	rd_init(&rd, in, RECORD_HEADER_LEN);
	magic = rd_u32(&rd);
	r.type = rd_u8(&rd);
	r.codec = rd_u8(&rd);
	r.slots = rd_u16(&rd);
	r.len = rd_u32(&rd);
	(void)rd_u32(&rd);
	r.id = rd_u64(&rd);
	if (magic != RECORD_MAGIC || !plausible(&r))
		return -EBADMSG;
	*ret = r;
	return 0;
}

int record_check(const uint8_t in[RECORD_HEADER_LEN], const void *payload)
{
	struct record r;
	struct rd rd;
	int rc = record_decode(in, &r);

	if (rc < 0)
		return rc;
	rd_init(&rd, in + CRC_AT, 4);
	return rd_u32(&rd) == checksum(in, payload, r.len) ? 0 : -EBADMSG;
}
