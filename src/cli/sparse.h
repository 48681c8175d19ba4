/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sparse: an image written to an ordinary file, zeros as holes.
 */
#ifndef LAMINA_CLI_SPARSE_H
#define LAMINA_CLI_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/progress.h"
#include "store/view.h"

struct sparse {
	const char *path;
	bool replace;		/* a file that is there; else -EEXIST */
	const struct progress *progress;
	uint64_t data;		/* out: bytes that are not in holes */
};

/*
 * Writes beside `path` and renames when all is on disk; after a failure
 * nothing is left.  Mode 0600.  -ECANCELED when the progress says so.
 */
int sparse_write(struct sparse *s, struct view *view, struct err *err);

#endif
