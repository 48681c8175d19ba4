/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * record: the framing of everything in a pack.
 *
 * The checksum begins with the seed of the store, the CRC of its uuid: what
 * looks like a record in a guest's memory, or is one of another store's, is
 * none of ours.  Guests are never told the uuid.
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

uint32_t record_seed(const uint8_t uuid[16]);
/* Writes the header of `r` for `payload` (r->len bytes), checksum included. */
void record_encode(uint32_t seed, const struct record *r, const void *payload,
		   uint8_t out[RECORD_HEADER_LEN]);
/* Header only: -EBADMSG unless magic, type and length are plausible. */
int record_decode(const uint8_t in[RECORD_HEADER_LEN], struct record *ret);
/* Checksum of header and payload; 0 or -EBADMSG. */
int record_check(uint32_t seed, const uint8_t in[RECORD_HEADER_LEN], const void *payload);

/* For recover, when nothing else says which store this is. */

/* The seed by which a decoded record's checksum is right: there is always one. */
uint32_t record_seed_of(const uint8_t in[RECORD_HEADER_LEN], const void *payload);
/* Sets the last bytes of a uuid so that it has that seed. */
void record_seed_fit(uint32_t seed, uint8_t uuid[16]);

#endif
