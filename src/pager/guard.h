/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard: whether the host has memory to spare (proc_meminfo(5), and
 * https://docs.kernel.org/accounting/psi.html).
 */
#ifndef LAMINA_PAGER_GUARD_H
#define LAMINA_PAGER_GUARD_H

#include <stdint.h>

#include "store/base/err.h"

struct guard {
	uint64_t min_available;		/* bytes of MemAvailable; 0: any */
	double max_pressure;		/* percent, of memory "some avg10"; 0: any */
};

/*
 * 0: go on; -EAGAIN with a sentence: not now.  A kernel that does not tell its
 * pressure has none.
 */
int guard_check(const struct guard *guard, struct err *err);

/* The same from other files than those of /proc. */
int guard_check_in(const struct guard *guard, const char *meminfo, const char *pressure,
		   struct err *err);

#endif
