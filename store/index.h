/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * index: STORE/index.db, the only authority on what exists.
 * The only user of SQLite.  A handle may be used from any thread (it has a
 * mutex); a transaction belongs to the thread that holds the writer's lock.
 *
 * Callbacks run without the mutex and may call any function here that reads.
 * index_begin() must wait until a walk or a snapshot has ended; rows that are
 * changed during a walk may or may not be met by it.  A callback that returns
 * non-zero ends the walk with that value.
 *
 * Rows carry a CRC over their key and contents where nothing else would
 * notice a flipped bit; a damaged row is -EBADMSG, never another answer.
 */
#ifndef LAMINA_INDEX_H
#define LAMINA_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/buf.h"
#include "store/base/err.h"
#include "store/digest.h"
#include "store/format.h"

struct index;

#define INDEX_CREATE 1u
#define INDEX_READ 2u		/* neither the file nor its log is written to */
#define INDEX_ROFS 4u		/* the same, where nothing can be written */

/*
 * `path` of index.db; INDEX_CREATE makes it if it is absent or empty.
 * Newer: -EPROTONOSUPPORT; damaged: -EBADMSG; not ours: -EMEDIUMTYPE.  One
 * that an older lamina wrote is opened, but only for index_migrate().
 */
int index_open(const char *path, unsigned flags, struct index **ret, struct err *err);
void index_close(struct index *ix);		/* NULL is fine */
bool index_outdated(const struct index *ix);
/* -EPROTONOSUPPORT if a newer lamina wrote it, so that this one may only read. */
int index_check_writable(const struct index *ix, struct err *err);
/*
 * Says that there is what older programs may read beside, not write (FEATURE_LIVE): in the
 * caller's transaction.
 */
int index_feature_add(struct index *ix, uint32_t rocompat, struct err *err);
/* Whether it was said: 1, 0 or -errno. */
int index_feature_has(struct index *ix, uint32_t rocompat, struct err *err);
/* Under the writer's lock, with no leases; keeps a copy, PATH.v<version>. */
int index_migrate(struct index *ix, struct err *err);

/* Changes whenever another process has published something. */
int index_data_version(struct index *ix, uint64_t *ret);

/*
 * Other threads' reads wait until the transaction ends, so it calls nothing
 * that may wait for another thread (no seg_get(), frame_get(), chunk_get()).
 * -EBUSY: a transaction or a snapshot is open on this handle.
 */
int index_begin(struct index *ix, struct err *err);
/* A failed commit is an abort. */
int index_commit(struct index *ix, struct err *err);
void index_abort(struct index *ix);			/* fine when none is open */
/* wal_checkpoint(TRUNCATE), best effort. */
void index_checkpoint(struct index *ix);
/* Gives free pages back to the file system (incremental_vacuum), best effort. */
void index_shrink(struct index *ix);
/* One consistent snapshot for many reads of all threads; nests. */
int index_snapshot_begin(struct index *ix, struct err *err);
void index_snapshot_end(struct index *ix);

/* meta: names and texts, counters as decimal. */
int index_meta_get(struct index *ix, const char *name, char *out, size_t size, struct err *err);
int index_meta_set(struct index *ix, const char *name, const char *value, struct err *err);
int index_meta_get_u64(struct index *ix, const char *name, uint64_t *ret, struct err *err);
int index_meta_set_u64(struct index *ix, const char *name, uint64_t value, struct err *err);

/* pack */
struct index_pack {
	uint32_t number;
	uint64_t end;		/* published end in bytes */
	uint32_t next_ord;	/* next page ordinal */
	bool sealed;		/* never appended to again */
};
int index_pack_put(struct index *ix, const struct index_pack *pack, struct err *err);
int index_pack_get(struct index *ix, uint32_t number, struct index_pack *ret, struct err *err);
/* The one with the highest number, or -ENOENT. */
int index_pack_last(struct index *ix, struct index_pack *ret, struct err *err);
int index_pack_delete(struct index *ix, uint32_t number, struct err *err);
int index_pack_each(struct index *ix, int (*fn)(void *ctx, const struct index_pack *p),
		    void *ctx, struct err *err);		/* ascending */

/* seg; `table` is the encoded chunk table, borrowed during the call */
struct index_seg {
	uint64_t first;
	uint32_t span;
	uint32_t pack;
	uint64_t off;
	uint64_t dig_off;
	uint32_t dig_len;
	const void *table;
	uint32_t table_len;
};
int index_seg_put(struct index *ix, const struct index_seg *seg, struct err *err); /* or replace */
/* The segment that covers `paddr`; fn is called once or not (-ENOENT). */
int index_seg_find(struct index *ix, uint64_t paddr,
		   int (*fn)(void *ctx, const struct index_seg *seg), void *ctx, struct err *err);
int index_seg_delete(struct index *ix, uint64_t first, struct err *err);
/* In order of `first`. */
int index_seg_each(struct index *ix, int (*fn)(void *ctx, const struct index_seg *seg),
		   void *ctx, struct err *err);

