/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "store/format.h"

struct codec {
	ZSTD_CCtx *cctx;	/* NULL at level 0 */
	ZSTD_DCtx *dctx;
};

/* The record knows the length and has a checksum: no byte is spent on either. */
static int set_up(ZSTD_CCtx *cctx, int level)
{
	if (ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_contentSizeFlag, 0)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_checksumFlag, 0)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_dictIDFlag, 0)))
		return -EINVAL;
	return 0;
}

int codec_new(int level, struct codec **ret)
{
	struct codec *c;
	int rc = 0;

	if (level < 0 || level > ZSTD_maxCLevel())
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->dctx = ZSTD_createDCtx();
	c->cctx = level ? ZSTD_createCCtx() : NULL;
	if (!c->dctx || (level && !c->cctx))
		rc = -ENOMEM;
	else if (level)
		rc = set_up(c->cctx, level);
	if (rc < 0) {
		codec_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void codec_free(struct codec *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->cctx);
	ZSTD_freeDCtx(c->dctx);
	free(c);
}

size_t codec_bound(size_t len)
{
	return ZSTD_compressBound(len);
}

size_t codec_compress(struct codec *c, void *dst, const void *src, size_t len, uint8_t *ret_id)
{
	size_t n = len;

	if (c->cctx)
		n = ZSTD_compress2(c->cctx, dst, codec_bound(len), src, len);
	if (!ZSTD_isError(n) && n < len) {
		*ret_id = CODEC_ZSTD;
		return n;
	}
	if (len)
		memcpy(dst, src, len);
	*ret_id = CODEC_NONE;
	return len;
}

static int copy_out(void *dst, size_t dst_len, const void *src, size_t len)
{
	if (len != dst_len)
		return -EBADMSG;
	if (len)
		memcpy(dst, src, len);
	return 0;
}

int codec_decompress(struct codec *c, uint8_t id, void *dst, size_t dst_len, const void *src,
		     size_t len)
{
	switch (id) {
	case CODEC_NONE:
		return copy_out(dst, dst_len, src, len);
	case CODEC_ZSTD:
		/* An error code of zstd is larger than any length. */
		len = ZSTD_decompressDCtx(c->dctx, dst, dst_len, src, len);
		return len == dst_len ? 0 : -EBADMSG;
	default:
		return -EPROTONOSUPPORT;
	}
}

const char *codec_name(int id)
{
	switch (id) {
	case CODEC_NONE:
		return "none";
	case CODEC_ZSTD:
		return "zstd";
	default:
		return NULL;
	}
}

int codec_from_name(const char *name)
{
	if (strcmp(name, "none") == 0)
		return CODEC_NONE;
	return strcmp(name, "zstd") == 0 ? CODEC_ZSTD : -EINVAL;
}

int codec_level_max(int id)
{
	return id == CODEC_ZSTD ? ZSTD_maxCLevel() : 0;
}
