/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * delta: one file of what was written to one image of a live image (live.h).
 *
 * It is sparse, and has the pages and what each of them is:
 *
 *	0		the header, 64 bytes (below), rewritten in place when the size changes
 *	4096		two bits a page: DELTA_BIT_WRITTEN, DELTA_BIT_ZEROED; page i's are bits
 *			2 * (i % 4) and up of byte i / 4
 *	DELTA_DATA	page i at DELTA_DATA + i * 4096
 *
 * A page is DATA if it is WRITTEN and its place in the file is no hole; else ZERO if it is
 * ZEROED; else NONE, and what lies below counts.  Its bytes are written first, then its bits, and
 * one fdatasync() makes both last.  What a power cut leaves of a page that was not synced
 * is therefore its old contents or its new ones: a WRITTEN bit that lasted without its bytes
 * is over a hole (file systems allocate blocks with the data that goes there).
 * A page that is zeroed gets its bit first; its bytes are punched out when that has
 * been synced (delta_sync()), so that a page never goes back to what was below.  The file is
 * DELTA_DATA and the image's size long, that rounded up to 1 GiB; longer where it shrank.
 *
 * Header: 0 magic "LAMINADL"  8 u32 compat  12 u32 read-only-compat  16 u32 incompat feature
 * bits  20 zeros[4]  24 the store's uuid[16]  40 u64 sequence number  48 u64 size of the image
 * in bytes 56 zeros[4]  60 u32 crc of bytes 0..59
 *
 * Threads: writers of one frame (2 MiB) not at once, which is the caller's care (one who zeroes
 * or allocates writes to all frames of the range); delta_set_size() beside no writer.  Anything
 * else from any thread, delta_sync() beside all of them.
 */
#ifndef LAMINA_DELTA_H
#define LAMINA_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "store/base/err.h"
#include "store/format.h"

#define DELTA_MAGIC "LAMINADL"
#define DELTA_HEADER_LEN 64u
#define DELTA_BITS 4096u
#define DELTA_BIT_WRITTEN 1u
#define DELTA_BIT_ZEROED 2u
#define DELTA_DATA (UINT64_C(1) << 30)		/* bits of 16 TiB fit before it */
#define DELTA_SIZE_MAX (UINT64_C(8) << 40)	/* bytes of an image */

enum delta_state { DELTA_NONE, DELTA_DATA_PAGE, DELTA_ZERO_PAGE };

struct delta;
struct store;

/* What it takes on disk and of what it consists. */
struct delta_counts {
	uint64_t data;		/* pages */
	uint64_t zero;		/* pages */
	uint64_t frames;	/* in which there is one of them */
	uint64_t disk;		/* bytes the file occupies */
};

/* Where it is; borrowed during the call. */
struct delta_place {
	const struct store *store;	/* for its uuid */
	int dirfd;
	const char *name;		/* in it */
	uint64_t seq;
};

/*
 * Makes the file, not synced: the caller has delta_sync() for it, and its directory.  -EEXIST,
 * -ENOSPC, -EFBIG (the size is beyond DELTA_SIZE_MAX or what the file system can), -ENOTSUP (a file
 * system with blocks larger than a page, or that does not tell holes).
 */
int delta_create(const struct delta_place *place, uint64_t size, struct delta **ret,
		 struct err *err);
/*
 * Opens one and loads its bits; what a kill or a power cut left in it is put in order, synced,
 * unless it is to be read only.  -ENOENT; -EBADMSG: not one, of another store, of another
 * sequence number, cut; -EPROTONOSUPPORT: an unknown feature.
 */
#define DELTA_READ 1u		/* to read only; it may be in use by somebody who writes */
/*
 * With DELTA_READ: somebody has opened it to write since the machine was started, so that its
 * bits are as they should be, and need not be held against where the file has bytes.
 */
#define DELTA_MENDED 2u
int delta_open(const struct delta_place *place, unsigned flags, struct delta **ret,
	       struct err *err);
/*
 * Whether its file is still there under its name, with its header: as delta_open(), which would
 * look at the rest too.  Beside no delta_set_size().
 */
int delta_verify(struct delta *d, const struct delta_place *place, struct err *err);
struct delta *delta_ref(struct delta *d);
void delta_unref(struct delta *d);		/* NULL is fine; what was not synced may be lost */

uint64_t delta_seq(const struct delta *d);
uint64_t delta_size(const struct delta *d);	/* bytes */
/*
 * What lies behind a smaller size keeps its state: the caller zeroes it first, and that is synced
 * before the size changes.  One that grows over a GiB is synced, too.  -EFBIG, as delta_sync().
 */
int delta_set_size(struct delta *d, uint64_t size, struct err *err);
void delta_count(struct delta *d, struct delta_counts *ret);
/* When it was last written to; of the file. */
int delta_mtime(struct delta *d, struct timespec *ret);

enum delta_state delta_state(const struct delta *d, uint64_t page);
/*
 * From `page` on (< end): how many pages have its state, at most up to `end`.  Frames
 * without anything are passed over at once.
 */
uint64_t delta_run(const struct delta *d, uint64_t page, uint64_t end, enum delta_state *ret);

/* Reads whole bytes of DATA pages: [off, off + len) of the image.  -EIO with the sentence. */
int delta_read(struct delta *d, void *buf, size_t len, uint64_t off, struct err *err);
/* `n` whole pages become DATA; within one frame.  -ENOSPC and others: they are what they were. */
int delta_write(struct delta *d, const void *buf, uint64_t page, unsigned n, struct err *err);
/* Bytes within one DATA page. */
int delta_patch(struct delta *d, const void *buf, size_t len, uint64_t off, struct err *err);
/* `n` pages become ZERO; any number. */
int delta_zero(struct delta *d, uint64_t page, uint64_t n, struct err *err);
/*
 * Room for `n` pages and their bits is set aside; what they are does not change.  A write that
 * fails does not give it back, until it is opened again.  -ENOSPC, -EOPNOTSUPP.
 */
int delta_allocate(struct delta *d, uint64_t page, uint64_t n, struct err *err);

/*
 * What was written before is durable when it returns 0, and the room of zeroed pages is free.
 * After a failed flush it is not known what was: every later one, and every later write, fails
 * with -EIO (a failure to free room can be tried again).
 */
int delta_sync(struct delta *d, struct err *err);
/* Whether a sync would free room: zeroed pages whose bytes are still there. */
bool delta_has_garbage(const struct delta *d);

#endif
