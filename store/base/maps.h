/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * maps: the mappings of a process, one after the other, in memory of a fixed size.
 *
 *	struct maps maps;
 *	struct maps_region region;
 *
 *	rc = maps_open(pid, MAPS_DETAIL, &maps);
 *	while (rc == 0 && (rc = maps_next(&maps, &region)) == 1)
 *		rc = look_at(&region);
 *	maps_close(&maps);		(when maps_open() gave 0)
 *
 * The kernel writes them while we read: what another thread maps meanwhile may be there or
 * not, but what stays the same is met once.  A kernel thread, or a process that has ended but was
 * not waited for, has none.  One thread at a time.
 */
#ifndef LAMINA_BASE_MAPS_H
#define LAMINA_BASE_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/base/lines.h"

/* From /proc/PID/smaps, which walks page tables: some ms for a GiB in small pages. */
#define MAPS_DETAIL 1u

enum {	/* VmFlags that somebody here asks for */
	MAPS_NOHUGE = 1,	/* nh: MADV_NOHUGEPAGE, or prctl() */
	MAPS_HUGE = 2,		/* hg: MADV_HUGEPAGE */
	MAPS_HUGETLB = 4,	/* ht */
	MAPS_RAW = 8,		/* io, pf: a device's memory */
	MAPS_PAGED = 16,	/* um: what is missing, a userfaultfd gives */
};

struct maps_region {
	uint64_t start, end;	/* addresses */
	uint64_t off;		/* in the file, bytes */
	int prot;		/* PROT_READ | PROT_WRITE | PROT_EXEC */
	bool shared;
	dev_t dev;		/* the file system's; not what stat() says on btrfs, overlayfs */
	uint64_t ino;		/* 0: no file behind it */
	const char *path;	/* as the kernel shows it (\012 for a newline, " (deleted)" behind
				   it), cut near LINES_MAX; "[heap]", "[anon:x]", or "".
				   Valid until the next call */
	/* Only with MAPS_DETAIL, else 0 */
	uint64_t rss, swap;	/* bytes */
	unsigned flags;		/* MAPS_NOHUGE ... */
};

struct maps {
	bool detail;
	struct lines lines;
	char path[LINES_MAX + 1];
};

/*
 * `pid` 0 is this process; `what` is 0 or MAPS_DETAIL.  -ESRCH: no such process;
 * -EACCES, -EPERM: not for us.  16 KiB, all in `ret`.
 */
int maps_open(pid_t pid, unsigned what, struct maps *ret);
/* 1: *ret is the next; 0: that was all, or the process has ended; -EBADMSG: not understood. */
int maps_next(struct maps *maps, struct maps_region *ret);
void maps_close(struct maps *maps);

/* Neither file nor device behind it: private, zeros at first.  The stack and heap are so, too. */
bool maps_anonymous(const struct maps_region *region);

#endif
