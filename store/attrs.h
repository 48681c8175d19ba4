/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * attrs: what is known of a layer beside its content: key/value texts.
 * On disk: varint count, then varint length, key, varint length, value.
 * Keys [a-z0-9._-]{1,64}, in byte order, unique; values UTF-8.  Keys that
 * commit writes begin with "lamina." (counts, bytes, seconds).
 */
#ifndef LAMINA_ATTRS_H
#define LAMINA_ATTRS_H

#include <stdbool.h>
#include <stddef.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/rd.h"
#include "store/digest.h"

struct store;

struct attr {
	char *key;
	char *value;
};

struct attrs {
	struct attr *v;
	size_t n;
	size_t cap;
};

void attrs_fini(struct attrs *a);
bool attrs_key_ok(const char *key);
/* Sets or replaces; copies.  -EINVAL for a bad key or one too many bytes, -ENOMEM. */
int attrs_set(struct attrs *a, const char *key, const char *value);
int attrs_set_u64(struct attrs *a, const char *key, unsigned long long value);
const char *attrs_get(const struct attrs *a, const char *key);	/* or NULL */
void attrs_encode(const struct attrs *a, struct buf *out);
int attrs_decode(struct attrs *a, struct rd *rd);		/* -EBADMSG, -ENOMEM */

/* A layer's attributes; none is an empty set. */
int attrs_load(struct store *store, const struct digest *id, struct attrs *ret, struct err *err);

#endif
