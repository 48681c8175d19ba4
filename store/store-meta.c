/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fields of the store as rows of the index's meta table, in words that a
 * person with an SQLite shell can read.
 */
#include <stdio.h>
#include <string.h>

#include "store/base/fmt.h"
#include "store/codec.h"
#include "store/digest.h"
#include "store/index.h"
#include "store/store.h"

#define UUID_LEN 16u
#define VALUE_MAX 64u

static const char *const chunk_names[IMAGE_KINDS] = {
	[IMAGE_MEMFILE] = "chunk-pages-memfile",
	[IMAGE_ROOTFS] = "chunk-pages-rootfs",
	[IMAGE_OTHER] = "chunk-pages-other",
};

static int put_numbers(struct index *ix, const struct store_params *params, struct err *err)
{
	int rc = index_meta_set_u64(ix, "level", (uint64_t)params->level, err);

	for (int i = 0; i < IMAGE_KINDS && rc == 0; i++)
		rc = index_meta_set_u64(ix, chunk_names[i], params->chunk_pages[i], err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "next_fid", 1, err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "next_seq", 1, err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "next_pack", 1, err);
	return rc;
}

int store_meta_put(struct index *ix, const uint8_t uuid[16], const struct store_params *params,
		   struct err *err)
{
	char hex[2 * UUID_LEN + 1];
	int rc = store_params_check(params, err);

	if (rc == 0)
		rc = index_meta_set(ix, "uuid", fmt_hex(hex, uuid, UUID_LEN), err);
	if (rc == 0)
		rc = index_meta_set(ix, "digest", digest_name(params->digest), err);
	if (rc == 0)
		rc = index_meta_set(ix, "codec", codec_name(params->codec), err);
	if (rc == 0)
		rc = index_meta_set(ix, "cipher", "none", err);
	return rc < 0 ? rc : put_numbers(ix, params, err);
}

/* A checksum has said that the value is as it was written. */
static int unknown(const char *what, const char *value, struct err *err)
{
	return err_set(err, -EPROTONOSUPPORT,
		       "the store was written by a newer lamina (%s '%s')", what, value);
}

static int get_name(struct index *ix, const char *what, int (*parse)(const char *name), int *ret,
		    struct err *err)
{
	char value[VALUE_MAX];
	int rc = index_meta_get(ix, what, value, sizeof(value), err);

	if (rc < 0)
		return rc;
	rc = parse(value);
	if (rc < 0)
		return unknown(what, value, err);
	*ret = rc;
	return 0;
}

static int cipher_from_name(const char *name)
{
	return strcmp(name, "none") == 0 ? CIPHER_NONE : -EINVAL;
}

static int get_numbers(struct index *ix, struct store_params *p, struct err *err)
{
	uint64_t v = 0;
	int rc = index_meta_get_u64(ix, "level", &v, err);

	p->level = v > INT8_MAX ? INT8_MAX : (int)v;
	for (int i = 0; i < IMAGE_KINDS && rc == 0; i++) {
		rc = index_meta_get_u64(ix, chunk_names[i], &v, err);
		p->chunk_pages[i] = v > CHUNK_PAGES_MAX ? 0 : (unsigned)v;
	}
	return rc;
}

static int get_uuid(struct index *ix, uint8_t uuid[16], struct err *err)
{
	char value[VALUE_MAX];
	int rc = index_meta_get(ix, "uuid", value, sizeof(value), err);

	if (rc == 0 && fmt_unhex(uuid, UUID_LEN, value) < 0)
		return err_set(err, -EBADMSG, "the index is damaged: uuid '%s'", value);
	return rc;
}

int store_meta_get(struct index *ix, uint8_t uuid[16], struct store_params *ret, struct err *err)
{
	struct store_params p;
	uint8_t id[UUID_LEN];
	int cipher, rc = get_uuid(ix, id, err);

	if (rc == 0)
		rc = get_name(ix, "digest", digest_from_name, &p.digest, err);
	if (rc == 0)
		rc = get_name(ix, "codec", codec_from_name, &p.codec, err);
	if (rc == 0)
		rc = get_name(ix, "cipher", cipher_from_name, &cipher, err);
	if (rc == 0)
		rc = get_numbers(ix, &p, err);
	if (rc == -ENOENT)	/* a row is missing: the file is whole, but not the table */
		rc = err_wrap(err, -EBADMSG, "the index is damaged");
	if (rc == 0 && store_params_check(&p, err) < 0)
		rc = err_wrap(err, -EBADMSG, "the index is damaged");
	if (rc < 0)
		return rc;
	memcpy(uuid, id, UUID_LEN);
	*ret = p;
	return 0;
}
