/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim-order: the steps of a guest's reclaim, and in which order they are to run; for the agent
 * and for those who ask it.
 */
#ifndef LAMINA_RPC_RECLAIM_ORDER_H
#define LAMINA_RPC_RECLAIM_ORDER_H

#include <jansson.h>

#include "store/base/err.h"

#define RECLAIM_ORDER_NSTEPS 4

/* In the default order, and in words. */
extern const char *const reclaim_order_steps[RECLAIM_ORDER_NSTEPS];
#define RECLAIM_ORDER_WORDS "fstrim, sync, drop_caches and compact_memory"

/* Which of reclaim_order_steps it is; -1: none, as for NULL. */
int reclaim_order_find(const char *name);

/*
 * Which steps are to run one behind the other: those of `order` (NULL: none), then the others.
 * -EINVAL: it is no array, or has something that is no step, or one twice.
 */
int reclaim_order_parse(const json_t *order, int ret[RECLAIM_ORDER_NSTEPS], struct err *err);

#endif
