/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-dir: the directories of live images (live.h), whatever is in their deltas.
 */
#ifndef LAMINA_LIVE_DIR_H
#define LAMINA_LIVE_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

struct store;

#define LIVE_DIR "live"
#define LIVE_DIR_NEW ".new"	/* in it: one that is being made, under the writer's lock */
#define LIVE_DIR_LOCK "lock"
#define LIVE_DIR_SEQ_LEN 24

/* STORE/live; -ENOENT: there was never one. */
int live_dir_open_all(struct store *store);
/* STORE/live/NAME, a descriptor; -ENOENT. */
int live_dir_open(struct store *store, const char *name);
/* The directory of delta `seq` in it, likewise. */
int live_dir_open_seq(int dirfd, uint64_t seq);
/* Its name. */
char *live_dir_seq(char out[LIVE_DIR_SEQ_LEN], uint64_t seq);

struct live_dir_seqs {
	uint64_t *v;		/* ascending */
	size_t n;
	size_t cap;
};
/* The sequence numbers for which there are directories; vec_fini() them in any case. */
int live_dir_seqs(int dirfd, struct live_dir_seqs *ret);

/*
 * Locks live image `name`, whose directory is `dirfd`: a descriptor, -EBUSY with the pid that
 * has it, or -ENOENT.  Whoever has got it looks whether the row is still there.
 */
int live_dir_lock(struct store *store, int dirfd, const char *name, struct err *err);
/* Whether somebody has; cheap, where live_dir_holder() makes the kernel wait for all locks. */
bool live_dir_is_locked(int dirfd);
/* The pid that has it locked; 0: nobody; -1: somebody who cannot be told. */
int live_dir_holder(int dirfd);

/* Removes a file, or a directory with all that is in it; gone already is success. */
int live_dir_remove(int dirfd, const char *name);
/* What is to be said behind the sentence that delta `seq`, on which the row counts, is missing. */
const char *live_dir_why(int dirfd, uint64_t seq);
/* Whether nothing was ever written to a delta in it, nor zeroed: 1, 0 or -errno. */
int live_dir_is_blank(int dirfd);
/* Bytes that the files in `dirfd` occupy, of directories in it too. */
int live_dir_bytes(int dirfd, uint64_t *ret);

#endif
