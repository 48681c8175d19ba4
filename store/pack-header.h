/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pack-header: the first 64 bytes of a pack (format.h).
 */
#ifndef LAMINA_PACK_HEADER_H
#define LAMINA_PACK_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/format.h"

struct pack_header {
	uint32_t rocompat;	/* feature bits: all known, or never append */
	uint32_t incompat;
	uint32_t number;
	uint8_t uuid[16];
	struct store_params params;
};

/* Writes the header of a pack made by this program: with FEATURE_SEED. */
void pack_header_encode(const struct pack_header *h, uint8_t out[PACK_HEADER_LEN]);

/*
 * -EBADMSG: not a pack, or damaged; -EPROTONOSUPPORT: an unknown incompatible
 * feature or algorithm, or of before FEATURE_SEED.  The sentence does not say which pack.
 */
int pack_header_decode(const uint8_t in[PACK_HEADER_LEN], struct pack_header *ret,
		       struct err *err);
/*
 * Whether this is the header that `want` asks for, but for a few damaged bytes:
 * its checksum is wrong and hardly anything else differs.
 */
bool pack_header_is_hurt(const uint8_t in[PACK_HEADER_LEN], const struct pack_header *want);

#endif
