/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * touch: records the order in which a guest comes for its pages, as a trace
 * (store/base/trace.h), in a file that was named at the session's creation.
 * Bounded by TRACE_PAGES_MAX; what comes later is not recorded.  The owner's.
 */
#ifndef LAMINA_PAGER_TOUCH_H
#define LAMINA_PAGER_TOUCH_H

#include <stdint.h>

#include "store/base/err.h"

#define TOUCH_FLUSH_MS 5000	/* after a touch it is time for touch_flush() */

struct session;
struct state;
struct touch;

/*
 * Finds out whether the file can be written, and leaves it as it is: -errno with a sentence.
 * `state` is the session's, and stays.
 */
int touch_open(const char *path, struct state *state, struct touch **ret, struct err *err);
/* Goes on with what a former worker wrote, if it is still there.  -ENOMEM. */
int touch_reopen(const char *path, struct state *state, struct touch **ret, struct err *err);
void touch_free(struct touch *t);		/* NULL is fine; does not write */

/* After the handoff: what the pages are. */
void touch_begin(struct touch *t, uint32_t page_size, uint64_t memfile_size);
/* The guest came for this page of the session, for the first time. */
void touch_note(struct session *s, uint64_t page);
/*
 * After touch_reopen() and touch_begin(): the pages that were asked for and that the
 * former worker did not come to write, in their order in the session.
 */
void touch_catch_up(struct session *s);
/* Writes what is new, if anything is.  NULL is fine.  -errno. */
int touch_flush(struct touch *t);

#endif
