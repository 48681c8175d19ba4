/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * promised: the account of huge pages that guests without a pager may still take.
 *
 * A guest that has graduated comes for its holes when it likes, and dies (SIGBUS) if no
 * huge page is free then.  So what it lacks is promised to it, and nobody else of this
 * runtime directory is promised the same pages: until it has taken them, where the kernel
 * tells that (/proc/PID/pagemap), or until its process has ended.
 *
 * A file for each guest, RUNTIME/promised/PID-START-ADDRESS, outlives workers, keepers and
 * the whole pager, as the guest does.
 */
#ifndef LAMINA_PAGER_PROMISED_H
#define LAMINA_PAGER_PROMISED_H

#include <stdint.h>
#include <sys/types.h>

#include "src/pager/regions.h"
#include "store/base/err.h"

struct promised_guest {
	pid_t pid;
	const struct region *regions;	/* only those of huge pages count */
	uint32_t nregions;
	uint64_t pages;			/* huge pages that it lacks */
};

/* The directory, before anything needs it: a worker in its sandbox cannot make it. */
int promised_prepare(const char *runtime_dir, struct err *err);

/*
 * All functions: any thread; check and promise are one step.  What was promised to the
 * guest before is replaced; nothing is changed on failure.
 */

/*
 * All of them, or -ENOMEM with a sentence: too few are free that are promised to nobody
 * else, or the guest's process cannot be seen.  Others: the account cannot be read or written.
 */
int promised_all(const char *runtime_dir, const struct promised_guest *guest, struct err *err);
/*
 * As many as are free and promised to nobody else.  The same -ENOMEM only if others
 * have promises that the guest would break by taking all that it lacks.
 */
int promised_some(const char *runtime_dir, const struct promised_guest *guest, struct err *err);
/* Nothing is promised to it any more (`pages` is not looked at).  That nothing was is fine. */
void promised_drop(const char *runtime_dir, const struct promised_guest *guest);

#endif
