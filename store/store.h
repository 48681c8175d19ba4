/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store: an open store and what its parts share.
 *
 * One `struct store` a process; readers may use it from any thread.  Writing
 * (commit, decide, gc, recover) needs the writer's lock, store_lock().
 */
#ifndef LAMINA_STORE_H
#define LAMINA_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/cache.h"
#include "store/base/err.h"
#include "store/format.h"

struct index;
struct packs;
struct seg_cache;

struct progress;

struct store_limits {
	size_t chunk_cache;	/* bytes of decompressed chunks */
	size_t frame_cache;	/* bytes of decoded frame maps */
	size_t open_packs;
	size_t segs;
};

struct store {
	char *path;
	int dirfd;
	int lock_fd;		/* -1 unless the writer's lock is held */
	bool read_only;		/* the file system is: nothing can be locked to write */
	bool reserve_lent;	/* opening needed the reserve: store_close() makes it again */
	uint8_t uuid[16];
	struct store_params params;
	struct index *index;
	struct packs *packs;
	struct seg_cache *segs;
	struct cache *frames;	/* by fid: struct frame */
	struct cache *chunks;	/* by chunk id: struct chunk */
	int packs_fd;		/* the directory packs/ */
};

/* The defaults, from our own measurements (ARCHITECTURE.md). */
void store_params_default(struct store_params *ret);
void store_limits_default(struct store_limits *ret);

/*
 * Makes an empty store in `path` (created, or an empty directory).  -EEXIST
 * where there is one, -ENOTSUP on a network file system, -ENOTEMPTY.
 */
int store_init(const char *path, const struct store_params *params, struct err *err);

/* uuid and parameters in the meta table; within the caller's transaction. */
int store_meta_put(struct index *ix, const uint8_t uuid[16], const struct store_params *params,
		   struct err *err);
int store_meta_get(struct index *ix, uint8_t uuid[16], struct store_params *ret, struct err *err);
/* -EINVAL with a sentence unless every field is one that this program can do. */
int store_params_check(const struct store_params *params, struct err *err);

/* The name of a network file system by its statfs type, NULL for any other. */
const char *store_network_fs(long type);

/*
 * `limits` may be NULL.  -ENOENT: no store there; -EBADMSG, too: no pack belongs to
 * the index; see index.h for the others.
 */
int store_open(const char *path, const struct store_limits *limits, struct store **ret,
	       struct err *err);
void store_close(struct store *store);		/* NULL is fine */

/*
 * The writer's lock, for one thread of one process; removes what a killed
 * writer left (append.h).  `what` ("commit") is shown to those who wait.  With
 * wait_ms 0: -EBUSY at once, and the sentence says who holds it (pid, what);
 * UINT64_MAX waits for ever.
 */
int store_lock(struct store *store, const char *what, uint64_t wait_ms, struct err *err);
/* The same, and that one waits is told; -ECANCELED: one is to wait no more. */
int store_lock_told(struct store *store, const char *what, uint64_t wait_ms,
		    const struct progress *progress, struct err *err);
void store_unlock(struct store *store);
/* The same for who may be called with the lock held, and then leaves it so. */
int store_lock_too(struct store *store, const char *what, uint64_t wait_ms, bool *ret_taken,
		   struct err *err);
void store_unlock_too(struct store *store, bool taken);

/* Gives the reserve back to the file system / makes it again (best effort). */
void store_reserve_release(struct store *store);
void store_reserve_make(struct store *store);

#endif
