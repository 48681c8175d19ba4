/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rd: a bounded little-endian reader over bytes that came from outside.
 *
 * Errors stick: after the first read past the end (or a malformed varint)
 * every read returns 0 and rd_ok() is false, so a decoder reads all its
 * fields and asks once.  Nothing is allocated; pointers from rd_bytes() are
 * borrowed from the buffer.
 */
#ifndef LAMINA_BASE_RD_H
#define LAMINA_BASE_RD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rd {
	const uint8_t *p;
	const uint8_t *end;
	bool bad;
};

void rd_init(struct rd *rd, const void *data, size_t len);
uint8_t rd_u8(struct rd *rd);
uint16_t rd_u16(struct rd *rd);
uint32_t rd_u32(struct rd *rd);
uint64_t rd_u64(struct rd *rd);

/* LEB128, at most 10 bytes; an overlong or overflowing one is an error. */
uint64_t rd_varint(struct rd *rd);

/* A varint that must not exceed `max` (an error otherwise). */
uint64_t rd_varint_max(struct rd *rd, uint64_t max);

/* The next `len` bytes, or NULL. */
const void *rd_bytes(struct rd *rd, size_t len);
size_t rd_left(const struct rd *rd);
bool rd_ok(const struct rd *rd);	/* no error so far */
bool rd_done(const struct rd *rd);	/* no error and nothing left */

#endif
