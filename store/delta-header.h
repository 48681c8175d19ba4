/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * delta-header: the first bytes of a delta (delta.h).
 */
#ifndef LAMINA_DELTA_HEADER_H
#define LAMINA_DELTA_HEADER_H

#include <stdint.h>

#include "store/base/err.h"
#include "store/delta.h"

#define DELTA_INCOMPAT_KNOWN 0u
#define DELTA_ROCOMPAT_KNOWN 0u

struct delta_header {
	uint32_t rocompat;
	uint32_t incompat;
	uint8_t uuid[16];
	uint64_t seq;
	uint64_t size;		/* bytes of the image */
};

void delta_header_encode(const struct delta_header *h, uint8_t out[DELTA_HEADER_LEN]);

/* -EBADMSG: not one, or damaged; -EPROTONOSUPPORT: features that nobody here knows. */
int delta_header_decode(const uint8_t in[DELTA_HEADER_LEN], struct delta_header *ret,
			struct err *err);

#endif
