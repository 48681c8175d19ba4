/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * regions: which part of the guest's address space shows which part of the
 * memfile, as the hypervisor hands it over in JSON: a bare array of
 *
 *	{"base_host_virt_addr": N, "size": N, "offset": N, "page_size": N}
 *
 * (Firecracker's GuestRegionUffdMapping.  "page_size_kib", which despite its
 * name is bytes too, may stand beside "page_size" or in its place.)  Other
 * fields are passed over.  Regions come in any order of addresses.
 */
#ifndef LAMINA_PAGER_REGIONS_H
#define LAMINA_PAGER_REGIONS_H

#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

#define REGIONS_MAX 64
#define REGIONS_TEXT_MAX 65536		/* bytes of JSON */
#define REGIONS_PAGES_MAX (UINT64_C(1) << 32)	/* of all regions: 16 TiB of 4 KiB */

struct region {
	uint64_t addr;		/* in the guest's process */
	uint64_t size;		/* bytes, a multiple of page_size */
	uint64_t off;		/* in the memfile, a multiple of 4096 */
	uint64_t first;		/* number of its first page among all of the session */
	uint32_t page_size;	/* 4096 or 2 MiB */
	uint32_t reserved;	/* 0 */
};

static inline uint64_t region_pages(const struct region *r)
{
	return r->size / r->page_size;
}

/* Where page number `page`, one of the region's, lies in the memfile. */
static inline uint64_t region_offset(const struct region *r, uint64_t page)
{
	return r->off + (page - r->first) * r->page_size;
}

/* Where it lies in the guest's process. */
static inline uint64_t region_addr(const struct region *r, uint64_t page)
{
	return r->addr + (page - r->first) * r->page_size;
}

/*
 * Decodes and checks: fields there and integers, sizes and alignments, no
 * overflow, no two that share an address or a byte of the memfile, none beyond
 * `memfile_size`.  `first` is counted up in the order of the array.  Returns
 * how many (1 to REGIONS_MAX), or -EINVAL with a sentence that names the entry
 * and the field, or -ENOMEM.
 */
int regions_parse(const char *text, size_t len, uint64_t memfile_size,
		  struct region ret[REGIONS_MAX], struct err *err);

/* The same checks over regions that are decoded already (a state that was kept). */
int regions_check(const struct region *r, unsigned n, uint64_t memfile_size, struct err *err);

/* Which region holds `addr`, or NULL.  */
const struct region *regions_at(const struct region *r, unsigned n, uint64_t addr);
/* Which region holds page number `page`, or NULL. */
const struct region *regions_of(const struct region *r, unsigned n, uint64_t page);

#endif
