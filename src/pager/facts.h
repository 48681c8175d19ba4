/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * facts: a session as JSON, as lamina-pager-api(7) describes it.
 */
#ifndef LAMINA_PAGER_FACTS_H
#define LAMINA_PAGER_FACTS_H

#include <jansson.h>
#include <stdbool.h>
#include <time.h>

struct session;

struct facts_want {
	bool regions;
	bool histogram;
	/*
	 * How long (CLOCK_REALTIME) it may wait for the session's owner; what only
	 * the owner may look at is null if that was too short.
	 */
	struct timespec until;
};

/* `until` is so many milliseconds from now on. */
void facts_until(struct facts_want *want, unsigned ms);

/* Any thread that does not own the session.  A new reference, or NULL: -ENOMEM. */
json_t *facts_json(struct session *s, const struct facts_want *want);

/*
 * A sentence as a string, also where it was cut within a character, or names a file in
 * other bytes than UTF-8.  NULL: -ENOMEM.
 */
json_t *facts_sentence(const char *text);

/* Its phase's name, now. */
const char *facts_state(const struct session *s);

#endif
