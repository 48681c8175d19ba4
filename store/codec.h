/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * codec: compression of chunks.  The only user of libzstd.
 * A context belongs to one thread at a time.
 */
#ifndef LAMINA_CODEC_H
#define LAMINA_CODEC_H

#include <stddef.h>
#include <stdint.h>

struct codec;

/* Level 0 compresses nothing.  -EINVAL above codec_level_max(), -ENOMEM. */
int codec_new(int level, struct codec **ret);
void codec_free(struct codec *codec);

/* Largest output of codec_compress for `len` bytes. */
size_t codec_bound(size_t len);

/*
 * Compresses `len` bytes.  Returns the length and sets *ret_id: what does not
 * shrink is stored as it is (CODEC_NONE).  `dst` has codec_bound(len) bytes.
 */
size_t codec_compress(struct codec *codec, void *dst, const void *src, size_t len,
		      uint8_t *ret_id);

/* Exactly `dst_len` bytes come out, or -EBADMSG; unknown id -EPROTONOSUPPORT. */
int codec_decompress(struct codec *codec, uint8_t id, void *dst, size_t dst_len,
		     const void *src, size_t len);

const char *codec_name(int id);
int codec_from_name(const char *name);			/* or -EINVAL */
int codec_level_max(int id);

#endif
