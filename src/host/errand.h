/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * errand: work on a file that may hang, sent out into a child (store/base/aside.h), which tells
 * how far it is.
 *
 *	static int copy(struct errand *e, struct err *err);	(in the child)
 *
 *	struct errand e = {.fn = copy, .arg = &what, .path = path, .idle_ms = 30000};
 *
 *	rc = errand_run(&e, &err);		e.count[] is what the child counted
 *
 * It is given up when nothing was told for `idle_ms`: -ETIMEDOUT; or when `stopped` says so:
 * -ECANCELED. The child is killed then, and not waited for.  Only for a process with one
 * thread.
 */
#ifndef LAMINA_HOST_ERRAND_H
#define LAMINA_HOST_ERRAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

#define ERRAND_IDLE_MS 30000

struct errand {
	int (*fn)(struct errand *e, struct err *err);	/* 0 or -errno with a sentence */
	void *arg;
	const char *path;	/* of the file, for sentences */
	const int *keep;	/* descriptors that the child needs */
	size_t nkeep;
	int idle_ms;		/* 0: ERRAND_IDLE_MS */
	bool (*stopped)(void);	/* or NULL */
	uint64_t count[3];	/* the child's to fill; here after success */
	/* the child's */
	int fd;
	uint64_t told_ms;
};

int errand_run(struct errand *e, struct err *err);
/* In the child: it is alive.  Cheap: says so ten times a second at most. */
void errand_tell(struct errand *e);

#endif
