/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tags: all tags of the store by the layer they point at, for lists of layers.
 */
#ifndef LAMINA_CLI_TAGS_H
#define LAMINA_CLI_TAGS_H

#include <jansson.h>
#include <stddef.h>

#include "store/base/err.h"
#include "store/digest.h"

struct store;

struct tags_entry {
	struct digest id;
	char *name;
};

struct tags {
	struct tags_entry *v;	/* by layer, then by name */
	size_t n;
	size_t cap;
};

/* -ENOMEM and what the index says. */
int tags_load(struct store *store, struct tags *ret, struct err *err);
void tags_fini(struct tags *tags);

/* Those of one layer, *ret_n of them; borrowed. */
const struct tags_entry *tags_of(const struct tags *tags, const struct digest *id, size_t *ret_n);
/* An array of names, or NULL without memory. */
json_t *tags_json(const struct tags *tags, const struct digest *id);
/* "a, b", malloc'd; NULL without memory. */
char *tags_text(const struct tags *tags, const struct digest *id);

#endif
