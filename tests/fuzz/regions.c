/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handoff's JSON: whatever its bytes are, the regions that come of it do
 * not overlap and lie within the memfile, or there is a sentence.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/pager/regions.h"

#define MEMFILE_SIZE (UINT64_C(1) << 42)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int truth)
{
	if (!truth)
		abort();
}

/* Each address and page of `r[i]` is its own, and only its own. */
static void use(const struct region *r, unsigned n, unsigned i)
{
	uint64_t last = r[i].first + region_pages(&r[i]) - 1;

	must(r[i].size > 0 && r[i].size % r[i].page_size == 0);
	must(r[i].off <= MEMFILE_SIZE && r[i].size <= MEMFILE_SIZE - r[i].off);
	must(regions_at(r, n, r[i].addr) == &r[i]);
	must(regions_at(r, n, r[i].addr + r[i].size - 1) == &r[i]);
	must(regions_of(r, n, r[i].first) == &r[i]);
	must(regions_of(r, n, last) == &r[i]);
	must(regions_of(r, n, last + 1) == (i + 1 < n ? &r[i + 1] : NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct region r[REGIONS_MAX], untouched[REGIONS_MAX];
	struct err err = {""};
	int n;

	memset(r, 0x5a, sizeof(r));
	memset(untouched, 0x5a, sizeof(untouched));
	n = regions_parse((const char *)data, len, MEMFILE_SIZE, r, &err);
	if (n < 0) {
		must(n == -EINVAL && *err.text);
		must(memcmp(r, untouched, sizeof(r)) == 0);
		return 0;
	}
	must(n > 0 && n <= REGIONS_MAX);
	must(regions_check(r, (unsigned)n, MEMFILE_SIZE, &err) == 0);
	for (unsigned i = 0; i < (unsigned)n; i++)
		use(r, (unsigned)n, i);
	return 0;
}
