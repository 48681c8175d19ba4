/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim: what the guest does before a pause so that less of its memory and disk differs: trims,
 * syncs, drops caches, compacts.
 *
 *	{"sync": 500, "drop_caches": 200, "compact_memory": 1000, "fstrim": 500,
 *	 "order": ["fstrim", "sync", "drop_caches", "compact_memory"]}
 *
 * Each number is a step's cap in ms; missing, below 1 (so a fraction, too), or not a number: the
 * step is skipped.  `order` as given here is the default; what it leaves out comes behind it, in
 * that order.
 *
 *	{"steps": [{"step": "sync", "result": "done", "elapsed_ms": 1.25}], "elapsed_ms": 9.5}
 *
 * names those that were not skipped, as step.h has it; the end of one never ends the others.
 */
#ifndef LAMINA_AGENT_RECLAIM_H
#define LAMINA_AGENT_RECLAIM_H

#include <jansson.h>
#include <stdatomic.h>

#include "src/agent/step.h"
#include "src/rpc/reclaim-order.h"

#define RECLAIM_NSTEPS RECLAIM_ORDER_NSTEPS
#define RECLAIM_MAX_MS 600000u	/* a cap above it is this */

/*
 * Blocks for the sum of the caps at most.  *ret is the caller's.  -EINVAL: the body is no object,
 * or `order` has something that is no step, or one twice; -ECANCELED: *cancelled (or NULL) became
 * true.
 */
int reclaim_run(const json_t *body, const atomic_bool *cancelled, json_t **ret, struct err *err);

/* The same with other steps: RECLAIM_NSTEPS of them, those of reclaim_order_steps. */
int reclaim_with(const struct step *steps, const json_t *body, const atomic_bool *cancelled,
		 json_t **ret, struct err *err);

/* The steps of reclaim_run(). */
extern const struct step reclaim_steps[RECLAIM_NSTEPS];

#endif
