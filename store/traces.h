/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * traces: what a layer's earlier resumes touched first (base/trace.h), kept
 * beside it under names.  Each is a decision: written to a pack first, then to
 * the index; the last word on a name counts.  They go when the layer goes.
 *
 * The text is kept as trace_format() writes it: the mount shows it as a file.
 * Functions that write take the writer's lock (waiting `wait_ms`) unless the
 * caller holds it.  -ENOENT: no such layer or trace.
 */
#ifndef LAMINA_TRACES_H
#define LAMINA_TRACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/trace.h"
#include "store/digest.h"

struct store;

#define TRACES_NAME_MAX 64u
#define TRACES_MAX 16u				/* of a layer */
#define TRACES_TEXT_MAX (16u << 20)		/* bytes of one */
#define TRACES_KEY_MAX (DIGEST_LEN + TRACES_NAME_MAX)

/* Letters, digits and ._- (not first a dot), at most TRACES_NAME_MAX. */
bool traces_name_ok(const char *name);
/* A decision's key: a layer's id and a good name. */
bool traces_key_ok(const void *key, size_t len);

/*
 * Keeps it, in the place of one of that name.  -EINVAL if the layer's memfile
 * has another size (or it has none), -EFBIG, -EDQUOT: TRACES_MAX are there.
 */
int traces_put(struct store *store, const struct digest *id, const char *name,
	       const struct trace *trace, uint64_t wait_ms, struct err *err);
int traces_remove(struct store *store, const struct digest *id, const char *name,
		  uint64_t wait_ms, struct err *err);

/* -EBADMSG if the text is no whole trace. */
int traces_get(struct store *store, const struct digest *id, const char *name,
	       struct trace *ret, struct err *err);
/* Appends the text. */
int traces_text(struct store *store, const struct digest *id, const char *name,
		struct buf *out, struct err *err);
/* Its length in bytes. */
int traces_size(struct store *store, const struct digest *id, const char *name,
		uint64_t *ret, struct err *err);

struct traces_item {
	struct digest layer;
	char name[TRACES_NAME_MAX + 1];
	const char *text;	/* borrowed during the call */
	size_t len;
};

/* Those of a layer, or (id NULL) all; by layer and name. */
int traces_each(struct store *store, const struct digest *id,
		int (*fn)(void *ctx, const struct traces_item *item), void *ctx, struct err *err);

struct traces_key {
	uint8_t b[TRACES_KEY_MAX];
	uint32_t len;
};

struct traces_keys {
	struct traces_key *v;
	size_t n;
	size_t cap;
};

/* The keys of a layer's traces, for its removal; vec_fini() them in any case. */
int traces_keys(struct store *store, const struct digest *id, struct traces_keys *ret,
		struct err *err);

#endif
