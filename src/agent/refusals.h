/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * refusals: what the log tells of callers who were turned away.  Anybody can be one as often as
 * he likes: of a window of time the first few have their line, the others are counted, and told
 * of as a number when it is over and somebody else is refused, or reads the log.  From any thread.
 */
#ifndef LAMINA_AGENT_REFUSALS_H
#define LAMINA_AGENT_REFUSALS_H

#include <pthread.h>
#include <stdint.h>

#define REFUSALS_WINDOW_MS 60000
#define REFUSALS_TOLD 8		/* of a window */

struct refusals {
	pthread_mutex_t lock;
	const char *how;	/* they came: "by TCP"; borrowed */
	uint64_t end_ms;	/* of the window */
	unsigned told;
	uint64_t untold;
};

void refusals_init(struct refusals *r, const char *how);
/* One more; the line is a warning. */
void refusals_add(struct refusals *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Tells how many were only counted, if the window is over. */
void refusals_tell(struct refusals *r);

#endif
