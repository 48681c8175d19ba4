/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/digest.h"

#include <errno.h>
#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>

#include "store/format.h"

#define FRAME_TAG "lamina frame 1\n"

static const struct algo {
	int id;
	int gcry;
	const char *name;
} algos[] = {
	{DIGEST_BLAKE2B_256, GCRY_MD_BLAKE2B_256, "blake2b-256"},
	{DIGEST_SHA256, GCRY_MD_SHA256, "sha256"},
};

#define NALGOS (sizeof(algos) / sizeof(algos[0]))

struct digest_ctx {
	gcry_md_hd_t md;
};

static const struct algo *algo_of(int id)
{
	for (size_t i = 0; i < NALGOS; i++)
		if (algos[i].id == id)
			return &algos[i];
	return NULL;
}

/* Algorithms come from checked headers, so an unknown one is our own fault. */
static int gcry_of(int id)
{
	const struct algo *a = algo_of(id);

	if (!a)
		abort();
	return a->gcry;
}

int digest_init(void)
{
	if (!gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P)) {
		if (!gcry_check_version(GCRYPT_VERSION))
			return -ENOTSUP;
		gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
		gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
	}
	/* A library in FIPS mode has no BLAKE2 and no CRC. */
	for (size_t i = 0; i < NALGOS; i++)
		if (gcry_md_test_algo(algos[i].gcry))
			return -ENOTSUP;
	return gcry_md_test_algo(GCRY_MD_CRC32) ? -ENOTSUP : 0;
}

/* At 4 KiB as fast as a handle kept for each thread and reset. */
void digest_bytes(int algo, const void *data, size_t len, struct digest *ret)
{
	gcry_md_hash_buffer(gcry_of(algo), ret->b, data, len);
}

int digest_begin(int algo, struct digest_ctx **ret)
{
	struct digest_ctx *ctx = malloc(sizeof(*ctx));

	if (!ctx)
		return -ENOMEM;
	if (gcry_md_open(&ctx->md, gcry_of(algo), 0)) {
		free(ctx);
		return -ENOMEM;
	}
	*ret = ctx;
	return 0;
}

void digest_update(struct digest_ctx *ctx, const void *data, size_t len)
{
	gcry_md_write(ctx->md, data, len);
}

void digest_end(struct digest_ctx *ctx, struct digest *ret)
{
	memcpy(ret->b, gcry_md_read(ctx->md, 0), DIGEST_LEN);
	gcry_md_close(ctx->md);
	free(ctx);
}

static bool all_zero(const struct digest pages[])
{
	for (size_t i = 0; i < FRAME_PAGES; i++)
		if (!digest_is_zero(&pages[i]))
			return false;
	return true;
}

int digest_frame(int algo, const struct digest pages[], struct digest *ret)
{
	gcry_buffer_t piece[2] = {
		{.data = (void *)FRAME_TAG, .len = sizeof(FRAME_TAG) - 1},
		{.data = (void *)pages, .len = FRAME_PAGES * DIGEST_LEN},
	};

	if (all_zero(pages)) {
		memset(ret, 0, sizeof(*ret));
		return 0;
	}
	return gcry_md_hash_buffers(gcry_of(algo), 0, ret->b, piece, 2) ? -ENOMEM : 0;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool digest_is_zero(const struct digest *d)
{
	static const struct digest zero;

	return digest_equal(d, &zero);
}

uint64_t digest_key(const struct digest *d)
{
	uint64_t key = 0;

	for (int i = 7; i >= 0; i--)
		key = key << 8 | d->b[i];
	return key;
}

bool digest_is_hook(const struct digest *d)
{
	return (digest_key(d) & HOOK_MASK) == 0;
}

uint32_t digest_crc(const void *a, size_t alen, const void *b, size_t blen)
{
	gcry_buffer_t piece[2] = {
		{.data = (void *)a, .len = alen},
		{.data = (void *)b, .len = blen},
	};
	uint8_t out[4];

	if (gcry_md_hash_buffers(GCRY_MD_CRC32, 0, out, piece, 2))
		abort();	/* digest_init() was not called, or has failed */
	return (uint32_t)out[0] << 24 | out[1] << 16 | out[2] << 8 | out[3];
}

const char *digest_name(int algo)
{
	const struct algo *a = algo_of(algo);

	return a ? a->name : NULL;
}

int digest_from_name(const char *name)
{
	for (size_t i = 0; i < NALGOS; i++)
		if (strcmp(algos[i].name, name) == 0)
			return algos[i].id;
	return -EINVAL;
}
