/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * digest: identity (BLAKE2b-256 or SHA-256) and the checksum of records.
 * The only user of libgcrypt.  Safe from any thread.
 *
 * Domains: a page is hashed bare (always exactly 4096 bytes); a frame, image
 * and layer begin with their own tag, so that none can pass for another.
 *   frame  = H("lamina frame 1\n"  || 512 page digests; zero page: 32 zero bytes)
 *            a frame of zeros has the digest of 32 zero bytes, by definition
 *   image  = H("lamina image 1\n"  || u8 name length || name || u64 size || frame digests)
 *   layer  = H("lamina layer 1\n"  || u8 algorithm || u8 has_parent || parent id or 32 zero
 *              bytes || u8 number of images || image digests, images sorted by name)
 */
#ifndef LAMINA_DIGEST_H
#define LAMINA_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_LEN 32
#define DIGEST_HEX_LEN (2 * DIGEST_LEN + 1)

struct digest {
	uint8_t b[DIGEST_LEN];
};

/* Once a process, before the others.  0 or -errno. */
int digest_init(void);

/* H(data) by `algo` (enum digest_id). */
void digest_bytes(int algo, const void *data, size_t len, struct digest *ret);

/* A digest over pieces; digest_end frees.  -ENOMEM from begin. */
struct digest_ctx;
int digest_begin(int algo, struct digest_ctx **ret);
void digest_update(struct digest_ctx *ctx, const void *data, size_t len);
void digest_end(struct digest_ctx *ctx, struct digest *ret);

/* The frame digest of 512 page digests (zero pages all-zero).  -ENOMEM. */
int digest_frame(int algo, const struct digest pages[], struct digest *ret);

bool digest_equal(const struct digest *a, const struct digest *b);
bool digest_is_zero(const struct digest *d);
/* The first eight bytes, little-endian: key of hash tables and hooks. */
uint64_t digest_key(const struct digest *d);
/* Whether the sparse index keeps this digest as a hook. */
bool digest_is_hook(const struct digest *d);

/* CRC-32 (IEEE) of two pieces one after the other; either may be empty. */
uint32_t digest_crc(const void *a, size_t alen, const void *b, size_t blen);

const char *digest_name(int algo);		/* "blake2b-256" or NULL */
int digest_from_name(const char *name);		/* or -EINVAL */

#endif
