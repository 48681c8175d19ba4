/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * holders: which processes keep a mounted file system busy.
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

#endif
