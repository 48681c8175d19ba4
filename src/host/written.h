/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * written: the memory of a guest that is stopped, put into its memfile as far as it differs
 * from what is there.
 *
 * What that is, a mapping of the hypervisor's process says:
 *
 *   shared, of the memfile itself: nothing.  All is there, once the memfile is synced.
 *   shared, of another file or of none: its data; its holes are zeros.
 *   private, of a file: pages that are the process's own, in memory or swapped out.  The others
 *	are the file's: the memfile has to hold what that file holds (a live image made from its
 *	layer, and in which no other guest ran since).
 *   anonymous, served by a userfaultfd: pages that are there.  The others are the layer's (also
 *	those that the guest gave back to the host since).
 *   anonymous: the same, and the others are zeros.
 *
 * With `all` the others are read as well, for a memfile that may not hold what they are.
 *
 * Of these, the pages that differ from the memfile's are written; where they are zeros,
 * punched.  They are read through /proc/PID/mem.
 */
#ifndef LAMINA_HOST_WRITTEN_H
#define LAMINA_HOST_WRITTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/base/err.h"

struct written_ask {
	pid_t pid;
	uint64_t addr, len;	/* the guest's memory there: byte `addr` is the memfile's first */
	const char *memfile;	/* of `len` bytes */
	bool all;		/* the others, too: whatever the memfile holds */
	int idle_ms;		/* without a step: -ETIMEDOUT.  0: 30 s */
	bool (*stopped)(void);	/* or NULL */
};

struct written_count {
	uint64_t data;		/* bytes written */
	uint64_t zeros;		/* bytes punched */
	bool in_place;		/* nothing to do: the memfile is what is mapped */
	bool all;		/* pages that are not the process's own were read */
};

/*
 * By a child (errand.h), so not in a process with threads.  -EINVAL: the memfile has another
 * size; -ENOTSUP: there is no such mapping in the process, or one that cannot be read so;
 * -EACCES, -EPERM: not for us; -ESRCH: the process has ended.  After a failure some of it may
 * be in the memfile.
 */
int written_copy(const struct written_ask *ask, struct written_count *ret, struct err *err);

/*
 * Whether what a guest wrote can be told from what it only read: the mapping has a file behind
 * it. Errors as above.
 */
int written_is_told(pid_t pid, uint64_t addr, uint64_t len, struct err *err);

#endif