/* hook: digest key -> segment; the newest wins.  -ENOENT is quick and silent. */
int index_hook_put(struct index *ix, uint64_t key, uint64_t seg_first, struct err *err);
int index_hook_find(struct index *ix, uint64_t key, uint64_t *ret_seg_first);
/* Removes hooks whose segment is no longer there. */
int index_hook_sweep(struct index *ix, struct err *err);
int index_hook_count(struct index *ix, uint64_t *ret, struct err *err);

/* frame */
struct index_frame {
	uint64_t fid;
	struct digest digest;
	uint32_t pack;		/* whose RECORD_MAPS holds it */
	const void *runs;	/* borrowed during the call */
	uint32_t runs_len;
};
int index_frame_put(struct index *ix, const struct index_frame *frame, struct err *err);
int index_frame_get(struct index *ix, uint64_t fid,
		    int (*fn)(void *ctx, const struct index_frame *frame), void *ctx,
		    struct err *err);
/* Only the digest (no map is read).  Not checksummed: for Merkle roots. */
int index_frame_digest(struct index *ix, uint64_t fid, struct digest *ret);
/* A frame with this digest, or -ENOENT. */
int index_frame_find(struct index *ix, const struct digest *digest, uint64_t *ret_fid);
int index_frame_set_pack(struct index *ix, uint64_t fid, uint32_t pack, struct err *err);
int index_frame_delete(struct index *ix, uint64_t fid, struct err *err);
int index_frame_each(struct index *ix, int (*fn)(void *ctx, const struct index_frame *frame),
		     void *ctx, struct err *err);		/* ascending fid */

/* layer: the manifest as written */
struct index_layer {
	struct digest id;
	uint64_t seq;
	uint32_t pack;		/* whose RECORD_LAYER holds it */
	const void *manifest;	/* borrowed during the call */
	uint32_t manifest_len;
};
int index_layer_put(struct index *ix, const struct index_layer *layer, struct err *err);
int index_layer_get(struct index *ix, const struct digest *id,
		    int (*fn)(void *ctx, const struct index_layer *layer), void *ctx,
		    struct err *err);
int index_layer_delete(struct index *ix, const struct digest *id, struct err *err);
int index_layer_set_pack(struct index *ix, const struct digest *id, uint32_t pack,
			 struct err *err);
/* All rows, removed ones too (see decide.h), by seq. */
int index_layer_each(struct index *ix, int (*fn)(void *ctx, const struct index_layer *layer),
		     void *ctx, struct err *err);
/* Ids that begin with `prefix` (hex, even or odd number of digits). */
int index_layer_prefix(struct index *ix, const char *hex_prefix,
		       int (*fn)(void *ctx, const struct digest *id), void *ctx, struct err *err);

/* decision: the last word on a tag, a removal, a layer's attributes, a trace */
enum decision_kind {
	DECISION_TAG = 1,	/* key: the tag's name; value: 32 bytes layer id; none: untagged */
	DECISION_REMOVE = 2,	/* key: 32 bytes layer id; value: empty; counts if seq > layer's */
	DECISION_ATTRS = 3,	/* key: 32 bytes layer id; value: attrs.h */
	DECISION_TRACE = 4,	/* key: 32 bytes layer id, name; value: traces.h; none: removed */
	DECISION_LIVE = 5,	/* key: a live image's name; value: live-row.h; none: removed */
};
struct index_decision {
	uint8_t kind;
	const void *key;
	uint32_t key_len;
	uint64_t seq;
	uint32_t pack;		/* where its newest copy is */
	uint32_t opack;		/* where it was first written */
	bool has_value;		/* false: a tombstone */
	const void *value;
	uint32_t value_len;
};
int index_decision_put(struct index *ix, const struct index_decision *d, struct err *err);
/* The decision with the kind and key of `what`. */
int index_decision_get(struct index *ix, const struct index_decision *what,
		       int (*fn)(void *ctx, const struct index_decision *d), void *ctx,
		       struct err *err);
int index_decision_delete(struct index *ix, uint8_t kind, const void *key, uint32_t key_len,
			  struct err *err);
/* Those of `what`'s kind whose key begins with its key and a byte below 0xff; by key. */
int index_decision_under(struct index *ix, const struct index_decision *what,
			 int (*fn)(void *ctx, const struct index_decision *d), void *ctx,
			 struct err *err);
/* kind 0: all.  By kind and key. */
int index_decision_each(struct index *ix, uint8_t kind,
			int (*fn)(void *ctx, const struct index_decision *d), void *ctx,
			struct err *err);

/* Bytes of index.db and its WAL. */
int index_size(struct index *ix, uint64_t *ret);
/* PRAGMA integrity_check, and every row's checksum; calls fn per fault. */
int index_verify(struct index *ix, void (*fn)(void *ctx, const char *fault), void *ctx,
		 struct err *err);

#endif
