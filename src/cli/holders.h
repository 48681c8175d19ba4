/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * holders: which processes keep a mounted file system busy, and which serve it.
 */
#ifndef LAMINA_CLI_HOLDERS_H
#define LAMINA_CLI_HOLDERS_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Writes "pid 12 (qemu-system-x86), pid 34 (bash)" for processes that have
 * something open, mapped, or as a working or root directory on device `dev`;
 * how many there are.  As far as /proc may be read.
 */
unsigned holders_find(dev_t dev, char *out, size_t size);

/*
 * Descriptors (pidfd_open(2)) of processes called `name` whose last argument
 * is `last`, at most `max` of them; how many.  The caller closes them.
 */
unsigned holders_daemons(const char *name, const char *last, int *pidfds, unsigned max);

#endif
