/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "store/index-private.h"

void index_sum_init(struct index_sum *sum, char table)
{
	sum->b[0] = (uint8_t)table;
	sum->len = 1;
}

void index_sum_u64(struct index_sum *sum, uint64_t v)
{
	uint8_t b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (uint8_t)(v >> (8 * i));
	index_sum_bytes(sum, b, sizeof(b));
}

/* What does not fit is left out; keys are bounded, so nothing is. */
void index_sum_bytes(struct index_sum *sum, const void *data, size_t len)
{
	size_t room = sizeof(sum->b) - sum->len;

	if (len > room)
		len = room;
	memcpy(sum->b + sum->len, data, len);
	sum->len += len;
}

int64_t index_sum_end(const struct index_sum *sum, const void *blob, size_t len)
{
	return (int32_t)digest_crc(sum->b, sum->len, blob, len);
}
