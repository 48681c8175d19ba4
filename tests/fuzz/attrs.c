/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes: bytes are refused, or are attributes that could have been set
 * one by one and are written back as the same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/attrs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_bytes(const struct attrs *a, const uint8_t *data, size_t len)
{
	struct buf out = {0};

	attrs_encode(a, &out);
	if (out.len != len || memcmp(out.data, data, len) != 0)
		abort();
	buf_fini(&out);
}

static void check_settable(const struct attrs *a)
{
	struct attrs copy = {0};

	for (size_t i = a->n; i > 0; i--)
		if (attrs_set(&copy, a->v[i - 1].key, a->v[i - 1].value) < 0)
			abort();
	if (copy.n != a->n)
		abort();
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(copy.v[i].key, a->v[i].key) != 0)
			abort();
	attrs_fini(&copy);
}

static void use(const uint8_t *data, size_t len)
{
	struct attrs a = {0};
	struct rd rd;

	rd_init(&rd, data, len);
	if (attrs_decode(&a, &rd) < 0) {
		if (a.v || a.n)
			abort();
		return;
	}
	check_bytes(&a, data, len - rd_left(&rd));
	check_settable(&a);
	attrs_fini(&a);
}

/* Keys of one letter, in order, and values cut from the input. */
static void use_recipe(const uint8_t *data, size_t len)
{
	struct buf out = {0};
	size_t n = len < 26 ? len : 26, at = 0;

	buf_varint(&out, n);
	for (size_t i = 0; i < n; i++) {
		size_t take = data[i] % 8;

		if (take > len - at)
			take = len - at;
		buf_u8(&out, 1);
		buf_u8(&out, (uint8_t)('a' + i));
		buf_varint(&out, take);
		buf_bytes(&out, data + at, take);
		at += take;
	}
	use(out.data, out.len);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	use(data, len);
	use_recipe(data, len);
	return 0;
}
