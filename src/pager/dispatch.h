/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dispatch: what the loop's threads do for sessions: an event, a job and a tick
 * become a session's turn, its handoff, its end or its care.
 */
#ifndef LAMINA_PAGER_DISPATCH_H
#define LAMINA_PAGER_DISPATCH_H

#include "src/pager/loop.h"

/* Their context is the table of sessions (sessions.h). */
extern const struct loop_ops dispatch_ops;

#endif
