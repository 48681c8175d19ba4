/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stopper: stops guests, by a command of the administrator's or by a signal.
 * A command runs in a session of its own, with LAMINA_SESSION, LAMINA_PID and
 * a PATH for its environment, nothing to read, and the log for what it prints.  Nobody waits
 * for it; what runs longer than STOPPER_MS is killed with all that it started there.
 */
#ifndef LAMINA_PAGER_STOPPER_H
#define LAMINA_PAGER_STOPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/pager/keep.h"

#define STOPPER_MS 10000
#define STOPPER_MAX 256		/* commands at a time */

struct stopper_run {
	pid_t pid;
	uint64_t end_ms;
};

struct stopper {
	const char *command;	/* or NULL */
	int signal;
	struct stopper_run run[STOPPER_MAX];
	size_t n;
};

/*
 * Stops the guest of a bag, by what a KEEP_STOP says.  -ESRCH: it is gone; -EINVAL: an id
 * or pid that is none; -EOPNOTSUPP: no command, and no pidfd in the bag (which may be
 * NULL); -EAGAIN: too many commands run.
 */
int stopper_stop(struct stopper *s, const struct keep_msg *msg, const struct keep_bag *bag,
		 uint64_t now_ms);
/* A child has ended; whether it was one of these. */
bool stopper_reaped(struct stopper *s, pid_t pid, int status);
/* Kills what is late.  When the next one will be, or UINT64_MAX. */
uint64_t stopper_tick(struct stopper *s, uint64_t now_ms);

#endif
