/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/pack-header.h"

#include <string.h>

#include "store/base/rd.h"
#include "store/codec.h"
#include "store/digest.h"

#define MAGIC_LEN 8
#define CRC_AT (PACK_HEADER_LEN - 4)
#define HURT_MAX 8		/* bytes; another store's uuid differs in more */

static uint8_t *put_le32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++, v >>= 8)
		*p++ = (uint8_t)v;
	return p;
}

void pack_header_encode(const struct pack_header *h, uint8_t out[PACK_HEADER_LEN])
{
	const struct store_params *params = &h->params;
	uint8_t *p = out + MAGIC_LEN;

	memset(out, 0, PACK_HEADER_LEN);
	memcpy(out, PACK_MAGIC, MAGIC_LEN);
	p = put_le32(p, 0);
	p = put_le32(p, h->rocompat);
	p = put_le32(p, h->incompat | FEATURE_SEED);
	p = put_le32(p, h->number);
	memcpy(p, h->uuid, sizeof(h->uuid));
	p += sizeof(h->uuid);
	*p++ = (uint8_t)params->digest;
	*p++ = (uint8_t)params->codec;
	*p++ = CIPHER_NONE;
	*p++ = (uint8_t)params->level;
	for (int i = 0; i < IMAGE_KINDS; i++)
		*p++ = (uint8_t)params->chunk_pages[i];
	put_le32(out + CRC_AT, digest_crc(out, CRC_AT, NULL, 0));
}

static int decode_params(struct rd *rd, struct store_params *ret, struct err *err)
{
	struct store_params p = {0};
	int cipher;

	p.digest = rd_u8(rd);
	p.codec = rd_u8(rd);
	cipher = rd_u8(rd);
	p.level = (int8_t)rd_u8(rd);
	for (int i = 0; i < IMAGE_KINDS; i++) {
		p.chunk_pages[i] = rd_u8(rd);
		if (p.chunk_pages[i] < 1 || p.chunk_pages[i] > CHUNK_PAGES_MAX)
			return err_set(err, -EBADMSG, "its header asks for chunks of %u pages",
				       p.chunk_pages[i]);
	}
	if (!digest_name(p.digest) || !codec_name(p.codec) || cipher != CIPHER_NONE)
		return err_set(err, -EPROTONOSUPPORT,
			       "it needs a newer lamina (digest %d, codec %d, cipher %d)",
			       p.digest, p.codec, cipher);
	*ret = p;
	return 0;
}

static int check_magic(const uint8_t in[PACK_HEADER_LEN], struct err *err)
{
	struct rd rd;

	if (memcmp(in, PACK_MAGIC, MAGIC_LEN) != 0)
		return err_set(err, -EBADMSG, "it does not begin as a pack does");
	rd_init(&rd, in + CRC_AT, 4);
	if (rd_u32(&rd) != digest_crc(in, CRC_AT, NULL, 0))
		return err_set(err, -EBADMSG, "its header's checksum differs");
	return 0;
}

int pack_header_decode(const uint8_t in[PACK_HEADER_LEN], struct pack_header *ret, struct err *err)
{
	struct pack_header h;
	struct rd rd;
	int rc = check_magic(in, err);

	if (rc < 0)
		return rc;
	rd_init(&rd, in + MAGIC_LEN, PACK_HEADER_LEN - MAGIC_LEN);
	(void)rd_u32(&rd);
	h.rocompat = rd_u32(&rd);
	h.incompat = rd_u32(&rd);
	h.number = rd_u32(&rd);
	memcpy(h.uuid, rd_bytes(&rd, sizeof(h.uuid)), sizeof(h.uuid));
	if (h.incompat & ~PACK_INCOMPAT_KNOWN)
		return err_set(err, -EPROTONOSUPPORT, "it needs a newer lamina (features %#x)",
			       h.incompat & ~PACK_INCOMPAT_KNOWN);
	if (!(h.incompat & FEATURE_SEED))
		return err_set(err, -EPROTONOSUPPORT, "it was written by a lamina of before 0.1.0, "
			       "whose format is no longer read");
	rc = decode_params(&rd, &h.params, err);
	if (rc == 0)
		*ret = h;
	return rc;
}

bool pack_header_is_hurt(const uint8_t in[PACK_HEADER_LEN], const struct pack_header *want)
{
	uint8_t good[PACK_HEADER_LEN];
	unsigned n = 0;

	if (check_magic(in, NULL) == 0)
		return false;
	pack_header_encode(want, good);
	for (unsigned i = 0; i < PACK_HEADER_LEN; i++)
		n += in[i] != good[i];
	return n <= HURT_MAX;
}
