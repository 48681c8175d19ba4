/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gc-private: what the gc*.c files share: one run.
 */
#ifndef LAMINA_GC_PRIVATE_H
#define LAMINA_GC_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

#include "store/base/vec.h"
#include "store/digest.h"
#include "store/gc.h"

struct mark;

struct gc_layer {
	struct digest id;
	bool removed;
	bool forgotten;		/* its row goes, or would go */
	int fd;			/* the exclusive lease, or -1 */
};

struct gc {
	struct store *store;
	const struct gc_opts *opts;
	struct gc_result res;
	struct mark *mark;
	size_t nmarked;			/* layers, without the lock */
	VEC(struct gc_layer) layers;
	size_t ntrouble;		/* packs that could not be freed; the first one's */
	int trouble;			/* error, */
	struct err trouble_err;		/* and its sentence */
	struct err *err;
};

/* Lists all layers and marks those that exist. */
int gc_layers_mark(struct gc *g);
/* Under the lock: lists again; the rows of removed layers that nobody reads go. */
int gc_layers_forget(struct gc *g);
/* What gc_layers_forget() would do. */
int gc_layers_count(struct gc *g);
/* Marks what is left to mark; anew if a layer that was marked is gone. */
int gc_layers_mark_rest(struct gc *g);

/* Bytes of the index and of all packs. */
int gc_packs_measure(struct gc *g, uint64_t *ret);
/* Removes files that no row names. */
int gc_packs_drop_strays(struct gc *g);
/* Frees dead packs, and with opts->repack those that are too empty; or counts them. */
int gc_packs_free(struct gc *g);

#endif
