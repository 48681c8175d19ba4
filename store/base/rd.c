/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/rd.h"

#define VARINT_MAX_LEN 10

void rd_init(struct rd *rd, const void *data, size_t len)
{
	rd->p = data;
	rd->end = len ? rd->p + len : rd->p;
	rd->bad = false;
}

size_t rd_left(const struct rd *rd)
{
	return rd->bad ? 0 : (size_t)(rd->end - rd->p);
}

bool rd_ok(const struct rd *rd)
{
	return !rd->bad;
}

bool rd_done(const struct rd *rd)
{
	return !rd->bad && rd->p == rd->end;
}

const void *rd_bytes(struct rd *rd, size_t len)
{
	const void *p = rd->p;

	if (rd->bad || len > rd_left(rd)) {
		rd->bad = true;
		return NULL;
	}
	if (len)
		rd->p += len;
	return p;
}

static uint64_t get_le(struct rd *rd, size_t len)
{
	const uint8_t *p = rd_bytes(rd, len);
	uint64_t v = 0;

	if (!p)
		return 0;
	while (len-- > 0)
		v = v << 8 | p[len];
	return v;
}

uint8_t rd_u8(struct rd *rd)
{
	return (uint8_t)get_le(rd, 1);
}

uint16_t rd_u16(struct rd *rd)
{
	return (uint16_t)get_le(rd, 2);
}

uint32_t rd_u32(struct rd *rd)
{
	return (uint32_t)get_le(rd, 4);
}

uint64_t rd_u64(struct rd *rd)
{
	return get_le(rd, 8);
}

static uint64_t fail(struct rd *rd)
{
	rd->bad = true;
	return 0;
}

/* A value has one encoding: a last byte of 0 behind others is refused. */
uint64_t rd_varint(struct rd *rd)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < VARINT_MAX_LEN; i++) {
		uint8_t byte = rd_u8(rd);

		if (rd->bad)
			return 0;
		if (i == VARINT_MAX_LEN - 1 && byte > 1)
			return fail(rd);
		v |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (!(byte & 0x80))
			return i && !byte ? fail(rd) : v;
	}
	return fail(rd);
}

uint64_t rd_varint_max(struct rd *rd, uint64_t max)
{
	uint64_t v = rd_varint(rd);

	return v > max ? fail(rd) : v;
}
