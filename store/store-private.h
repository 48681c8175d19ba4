/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store-private: what the store*.c files share.
 */
#ifndef LAMINA_STORE_PRIVATE_H
#define LAMINA_STORE_PRIVATE_H

#include <stdint.h>

#include "store/base/err.h"

struct progress;
struct store;
struct store_limits;

/* -ENOTSUP on a network file system. */
int store_check_fs(const char *path, int dirfd, struct err *err);
/* The directories of a store whose index need not be there. */
int store_open_dirs(struct store *store, const char *path, struct err *err);
/* store_lock_told() without looking into the index; `progress` may be NULL. */
int store_take_lock(struct store *store, const char *what, uint64_t wait_ms,
		    const struct progress *progress, struct err *err);
/* Packs and caches of a store whose uuid and params are known. */
int store_make_caches(struct store *store, const struct store_limits *limits);
/* The index, under the writer's lock; -EBUSY while anybody reads a layer. */
int store_migrate(struct store *store, struct err *err);
/* Makes the reserve unless it is there in full. */
int store_reserve_at(int dirfd);

#endif
