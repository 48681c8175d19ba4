/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * decide: tags, removals, attributes, traces and live images: written to a pack first, then to
 * the index, so that the packs alone remember them.  Each takes the writer's lock
 * (waiting `wait_ms`) unless the caller holds it.
 *
 * A removed layer's traces go with it, as its tags do.
 *
 * RECORD_DECISION payload: u8 kind, varint key length, key, u8 has_value,
 * varint value length, value (lengths as in index.h).
 */
#ifndef LAMINA_DECIDE_H
#define LAMINA_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/base/rd.h"
#include "store/digest.h"
#include "store/index.h"

struct append;
struct attrs;
struct store;

bool decide_tag_name_ok(const char *name);	/* and not 64 hex digits */

/* Points the tag at the layer, moving it if it exists.  -ENOENT: no such layer. */
int decide_tag(struct store *store, const char *name, const struct digest *id,
	       uint64_t wait_ms, struct err *err);
int decide_untag(struct store *store, const char *name, uint64_t wait_ms, struct err *err);
/*
 * Removes a layer.  -EBUSY with a sentence that names the live images that
 * stand on it, the tags or the pids of the lease holders.  With `force`, tags
 * go too and leases keep the bytes until they end; a live image must be
 * committed or removed first.  Its bytes are freed by gc.
 */
int decide_remove(struct store *store, const struct digest *id, bool force,
		  uint64_t wait_ms, struct err *err);

/* All attributes of the layer from now on.  -ENOENT: no such layer. */
int decide_attrs(struct store *store, const struct digest *id, const struct attrs *attrs,
		 uint64_t wait_ms, struct err *err);

/* The layer a tag points at, or -ENOENT. */
int decide_tag_find(struct store *store, const char *name, struct digest *ret, struct err *err);
/* By name. */
int decide_tag_each(struct store *store,
		    int (*fn)(void *ctx, const char *name, const struct digest *id), void *ctx,
		    struct err *err);
/* Whether a layer row with sequence number `seq` has been removed: 1, 0, -errno. */
int decide_removed(struct store *store, const struct digest *id, uint64_t seq);
/* Layers that exist (not removed), oldest first. */
int decide_layer_each(struct store *store, int (*fn)(void *ctx, const struct index_layer *l),
		      void *ctx, struct err *err);

/* A tag, a full id or an unambiguous prefix of at least 4 digits. -ENOENT, -ENOTUNIQ. */
int decide_resolve(struct store *store, const char *name, struct digest *ret, struct err *err);

/*
 * Appends the decision's record and sets d->seq, d->pack and d->opack; the
 * caller gives it to index_decision_put() in the transaction that publishes `a`.
 */
int decide_append(struct append *a, struct index_decision *d, struct err *err);

/*
 * Writes decisions (kind, key, value) that the caller has checked, all or none:
 * records, then rows.  Under the writer's lock.
 */
int decide_write(struct store *store, struct index_decision *v, size_t n, struct err *err);
/* 0, or -ENOENT with a sentence if the layer is not there or was removed. */
int decide_exists(struct store *store, const struct digest *id, struct err *err);

/* The record's payload and back; -EBADMSG.  Pointers are into the reader. */
void decide_encode(const struct index_decision *d, struct buf *out);
int decide_decode(struct rd *rd, uint64_t seq, struct index_decision *ret);

#endif
