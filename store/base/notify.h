/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * notify: a word to systemd, as sd_notify(3) says it.  For daemons only.
 */
#ifndef LAMINA_BASE_NOTIFY_H
#define LAMINA_BASE_NOTIFY_H

#include <stdbool.h>

/* Whether NOTIFY_SOCKET names a socket: a path, or an abstract name with a leading @. */
bool notify_wanted(void);

/*
 * Sends `text`, and the descriptor `passed` with it unless that is -1.  `flags` is
 * MSG_DONTWAIT (-EAGAIN while systemd has too much to read) or 0.  When nobody wants
 * to be told this is success.  -errno.
 */
int notify_send(const char *text, int passed, int flags);

#endif
