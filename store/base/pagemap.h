/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pagemap: what a process has where in its memory, page by page.
 *
 *	struct pagemap pm;
 *	struct pagemap_query written = {start, end, PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
 *					PAGEMAP_FILE};
 *
 *	rc = pagemap_open(pid, &pm, &err);
 *	if (rc == 0)
 *		rc = pagemap_each(&pm, &written, take_run, ctx);
 *	pagemap_close(&pm);
 *
 * is what a process has written to a private mapping of a file: its own pages, in memory or
 * swapped out, those that it has only read left out.  By PAGEMAP_SCAN (Linux 6.7), else by the
 * entries of /proc/PID/pagemap.  The process goes on meanwhile: a picture of one instant needs it
 * stopped.  A struct pagemap is one thread's at a time; different ones are independent.
 */
#ifndef LAMINA_BASE_PAGEMAP_H
#define LAMINA_BASE_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/base/err.h"

#define PAGEMAP_PAGE 4096u
#define PAGEMAP_WINDOW (512 * PAGEMAP_PAGE)

enum {
	PAGEMAP_PRESENT = 1,
	PAGEMAP_SWAPPED = 2,	/* or on its way (migrating), or a marker (a guard, poison) */
	PAGEMAP_FILE = 4,	/* a file's page, or of shared memory; not the process's own copy */
	/*
	 * The next two without PAGEMAP_SCAN: only if CAP_SYS_ADMIN lets us see frame numbers;
	 * without it they are never set.
	 */
	PAGEMAP_ZERO = 8,	/* present, but only the kernel's page of zeros: read, never
				   written.  (The huge zero page has it, or not, as the kernel
				   likes.) */
	PAGEMAP_HUGE = 16,	/* a part of one huge page; without PAGEMAP_SCAN, of 2 MiB that lie
				   in one frame in order */
};

struct pagemap {
	int fd;
	bool entries;		/* no PAGEMAP_SCAN here */
	uint64_t zero_pfn;	/* 0: unknown */
};

/* Pages with at least one flag of `any`, and none of `none`.  Whole pages, addresses. */
struct pagemap_query {
	uint64_t start, end;
	unsigned any;		/* not 0 */
	unsigned none;		/* disjoint from `any` */
};

/* Pages beside each other with the same flags. */
struct pagemap_run {
	uint64_t start, end;	/* addresses */
	unsigned flags;		/* all that are known of them */
};

/* `pid` 0 is this process.  -ESRCH: no such process, or a kernel's thread; -EACCES, -EPERM. */
int pagemap_open(pid_t pid, struct pagemap *ret, struct err *err);
void pagemap_close(struct pagemap *pm);

/*
 * Calls fn(ctx, run) for each run, in order; beside each other, two of them differ.  What `fn`
 * returns other than 0 ends it, and is returned.  -ESRCH: the process has ended meanwhile (what
 * was seen then means nothing; so "nothing written" is never said of a process that is gone).
 */
int pagemap_each(struct pagemap *pm, const struct pagemap_query *query,
		 int (*fn)(void *ctx, const struct pagemap_run *run), void *ctx);

/*
 * The first page that fits: 1, and *ret is it, perhaps with pages behind it that are the same (not
 * all of these); 0: there is none; -ESRCH as above.  Passes over terabytes of nothing quickly with
 * PAGEMAP_SCAN; without it, reads 8 bytes a page.
 */
int pagemap_find(struct pagemap *pm, const struct pagemap_query *query, struct pagemap_run *ret);

#endif
