/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/delta-header.h"

#include <string.h>

#include "store/base/rd.h"
#include "store/digest.h"

#define MAGIC_LEN 8
#define UUID_AT 24
#define CRC_AT (DELTA_HEADER_LEN - 4)

static void put_le(uint8_t *p, uint64_t v, int len)
{
	for (int i = 0; i < len; i++, v >>= 8)
		p[i] = (uint8_t)v;
}

void delta_header_encode(const struct delta_header *h, uint8_t out[DELTA_HEADER_LEN])
{
	memset(out, 0, DELTA_HEADER_LEN);
	memcpy(out, DELTA_MAGIC, MAGIC_LEN);
	put_le(out + 12, h->rocompat, 4);
	put_le(out + 16, h->incompat, 4);
	memcpy(out + UUID_AT, h->uuid, sizeof(h->uuid));
	put_le(out + 40, h->seq, 8);
	put_le(out + 48, h->size, 8);
	put_le(out + CRC_AT, digest_crc(out, CRC_AT, NULL, 0), 4);
}

static int check_magic(const uint8_t in[DELTA_HEADER_LEN], struct err *err)
{
	struct rd rd;

	if (memcmp(in, DELTA_MAGIC, MAGIC_LEN) != 0)
		return err_set(err, -EBADMSG, "it does not begin as a delta does");
	rd_init(&rd, in + CRC_AT, 4);
	if (rd_u32(&rd) != digest_crc(in, CRC_AT, NULL, 0))
		return err_set(err, -EBADMSG, "its header's checksum differs");
	return 0;
}

int delta_header_decode(const uint8_t in[DELTA_HEADER_LEN], struct delta_header *ret,
			struct err *err)
{
	struct delta_header h;
	struct rd rd;
	int rc = check_magic(in, err);

	if (rc < 0)
		return rc;
	rd_init(&rd, in + MAGIC_LEN, CRC_AT - MAGIC_LEN);
	(void)rd_u32(&rd);
	h.rocompat = rd_u32(&rd);
	h.incompat = rd_u32(&rd);
	(void)rd_u32(&rd);
	memcpy(h.uuid, rd_bytes(&rd, sizeof(h.uuid)), sizeof(h.uuid));
	h.seq = rd_u64(&rd);
	h.size = rd_u64(&rd);
	if (h.incompat & ~DELTA_INCOMPAT_KNOWN)
		return err_set(err, -EPROTONOSUPPORT, "it needs a newer lamina (features %#x)",
			       h.incompat & ~DELTA_INCOMPAT_KNOWN);
	if (h.size > DELTA_SIZE_MAX)
		return err_set(err, -EBADMSG, "its header says that the image has %llu bytes",
			       (unsigned long long)h.size);
	*ret = h;
	return 0;
}
