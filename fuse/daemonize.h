/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemonize: into the background, but not before the work can be seen.
 *
 * The process forks first, while it is still small and has no threads; the
 * parent waits until the child says that it is ready, or ends, and exits as
 * the child did.  Until then the child has the parent's standard error.
 */
#ifndef LAMINA_FUSE_DAEMONIZE_H
#define LAMINA_FUSE_DAEMONIZE_H

#include "store/base/err.h"

struct daemonize {
	int parent_fd;		/* where the parent listens; -1 in the foreground */
	char *pidfile;		/* absolute, or NULL */
};

/*
 * Returns in the child; the parent exits in here.  With `foreground` nobody
 * forks.  `pidfile` may be NULL.
 */
int daemonize_begin(struct daemonize *ret, int foreground, const char *pidfile, struct err *err);

/*
 * Writes the pid file, leaves terminal and directory, sends the log to syslog,
 * lets the parent go, and tells systemd (NOTIFY_SOCKET).
 */
int daemonize_ready(struct daemonize *d, struct err *err);

/* Removes the pid file, if it names this process. */
void daemonize_end(struct daemonize *d);

#endif
