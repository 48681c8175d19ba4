/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * carry: what is still valid in a pack that goes, beside its chunks: frame
 * maps, manifests and decisions are written again to the current pack, so that
 * the packs alone can always rebuild the index.
 *
 * A tombstone (an untag, the removal of a trace or of a live image, or that of a layer that
 * was forgotten) is
 * carried while a pack is left that may hold what it speaks against: one
 * numbered no higher than the pack in which it was first written.
 * Under the writer's lock.
 */
#ifndef LAMINA_CARRY_H
#define LAMINA_CARRY_H

#include <stdint.h>

#include "store/base/err.h"

struct append;
struct carry;
struct mark;
struct store;

/*
 * Looks through the index once; rows must not change but by carry_publish().
 * Frames that the mark does not reach are not carried.
 */
int carry_new(struct store *store, const struct mark *mark, struct carry **ret, struct err *err);
void carry_free(struct carry *carry);		/* NULL is fine */

/* About how many bytes carry_put() would append for `pack`; 0: nothing. */
uint64_t carry_bytes(const struct carry *carry, uint32_t pack);
/* Appends the records that the index says are in `pack`. */
int carry_put(struct carry *carry, struct append *a, uint32_t pack, struct err *err);
/*
 * Deletes the pack's row and says where its records are now, in the caller's
 * transaction; tombstones that are not needed without it are dropped.
 */
int carry_publish(struct carry *carry, uint32_t pack, struct err *err);
/* After that transaction was committed. */
void carry_end(struct carry *carry, uint32_t pack);

/* Drops every tombstone that speaks against nothing any more; its own transaction. */
int carry_sweep(struct store *store, struct err *err);

#endif
