/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * progress: how long work tells its caller where it is, and is told to stop.
 */
#ifndef LAMINA_PROGRESS_H
#define LAMINA_PROGRESS_H

#include <stdint.h>

enum progress_unit {
	PROGRESS_BYTES,
	PROGRESS_COUNT,		/* things, which `what` names */
};

struct progress {
	/* Called from any thread, one at a time, not too often.  Non-zero stops
	 * the work, which then returns -ECANCELED with nothing published. */
	int (*fn)(void *ctx, const char *what, enum progress_unit unit, uint64_t done,
		  uint64_t total);
	void *ctx;
};

/* Calls p->fn unless p or p->fn is NULL; -ECANCELED or 0. */
int progress_tell(const struct progress *p, const char *what, enum progress_unit unit,
		  uint64_t done, uint64_t total);

#endif
