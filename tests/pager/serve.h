/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * serve: a pager as small as can be that is still right: poll, read, pread,
 * UFFDIO_COPY on one thread.  The guests are tried with it, and it is what a
 * real pager's latency is compared with.
 */
#ifndef LAMINA_TESTS_PAGER_SERVE_H
#define LAMINA_TESTS_PAGER_SERVE_H

#include <stdbool.h>

/*
 * Serves one hypervisor after the other at `path`, each on a thread, from
 * `memfile`.  Returns when `clients` have come and gone (0: never).
 * `forgetful`: it forgets what was removed, so that one sees the guests notice.
 */
void serve(const char *path, const char *memfile, unsigned clients, bool forgetful);

#endif
