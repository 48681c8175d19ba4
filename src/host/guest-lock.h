/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-lock: the files in RUNDIR/guests that are locked (flock) by who works on something: each
 * is NAME.lock, and says in a line who that is.  A lock ends with its descriptor, which no program
 * that is started inherits, and so with its holder.  For guest's own files.
 */
#ifndef LAMINA_HOST_GUEST_LOCK_H
#define LAMINA_HOST_GUEST_LOCK_H

#include <stdint.h>

#include "store/base/err.h"

#define GUEST_LOCK_WHAT_MAX 191u	/* characters of what it is locked for */

struct guest_lock_holder {
	int pid;	/* 0: it cannot be told */
	char what[GUEST_LOCK_WHAT_MAX + 1];	/* ""; likewise */
};

/* The directory's own, for a moment: it is waited for. */
int guest_lock_dir(int dirfd, struct err *err);
/*
 * A descriptor, whose close lets go.  -EBUSY: `*ret` has it, and there is no sentence.  `what` is
 * what others are told: "lamina resume".
 */
int guest_lock_take(int dirfd, const char *name, const char *what, struct guest_lock_holder *ret,
		    struct err *err);
/* -EBUSY with the sentence that `holder` works on `whom`, and `more` behind it. */
int guest_lock_busy(const struct guest_lock_holder *holder, const char *whom, const char *more,
		    struct err *err);
/* Removes the file, and lets go. */
void guest_lock_drop(int dirfd, const char *name, int fd);

#endif
