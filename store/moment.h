/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * moment: whether a layer from which a guest can be resumed, one with a `state`, has memory, state
 * and disk of one moment.  Its attribute MOMENT_ATTR says so where it was made of a live image:
 * MOMENT_ONE, or MOMENT_UNKNOWN.  Others have none, and are believed.
 */
#ifndef LAMINA_MOMENT_H
#define LAMINA_MOMENT_H

#include <stdbool.h>

#include "store/base/err.h"
#include "store/digest.h"

#define MOMENT_ATTR "lamina.moment"
#define MOMENT_ONE "one"
#define MOMENT_UNKNOWN "unknown"

struct layer;
struct store;

/* Whether it has a memory and a state, of any bytes. */
bool moment_resumes(const struct layer *layer);
/* 1: its attribute is MOMENT_UNKNOWN; 0; or -errno. */
int moment_is_unknown(struct store *store, const struct digest *id, struct err *err);
/*
 * The nearest layer below it that can be resumed, and is not unknown: 1; 0: there is none, or one
 * between was removed; or -errno.
 */
int moment_below(struct store *store, const struct layer *layer, struct digest *ret,
		 struct err *err);

#endif
