/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tally: what a pager knows besides its sessions: whether it drains, what
 * the sessions that were forgotten had counted, and which numbers were given.  In a
 * memfd that outlives the worker, as a session's state (state.h) does.
 */
#ifndef LAMINA_PAGER_TALLY_H
#define LAMINA_PAGER_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "src/pager/metrics.h"
#include "store/base/err.h"

struct tally;

int tally_new(struct tally **ret, struct err *err);
/*
 * One that was kept.  Takes `fd` on success.  -EMEDIUMTYPE for what is none,
 * -EPROTONOSUPPORT for another layout, -EBADMSG for one that contradicts itself.
 */
int tally_adopt(int fd, struct tally **ret, struct err *err);
void tally_close(struct tally *tally);		/* NULL is fine */
int tally_fd(const struct tally *tally);

/*
 * Any thread.  It drains, or with `exit` also ends with its last session, as long as the
 * workers are of this version: one that takes over is there to take new sessions.
 */
void tally_drain(struct tally *tally, bool exit);
bool tally_draining(const struct tally *tally);
bool tally_exiting(const struct tally *tally);

/* From here on one caller at a time. */

/* A number that none of these tallies' workers gave: 1, 2, ... */
uint32_t tally_number(struct tally *tally);
/* That somebody else gave this one. */
void tally_number_seen(struct tally *tally, uint32_t number);

/* Adds what the session of that number counted, wholly or (by a kill) not at all. */
void tally_add(struct tally *tally, uint32_t number, const struct state_head *head);
/* Whether it was the last to be added. */
bool tally_is_last(const struct tally *tally, uint32_t number);
/* The sums; borrowed. */
const struct metrics *tally_past(const struct tally *tally);

#endif
