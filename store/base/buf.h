/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * buf: a growing little-endian writer.
 *
 * The error sticks: after an allocation failed every put is a no-op and
 * buf_error() says -ENOMEM, so an encoder writes all its fields and asks once.
 * `struct buf b = {0}` is a valid empty buffer.
 */
#ifndef LAMINA_BASE_BUF_H
#define LAMINA_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	int error;
};

void buf_fini(struct buf *b);			/* frees; reusable afterwards */
void buf_reset(struct buf *b);			/* empty, keeps the memory */
int buf_error(const struct buf *b);		/* 0 or -ENOMEM */
int buf_reserve(struct buf *b, size_t more);	/* room for `more` bytes */
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, uint64_t v);	/* LEB128 */
void buf_bytes(struct buf *b, const void *data, size_t len);
/* What printf() would write, without its NUL. */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
