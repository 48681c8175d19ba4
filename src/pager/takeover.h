/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * takeover: how a new keeper gets all that an old one keeps.  At no time do
 * two workers have the same descriptors: the old keeper ends its worker
 * first, and starts another one if the new keeper does not want the sessions.
 *
 *	new			old (RUNTIME/keeper.sock)
 *	TAKE, its version
 *				NO -EPROTONOSUPPORT, -EBUSY, or:
 *				QUIT to its worker, which ends
 *				BAG ..., READY
 *	looks at every state
 *	YES			OK, and ends
 *	  or NO			starts a worker and goes on, as after silence
 *	after OK starts a worker
 */
#ifndef LAMINA_PAGER_TAKEOVER_H
#define LAMINA_PAGER_TAKEOVER_H

#include "src/pager/keep.h"
#include "store/base/err.h"

#define TAKEOVER_SILENCE_MS 10000	/* the most that either waits for the other */

/* ---- the new keeper ---- */

/*
 * Asks the keeper that serves `runtime_dir` for everything.  0: it is all in `ret`, and
 * the other one is gone; -ENOENT: nobody is there; -EPROTONOSUPPORT: a state or the
 * protocol is of a version that we do not know; -EBUSY, -EACCES, -ETIMEDOUT, ...  In
 * every case but 0 the other one goes on, and `ret` is empty.
 */
int takeover_take(const char *runtime_dir, struct keep_table *ret, struct err *err);

/* Whether a keeper answers there: 1, 0, -errno. */
int takeover_probe(const char *runtime_dir, struct err *err);

/* ---- the old one, which then is the keeper's loop (keeper.h) ---- */

/* RUNTIME/keeper.sock, mode 0600, put in place of whatever socket is there.  A descriptor. */
int takeover_listen(const char *runtime_dir, struct err *err);

void takeover_unlink(const char *runtime_dir);

/* The next who asks: a descriptor, or -errno (-EAGAIN: nobody; -EPERM: another user's). */
int takeover_accept(int listening, struct err *err);
/* Whether its first message can be granted: 0, -EPROTONOSUPPORT, -EBADMSG. */
int takeover_check(const struct keep_msg *msg, struct err *err);

#endif
