/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scan: the records of a pack, one after another, past what is damaged.
 *
 * Every record is checked before it is handed out.  Where there is none that
 * is whole, the bytes up to the next one are reported as one piece of damage.
 * The next one is looked for where the headers say that it is, and only then
 * by its magic number: what a guest has in its memory may look like a record.
 */
#ifndef LAMINA_SCAN_H
#define LAMINA_SCAN_H

#include <stdint.h>

#include "store/base/err.h"
#include "store/record.h"

struct packs;
struct scan;

struct scan_item {
	uint64_t off;
	uint64_t len;			/* in the pack: header and payload, or what is damaged */
	const char *damage;		/* NULL: a record; otherwise the reason */
	struct record record;		/* of a record, as all below */
	const uint8_t *bytes;		/* header and payload, until the next call */
	const uint8_t *payload;
};

/* Of [off, end).  A file that ends before `end` is damage.  -ENOENT: no such pack. */
int scan_open(struct packs *packs, uint32_t pack, uint64_t off, uint64_t end, struct scan **ret,
	      struct err *err);
void scan_close(struct scan *scan);	/* NULL is fine */

/* 1 and the next item, 0 at the end; -errno when the pack cannot be read at all. */
int scan_next(struct scan *scan, struct scan_item *ret, struct err *err);

#endif
