/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A CRC can be run backwards: from its value and the bytes it covers, or those
 * that came last, to what it was before them.  So the seed can be had from any
 * record, and a uuid can be made to have a seed.
 */
#include "store/record.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "store/base/rd.h"
#include "store/digest.h"

#define CRC_AT 12
#define AFTER_CRC 16
#define UUID_LEN 16u
#define SEED_LEN 4u
#define COVERED_LEN (RECORD_HEADER_LEN - (AFTER_CRC - CRC_AT))	/* of the header */
#define CRC_POLY 0xedb88320u
#define CRC_BEGIN 0xffffffffu		/* also what a value is the state xored with */

static void put_le(uint8_t *p, uint64_t v, unsigned len)
{
	for (; len > 0; len--, v >>= 8)
		*p++ = (uint8_t)v;
}

static uint32_t get_le32(const uint8_t *p)
{
	struct rd rd;

	rd_init(&rd, p, 4);
	return rd_u32(&rd);
}

static void copy_covered(const uint8_t header[RECORD_HEADER_LEN], uint8_t out[COVERED_LEN])
{
	memcpy(out, header, CRC_AT);
	memcpy(out + CRC_AT, header + AFTER_CRC, RECORD_HEADER_LEN - AFTER_CRC);
}

static uint32_t checksum(uint32_t seed, const uint8_t header[RECORD_HEADER_LEN],
			 const void *payload, size_t len)
{
	uint8_t covered[SEED_LEN + COVERED_LEN];

	put_le(covered, seed, SEED_LEN);
	copy_covered(header, covered + SEED_LEN);
	return digest_crc(covered, sizeof(covered), payload, len);
}

uint32_t record_seed(const uint8_t uuid[16])
{
	return digest_crc(uuid, UUID_LEN, NULL, 0);
}

void record_encode(uint32_t seed, const struct record *r, const void *payload,
		   uint8_t out[RECORD_HEADER_LEN])
{
	put_le(out, RECORD_MAGIC, 4);
	out[4] = r->type;
	out[5] = r->codec;
	put_le(out + 6, r->slots, 2);
	put_le(out + 8, r->len, 4);
	put_le(out + AFTER_CRC, r->id, 8);
	put_le(out + CRC_AT, checksum(seed, out, payload, r->len), 4);
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

int record_check(uint32_t seed, const uint8_t in[RECORD_HEADER_LEN], const void *payload)
{
	struct record r;
	int rc = record_decode(in, &r);

	if (rc < 0)
		return rc;
	return get_le32(in + CRC_AT) == checksum(seed, in, payload, r.len) ? 0 : -EBADMSG;
}

/* ---- backwards ---- */

/* The CRC's state before the bytes that led to `state`. */
static uint32_t before(uint32_t state, const uint8_t *p, size_t len)
{
	while (len-- > 0) {
		for (int i = 0; i < 8; i++)
			state = state >> 31 ? (state ^ CRC_POLY) << 1 | 1 : state << 1;
		state ^= p[len];
	}
	return state;
}

/* The four bytes that lead from one state to another. */
static uint32_t between(uint32_t from, uint32_t to)
{
	static const uint8_t zeros[SEED_LEN];

	return before(to, zeros, sizeof(zeros)) ^ from;
}

uint32_t record_seed_of(const uint8_t in[RECORD_HEADER_LEN], const void *payload)
{
	uint8_t covered[COVERED_LEN];
	uint32_t state = get_le32(in + CRC_AT) ^ CRC_BEGIN;

	copy_covered(in, covered);
	state = before(state, payload, get_le32(in + 8));
	return between(CRC_BEGIN, before(state, covered, sizeof(covered)));
}

void record_seed_fit(uint32_t seed, uint8_t uuid[16])
{
	uint32_t from = digest_crc(uuid, UUID_LEN - SEED_LEN, NULL, 0) ^ CRC_BEGIN;

	put_le(uuid + UUID_LEN - SEED_LEN, between(from, seed ^ CRC_BEGIN), SEED_LEN);
}
