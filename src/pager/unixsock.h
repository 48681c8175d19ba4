/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unixsock: sockets that have a name in the file system.  `type` is
 * SOCK_STREAM or SOCK_SEQPACKET.  Everything is close-on-exec.
 */
#ifndef LAMINA_PAGER_UNIXSOCK_H
#define LAMINA_PAGER_UNIXSOCK_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "store/base/err.h"

/*
 * Listens at `path`, in place of whatever socket is there, with `mode` from the
 * first moment.  At no time is there no socket, if there was one.  A descriptor;
 * -EEXIST for a file that is no socket, -ENAMETOOLONG, ...
 */
int unixsock_replace(const char *path, int type, mode_t mode, struct err *err);

/*
 * Listens at `path`, which must be free: -EADDRINUSE when somebody listens there (who
 * does not notice that it was asked) and for a file that is no socket.  A socket that
 * a dead process left is replaced.  `mode` counts from the first moment here, too.
 */
int unixsock_claim(const char *path, int type, mode_t mode, struct err *err);

/* A descriptor; -ENOENT, -ECONNREFUSED (nobody listens), ... */
int unixsock_connect(const char *path, int type);

/*
 * Whether `listening`, a SOCK_STREAM that may be of another process's making, is what
 * answers at `path`.  Whoever waits there goes on to.
 */
bool unixsock_is_at(int listening, const char *path);

#endif
