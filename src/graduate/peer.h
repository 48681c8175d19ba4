/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peer: another lamina-graduator for the same runtime directory.  Who runs holds a lock
 * there; that somebody holds it can be seen without taking it.
 */
#ifndef LAMINA_GRADUATE_PEER_H
#define LAMINA_GRADUATE_PEER_H

#include <stdbool.h>

#include "src/graduate/memory.h"
#include "src/graduate/scan.h"
#include "store/base/err.h"

/* Takes the lock: a descriptor, and it is held until that is closed.  -EBUSY: another one runs. */
int peer_lock(const char *runtime_dir, struct err *err);

/* Whether somebody holds it; false also where that cannot be seen. */
bool peer_runs(const char *runtime_dir);

/*
 * Asks the one at `socket` what it has under way: what of that the scan still sees begins in
 * `memory`.  -errno: it does not tell (with --once nobody listens there).
 */
int peer_ask(const char *socket, int timeout_ms, const struct scan *scan, struct memory *memory,
	     struct err *err);

#endif
