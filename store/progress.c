/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/progress.h"

#include <errno.h>
#include <stddef.h>

int progress_tell(const struct progress *p, const char *what, enum progress_unit unit,
		  uint64_t done, uint64_t total)
{
	if (!p || !p->fn)
		return 0;
	return p->fn(p->ctx, what, unit, done, total) ? -ECANCELED : 0;
}
