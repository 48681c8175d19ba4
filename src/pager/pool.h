/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pool: the host's huge pages of 2 MiB (hugetlbpage in the kernel's admin guide).
 */
#ifndef LAMINA_PAGER_POOL_H
#define LAMINA_PAGER_POOL_H

#include <stdint.h>

/* How many are free and reserved by nobody; 0 where it cannot be known. */
uint64_t pool_free(void);

#endif
