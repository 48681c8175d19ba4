/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs: bytes are refused, or are a map that covers what was asked for and
 * survives being written again.  Bytes read as a recipe make a map that does.
 */
#include <stdint.h>
#include <stdlib.h>

#include "store/runs.h"

#define COUNT 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_cover(const struct runs *r, uint64_t count)
{
	uint64_t pos = 0;

	for (size_t i = 0; i < r->n; i++) {
		if (r->v[i].pos != pos || r->v[i].len == 0)
			abort();
		if (runs_find(r, pos) != &r->v[i])
			abort();
		pos += r->v[i].len;
	}
	if (pos != count || r->count != count || runs_find(r, count))
		abort();
}

static void check_survives(const struct runs *r)
{
	struct runs back = {0};
	struct buf out = {0};
	struct rd rd;

	runs_encode(r, &out);
	rd_init(&rd, out.data, out.len);
	if (runs_decode(&back, &rd, r->count, r->n) < 0 || !rd_done(&rd) || !runs_equal(r, &back))
		abort();
	runs_fini(&back);
	buf_fini(&out);
}

static void check_bytes(const uint8_t *data, size_t len)
{
	struct runs r = {0};
	struct rd rd;

	rd_init(&rd, data, len);
	if (runs_decode(&r, &rd, COUNT, COUNT) < 0) {
		if (r.v || r.n || r.count)
			abort();
		return;
	}
	check_cover(&r, COUNT);
	check_survives(&r);
	runs_fini(&r);
}

static void check_recipe(const uint8_t *data, size_t len)
{
	struct runs r = {0};
	struct rd rd;

	rd_init(&rd, data, len);
	while (rd_left(&rd) >= 4) {
		uint8_t kind = rd_u8(&rd);
		uint64_t addr = rd_u16(&rd), n = rd_u8(&rd);

		if (runs_add(&r, kind % 3 ? addr << kind % 40 : 0, n) < 0)
			abort();
	}
	check_cover(&r, r.count);
	check_survives(&r);
	runs_fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	check_bytes(data, len);
	check_recipe(data, len);
	return 0;
}
