/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keeper: the process that keeps the descriptors of all sessions and starts
 * the worker, again and again if need be.
 *
 * It is small and has one thread, so that there is little in it that can
 * fail: it reads no userfaultfd, no JSON, nothing that a guest or a client
 * has written.  When it is killed all the same, the worker makes its *spare* (a
 * process that has waited for this since the keeper's start) the new keeper.
 */
#ifndef LAMINA_PAGER_KEEPER_H
#define LAMINA_PAGER_KEEPER_H

#include <stdbool.h>

#include "src/pager/keep.h"
#include "src/pager/sandbox.h"
#include "src/pager/worker.h"
#include "store/base/err.h"

#define KEEPER_PAUSE_MAX_MS 1000	/* before a worker that keeps dying is started again */

struct keeper_config {
	const char *runtime_dir;	/* absolute */
	unsigned threads;		/* for the worker */
	const char *socket;		/* of the API: removed at the end; or NULL */
	int stop_signal;
	const char *stop_command;	/* for /bin/sh -c (stopper.h); or NULL */
	const struct sandbox *sandbox;	/* of the worker; NULL: none (tests) */
	int (*worker)(const struct worker_args *args);	/* worker_main() */
	bool stored;			/* systemd has all descriptors but the API's socket */
	int ready_fd;			/* gets a byte when the first worker serves, is then
					   closed; or -1 */
};

/*
 * Keeps and serves until it is told to end, or until another keeper has taken
 * all over.  Takes the descriptors in `bags` (which is empty afterwards), among
 * them the API's socket, and `listening` of takeover_listen().  One thread, no
 * children, please: it handles SIGCHLD, SIGTERM and SIGINT, and reaps
 * whatever ends.  Returns 0 at an orderly end; -ECHILD when the very first worker did
 * not come to serve, and no guest depends on us; -errno with a sentence.
 *
 * SIGTERM and SIGINT: ends the worker, then itself.  While guests are served that
 * would be their end, so that unless systemd keeps the descriptors (notify.h) the
 * first signal is refused with a sentence in the log, and the second one counts.
 * KEEP_END of a worker without guests is an orderly end, too.
 */
int keeper_run(const struct keeper_config *config, struct keep_table *bags, int listening,
	       struct err *err);

#endif
