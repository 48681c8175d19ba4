/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lease: what keeps a removed layer's bytes while somebody reads them.
 *
 * STORE/leases/<id> is locked shared (flock) by every process that has a file
 * of the layer open; the lock dies with the process.  A reader locks first and
 * then looks whether the layer is still there (see layer_hold()).
 * gc takes the lock exclusively before it forgets a removed layer.
 *
 * On a read-only file system no file can be made.  Where there is none a reader
 * locks the directory STORE/leases shared, which counts for all layers.
 */
#ifndef LAMINA_LEASE_H
#define LAMINA_LEASE_H

#include <stdbool.h>

#include "store/base/err.h"
#include "store/digest.h"

struct stat;
struct store;

/*
 * The id of zeros is no layer's: a daemon that serves a store holds its lease
 * for as long as it runs, so that the index is not replaced under it.
 */

/* Returns a descriptor that holds the shared lock; close() ends the lease. */
int lease_take(struct store *store, const struct digest *id, struct err *err);

/* Whether somebody (this process too) holds it: 1, 0 or -errno. */
int lease_held(struct store *store, const struct digest *id);
/* Whether somebody holds any, a mount's or a layer's, and whose: 1, 0 or -errno. */
int lease_any_held(struct store *store, struct digest *ret);
/*
 * Whether somebody (this process too) has the layer's own file locked.  Tells a
 * reader from a test like this one, and leaves out the directory's lock, which
 * says nothing of a single layer.  1, 0 or -errno.
 */
int lease_file_held(struct store *store, const struct digest *id);
/* Pids of the holders from /proc/locks, at most `max`; how many there are. */
int lease_holders(struct store *store, const struct digest *id, int *pids, int max);
/* Pids of those who have the file locked (flock), at most `max`; how many there are. */
int lease_lockers(const struct stat *st, int *pids, int max);
/* Exclusive or -EBUSY; a descriptor.  For gc, which then unlinks the file. */
int lease_take_exclusive(struct store *store, const struct digest *id);
void lease_remove(struct store *store, const struct digest *id, int fd);

#endif
