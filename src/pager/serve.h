/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * serve: a session's turns.  Messages first, then pages that somebody waits
 * for, then what is to be filled in behind; each turn ends by arming the session's
 * userfaultfd again.
 */
#ifndef LAMINA_PAGER_SERVE_H
#define LAMINA_PAGER_SERVE_H

#include <stdint.h>

struct hand;
struct session;

/*
 * By the owner: after an event, or to rescue pages that wait.  The first turn of a
 * session that was taken over brings it up to date.
 */
void serve_turn(struct session *s, struct hand *hand);
/* The same for background work: may sleep for it. */
void serve_work(struct session *s, struct hand *hand);

#endif
