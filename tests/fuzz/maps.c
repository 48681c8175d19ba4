/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RECORD_MAPS: a count and that many frames; whatever is accepted covers its
 * 512 pages and survives being written again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/format.h"
#include "store/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_again(const struct frame *f)
{
	struct buf map = {0}, out = {0};
	struct frame back;
	struct rd rd;

	runs_encode(&f->map, &map);
	frame_encode(f->fid, &f->digest, map.data, map.len, &out);
	rd_init(&rd, out.data, out.len);
	if (frame_decode(&rd, &back) < 0 || !rd_done(&rd))
		abort();
	if (back.fid != f->fid || !digest_equal(&back.digest, &f->digest) ||
	    !runs_equal(&back.map, &f->map))
		abort();
	frame_fini(&back);
	buf_fini(&map);
	buf_fini(&out);
}

static void use(const uint8_t *data, size_t len)
{
	struct frame f;
	struct rd rd;

	rd_init(&rd, data, len);
	for (uint64_t n = rd_varint_max(&rd, len); n > 0; n--) {
		if (frame_decode(&rd, &f) < 0)
			return;
		if (f.fid == 0 || f.map.count != FRAME_PAGES)
			abort();
		check_again(&f);
		frame_fini(&f);
	}
}

/* One frame around the bytes, which are its map. */
static void use_as_map(const uint8_t *data, size_t len)
{
	struct digest digest = {{0}};
	struct buf out = {0};

	buf_varint(&out, 1);
	frame_encode(1 + len, &digest, data, len, &out);
	use(out.data, out.len);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	use(data, len);
	use_as_map(data, len);
	return 0;
}
