/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * input: what a commit reads: a regular file, a block device or an input_source, in frames.
 *
 * FULL:  holes are zeros.
 * DIFF:  holes mean "as in the parent".
 * DIRTY: only the given ranges are read; the rest is as in the parent.
 *
 * An input may be read by several threads at once (pread).
 */
#ifndef LAMINA_INPUT_H
#define LAMINA_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

enum input_mode { INPUT_FULL, INPUT_DIFF, INPUT_DIRTY };

struct input_range {
	uint64_t off;		/* bytes */
	uint64_t len;
};

struct input;

/*
 * Opens `path` O_RDONLY.  -EISDIR, -EINVAL (neither file nor block device, or
 * a DIFF that is a block device), -ENOTSUP (a DIFF where the file system does
 * not tell holes), -ENOENT, -EFBIG...  `ranges` (DIRTY only; any order, may overlap or reach
 * past the end; not aligned ones are widened to pages) are copied.
 */
int input_open(const char *path, enum input_mode mode, const struct input_range *ranges,
	       size_t nranges, struct input **ret, struct err *err);
/*
 * One whose pages come from somewhere else (live-commit.c), as a DIFF does: what it says
 * nothing of is the parent's, and behind the parent's end zero.
 */
struct input_source {
	uint64_t size;		/* bytes */
	uint64_t expect;	/* about how many will be read */
	/* The first page >= `page` to be read or zero, or UINT64_MAX.  One thread at a time. */
	uint64_t (*next)(void *ctx, uint64_t page);
	/*
	 * kind[] has PARENT, and ZERO behind the end: it sets what it knows better, DATA or
	 * ZERO, fills in DATA pages (of zeros, too) and returns how many these are.  Any thread.
	 */
	int (*read)(void *ctx, uint64_t frame, uint8_t *buf, uint8_t kind[512], struct err *err);
	void *ctx;
};
/* -EFBIG, -ENOMEM.  `source` and its ctx outlive the input. */
int input_from(const struct input_source *source, struct input **ret, struct err *err);
void input_close(struct input *in);	/* NULL is fine */
uint64_t input_size(const struct input *in);	/* bytes */
/* About how many bytes will be read: for progress. */
uint64_t input_expect(const struct input *in);

/*
 * DIRTY: reads everything from `off` on, too: what the caller's ranges cannot
 * have meant, because the parent ends there.  0 or -ENOMEM.
 */
int input_dirty_from(struct input *in, uint64_t off);

/*
 * The first frame >= `frame` that has something to read, or UINT64_MAX.  One thread at a time.
 */
uint64_t input_next_frame(struct input *in, uint64_t frame);

enum input_page { INPUT_PAGE_DATA, INPUT_PAGE_ZERO, INPUT_PAGE_PARENT };
/*
 * Reads frame `frame` (its pages past the end of file are ZERO; a partial
 * last page is padded with zeros).  `buf` has 2 MiB; kind[i] says for each of
 * 512 pages what it is; only DATA pages are filled in.  A page of zeros found
 * in data is reported as ZERO.  Returns how many pages were read.  -EIO etc.
 * with the sentence (path, offset); -ESTALE when the file shrank.  Any thread.
 */
int input_read(struct input *in, uint64_t frame, uint8_t *buf, uint8_t kind[512],
	       struct err *err);
/* After all was read: -ESTALE if size or mtime changed meanwhile (regular files). */
int input_check(struct input *in, struct err *err);

#endif
