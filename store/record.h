/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * record: the framing of everything in a pack.
 */
#ifndef LAMINA_RECORD_H
#define LAMINA_RECORD_H

#include <stdint.h>

#include "store/format.h"

struct record {
	uint8_t type;		/* enum record_type */
	uint8_t codec;		/* enum codec_id, of the payload */
	uint16_t slots;		/* chunks: bitmap of the pages that are here */
	uint32_t len;		/* of the payload */
	uint64_t id;
};

/* Writes the header of `r` for `payload` (r->len bytes), checksum included. */
void record_encode(const struct record *r, const void *payload,
		   uint8_t out[RECORD_HEADER_LEN]);
/* Header only: -EBADMSG unless magic, type and length are plausible. */
int record_decode(const uint8_t in[RECORD_HEADER_LEN], struct record *ret);
/* Checksum of header and payload; 0 or -EBADMSG. */
int record_check(const uint8_t in[RECORD_HEADER_LEN], const void *payload);

#endif
