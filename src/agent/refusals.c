/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/refusals.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "src/agent/logs.h"
#include "store/base/clock.h"

void refusals_init(struct refusals *r, const char *how)
{
	*r = (struct refusals){.how = how};
	pthread_mutex_init(&r->lock, NULL);
}

/* Ends a window that is over; what it left to be told of.  Under the lock. */
static uint64_t end_window(struct refusals *r)
{
	uint64_t untold = r->untold;

	if (clock_ms() < r->end_ms)
		return 0;
	r->told = 0;
	r->untold = 0;
	return untold;
}

static bool count_one(struct refusals *r, uint64_t *ret_more)
{
	bool has_line;

	pthread_mutex_lock(&r->lock);
	*ret_more = end_window(r);
	if (r->told == 0)
		r->end_ms = clock_ms() + REFUSALS_WINDOW_MS;
	has_line = r->told < REFUSALS_TOLD;
	if (has_line)
		r->told++;
	else
		r->untold++;
	pthread_mutex_unlock(&r->lock);
	return has_line;
}

static void tell_more(const struct refusals *r, uint64_t more)
{
	if (more)
		logs_add(LOGS_WARNING, "%" PRIu64 " more %s were refused", more, r->how);
}

void refusals_add(struct refusals *r, const char *fmt, ...)
{
	char text[LOGS_TEXT];
	uint64_t more;
	va_list ap;

	if (!count_one(r, &more))
		return;
	tell_more(r, more);
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	logs_add(LOGS_WARNING, "%s", text);
}

void refusals_tell(struct refusals *r)
{
	uint64_t more;

	pthread_mutex_lock(&r->lock);
	more = end_window(r);
	pthread_mutex_unlock(&r->lock);
	tell_more(r, more);
}
