/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * append: the one way into the packs, under the writer's lock.
 *
 *	append_begin(store, 0, &a, err)
 *	append_roll_if(), append_put(), append_record() ...
 *	append_sync(&a, err)			bytes and names are durable
 *	index_begin(), rows ..., append_publish(&a, err), index_commit()
 *	append_end(&a)
 *
 * and after any failure index_abort(), then append_abort(), which cuts the
 * packs back.  An append belongs to one thread.
 */
#ifndef LAMINA_APPEND_H
#define LAMINA_APPEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/base/vec.h"
#include "store/index.h"
#include "store/pack.h"

struct store;

struct append_pack {
	uint64_t start;		/* published end before this append; 0: a new pack */
	struct index_pack row;	/* what append_publish() will say of it */
};

struct append {
	struct store *store;
	struct pack_writer w;		/* of the current pack: w.number, w.end */
	VEC(struct append_pack) packs;	/* touched so far; the last is the current one */
	uint32_t next_ord;		/* of the current pack */
	uint32_t next_pack;
	uint64_t next_fid;
	uint64_t next_seq;
	uint64_t bytes;			/* of records appended */
	bool publishing;		/* append_publish() was called */
};

#define APPEND_NEW_PACK 1u	/* begin a new pack even if the last one has room */

/* Opens the current pack at its published end, or creates a new one. */
int append_begin(struct store *store, unsigned flags, struct append *ret, struct err *err);

/*
 * Goes on in a new pack unless `bytes` more fit into the current one.  The
 * old one is made durable.  Call it before a segment, with all that the
 * segment may need: what must lie in one pack is then put with append_put().
 */
int append_roll_if(struct append *a, uint64_t bytes, struct err *err);
/* Appends to the current pack, a->w.number.  `ret_off` may be NULL. */
int append_put(struct append *a, const struct record *r, const void *payload,
	       uint64_t *ret_off, struct err *err);
/* The same for an encoded record (header and payload as read from a pack). */
int append_put_raw(struct append *a, const void *bytes, size_t len, uint64_t *ret_off,
		   struct err *err);
/* A record that stands alone: append_roll_if(), then append_put(). */
int append_record(struct append *a, const struct record *r, const void *payload,
		  uint32_t *ret_pack, struct err *err);

/* Takes `npages` consecutive page addresses of the current pack; the first. */
uint64_t append_paddr(struct append *a, uint32_t npages);
uint64_t append_fid(struct append *a);
uint64_t append_seq(struct append *a);

/* Makes everything appended durable.  After a failure only append_abort(). */
int append_sync(struct append *a, struct err *err);
/* Pack rows and counters, within the caller's transaction. */
int append_publish(struct append *a, struct err *err);
/* After index_commit() succeeded. */
void append_end(struct append *a);
/*
 * Cuts back what was not published, as far as it can; append_tidy() does the
 * rest later.  No transaction may be open.  A pack whose fsync failed is sealed.
 * Fine after append_end() or append_abort().
 */
void append_abort(struct append *a);

/*
 * Removes what a killed writer left: packs that were never published and the
 * unpublished end of the last one.  store_lock() and append_begin() call it.
 * -EBADMSG, and nothing is removed, when that is not one writer's, or when the
 * index is of another store (older.h).
 */
int append_tidy(struct store *store, struct err *err);

#endif
