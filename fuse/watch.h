/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * watch: one thread that looks after the mount.
 *
 * Every WATCH_PERIOD_MS it asks whether another process has published
 * something, tells the kernel to forget what is no longer so, and has the live
 * images that are open stand on what was committed.  It takes the signals:
 * SIGTERM and SIGINT unmount (and if the mount is busy take it out of sight and
 * serve on until the last file is closed; the second one ends the process),
 * SIGHUP does nothing.
 */
#ifndef LAMINA_FUSE_WATCH_H
#define LAMINA_FUSE_WATCH_H

#include <pthread.h>

#include "fuse/daemonize.h"
#include "fuse/mountpoint.h"
#include "fuse/server.h"

#define WATCH_PERIOD_MS 200

struct watch {
	struct server *server;
	struct mountpoint *mountpoint;
	struct daemonize *daemonize;
	uint64_t version;	/* of the index, as far as it was looked at */
	bool fold;		/* a live image may stand on an older layer than its row says */
	int signal_fd;
	int stop_fd;
	unsigned signals;	/* taken so far */
	pthread_t thread;
};

/* Blocks the signals; before any thread is started.  What is given is borrowed. */
int watch_init(struct watch *watch, struct server *server, struct mountpoint *mountpoint,
	       struct daemonize *daemonize, struct err *err);
void watch_fini(struct watch *watch);

/* Looks at the store once, without telling the kernel: before it is mounted. */
int watch_look(struct watch *watch, struct err *err);

int watch_start(struct watch *watch, struct err *err);
void watch_stop(struct watch *watch);

#endif
