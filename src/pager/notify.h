/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * notify: what systemd is told, and what it keeps for us (sd_notify(3),
 * FileDescriptorStoreMax=).  Without NOTIFY_SOCKET in the environment
 * everything here does nothing and succeeds.  Nothing waits for systemd.
 *
 * A stored descriptor is called by its role and its bag: a hexadecimal digit, and the
 * others.  Short, because what systemd passes are all names in one variable, and no
 * program is started with one of more than 128 KiB.
 */
#ifndef LAMINA_PAGER_NOTIFY_H
#define LAMINA_PAGER_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "src/pager/keep.h"

/* This process is the service's main one, and ready. */
int notify_ready(void);
int notify_stopping(void);

/*
 * Whether descriptors that are stored survive our end: systemd says so itself
 * (FDSTORE, since 254).  An older one keeps them too, but not over a stop.
 */
bool notify_keeps(void);

/* Adds to what is stored; a role that is replaced has to be removed first. */
int notify_store(uint32_t bag, enum keep_role role, int fd);
int notify_remove(uint32_t bag, enum keep_role role);

/*
 * The descriptors that systemd had kept (LISTEN_FDS, LISTEN_FDNAMES), into
 * `ret`; others that it passed are closed, and of two with one name that which came last
 * (it was stored first).  Forgets the variables.  How many came.
 */
int notify_take(struct keep_table *ret);

#endif
