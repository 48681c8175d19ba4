/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * publish: a sealed layer becomes known: its manifest, attributes, tag and what else is
 * decided are appended, everything is made durable, and one transaction names it all.
 */
#ifndef LAMINA_PUBLISH_H
#define LAMINA_PUBLISH_H

#include <stdbool.h>

#include "store/attrs.h"
#include "store/base/err.h"
#include "store/emit.h"
#include "store/layer.h"

struct append;
struct commit_also;
struct store;

struct publish {
	struct store *store;
	struct append *append;		/* NULL: a dry run, only the id is found */
	struct emit *emit;
	struct layer *layer;		/* its id and seq are set */
	const struct attrs *attrs;
	const char *tag;		/* or NULL */
	const struct commit_also *also;	/* or NULL; asked when the id is known */
	bool existed;			/* out: it is there already, of the same frames */
	bool again;			/* out: it was there, of frames that were lost */
};

/* After a failure, or if it existed, the append is the caller's to abort. */
int publish_run(struct publish *p, struct err *err);

#endif
