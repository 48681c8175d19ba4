/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replay: the pages that former resumes touched, in their order and in large
 * batches, before the guest asks for them; below every demand, above windows.
 *
 * A trace may be wrong: of another workload, or of nothing at all.  Faults say
 * so: when most of them are for pages that the trace does not have, the replay
 * goes on only while nobody waits for anything.  The owner's.
 */
#ifndef LAMINA_PAGER_REPLAY_H
#define LAMINA_PAGER_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "src/pager/fill.h"
#include "store/base/err.h"

struct hand;
struct replay;
struct session;

int replay_open(const char *path, struct replay **ret, struct err *err);
void replay_free(struct replay *replay);	/* NULL is fine */

/* After the handoff.  A trace of another memfile is dropped, with a sentence: -EINVAL. */
int replay_begin(struct session *s, struct err *err);

/* A fault on a page for the first time. */
void replay_touched(struct session *s, uint64_t page);

/* One piece, as fill_piece(). */
enum fill_step replay_piece(struct session *s, struct hand *hand, bool may_block);

/* Whether anything is to be replayed, and no thread is reading it. */
bool replay_any(const struct session *s);

/* For reports; all zeros without a replay. */
struct replay_progress {
	uint64_t pages;		/* of the trace */
	uint64_t done;		/* of these, gone through */
	bool doubted;		/* it goes on only while no fault comes: fill_is_quiet() */
};
void replay_progress(const struct session *s, struct replay_progress *ret);

#endif
