/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * trace: the order in which a guest first touched the pages of its memfile.
 *
 * As a file it is text (lamina-trace(1)): a first line that names the format,
 * the page size and the memfile's size in bytes, a line "FIRST COUNT" for each
 * run of pages in order of first touch, and a last line with the number of
 * pages, so that a file that was cut short is noticed:
 *
 *	lamina-trace 1 page-size 4096 size 1073741824
 *	262100 1
 *	16 12
 *	end 13
 *
 * Pages are numbered from 0 at the memfile's first byte.  Each is there at
 * most once in what was parsed or merged.
 */
#ifndef LAMINA_BASE_TRACE_H
#define LAMINA_BASE_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"

#define TRACE_PAGES_MAX (16u << 20)		/* 64 GiB of 4 KiB pages */
#define TRACE_RUNS_MAX (2u << 20)
#define TRACE_TEXT_MAX (64u << 20)		/* bytes; more than that many runs need */
#define TRACE_SIZE_MAX (UINT64_C(1) << 48)	/* bytes of a memfile */
#define TRACE_FRAME_SIZE (2u << 20)		/* what a cold read costs at once */
#define TRACE_MERGE_MAX 64u			/* traces that are merged at once ... */
#define TRACE_MERGE_PAGES_MAX (32u << 20)	/* ... with at most so many pages together */

struct trace_run {
	uint64_t first;		/* page number */
	uint64_t count;		/* pages, at least 1 */
};

/* {0} is fine for trace_fini(). */
struct trace {
	uint32_t page_size;	/* 4096 or 2 MiB */
	uint64_t size;		/* bytes of the memfile, 1 to TRACE_SIZE_MAX */
	uint64_t npages;	/* the sum of all counts */
	struct trace_run *v;	/* in order of first touch */
	size_t n;
	size_t cap;
};

/* An empty one. */
void trace_init(struct trace *t, uint32_t page_size, uint64_t size);
void trace_fini(struct trace *t);		/* NULL is fine */

/*
 * Appends pages that were touched next; the caller sees to it that none is
 * there yet.  Joined with the last run where it goes on there.
 *   -ENOSPC	full: what is there is the beginning, and stays of use
 *   -EINVAL	not all of them are pages of the memfile
 *   -ENOMEM
 * Nothing of the run is added then.
 */
int trace_add(struct trace *t, uint64_t first, uint64_t count);

/*
 * The sentence names the line and does not name the file.
 * -EMEDIUMTYPE: no trace at all; -EBADMSG: cut short or damaged;
 * -EPROTONOSUPPORT, -EFBIG, -ENOMEM.
 */
int trace_parse(const char *text, size_t len, struct trace *ret, struct err *err);
/* A file; the sentence names it.  Also what the kernel says. */
int trace_load(const char *path, struct trace *ret, struct err *err);
/* Appends the text.  -ENOMEM. */
int trace_format(const struct trace *t, struct buf *out);

/* How many different frames its pages lie in.  -ENOMEM. */
int trace_frames(const struct trace *t, uint64_t *ret);

/*
 * Several resumes as one: the pages that at least half of them touched, in
 * order of the mean of their ranks in those that did, ties by page number;
 * what does not fit the limits is left out at the end.  -EINVAL with a
 * sentence when they are not of one page size and one memfile size.
 */
int trace_merge(const struct trace *v, size_t n, struct trace *ret, struct err *err);

#endif
