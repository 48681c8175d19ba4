/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ranges: the byte ranges that a caller knows to have changed, from JSON:
 *
 *	[{"offset": 0, "length": 4096}, ...]	or	[[0, 4096], ...]
 *
 * which is also what `lamina diff --ranges --json` prints for an image.  The
 * file comes from outside: it is read within the limits below, without
 * recursion, and what is wrong with it is said with line and column.
 */
#ifndef LAMINA_CLI_RANGES_H
#define LAMINA_CLI_RANGES_H

#include <stddef.h>

#include "store/base/err.h"
#include "store/input.h"

#define RANGES_FILE_MAX (64u << 20)	/* bytes */
#define RANGES_MAX (16u << 20)		/* ranges */

struct ranges {
	struct input_range *v;
	size_t n;
	size_t cap;
};

void ranges_fini(struct ranges *r);

/*
 * Parses `len` bytes.  Empty ranges are dropped; one that begins where the
 * one before it ends is joined to it.  -EINVAL with the sentence, -ENOMEM.
 */
int ranges_parse(const char *text, size_t len, struct ranges *ret, struct err *err);

/* The same for a file (or pipe); the sentence names it. */
int ranges_load(const char *path, struct ranges *ret, struct err *err);

#endif
