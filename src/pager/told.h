/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * told: what systemd is to be told (notify.h), kept until it has taken it.  Its
 * socket's queue may be ten messages long, and the keeper never waits for it.
 *
 * Of each bag it is known which roles are to be removed and which to be stored, not
 * in which messages: the descriptors are those of the table at the time.  A name is
 * removed before another descriptor is stored under it.
 *
 * Without systemd there is nothing to be told, and all of this does nothing.
 */
#ifndef LAMINA_PAGER_TOLD_H
#define LAMINA_PAGER_TOLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/pager/keep.h"

struct told_bag {
	uint32_t id;
	uint16_t remove;		/* a bit for each role */
	uint16_t store;
};

struct told {
	struct told_bag *v;		/* by ascending id; none is empty */
	size_t n;
	size_t cap;
	bool ready;
	bool stopping;
	atomic_bool *unsaid;		/* in memory that the next keeper sees, too */
	uint64_t retry_ms;		/* not before; UINT64_MAX: nothing is left */
	unsigned pause_ms;
	uint64_t refused_ms;		/* since when; 0: it takes all */
	bool logged;
};

/* `heir`: a copy of the one of a keeper that died; NULL. */
void told_init(struct told *t, const struct told *heir);
void told_fini(struct told *t);

void told_ready(struct told *t);
void told_stopping(struct told *t);

/* `replaced`: another descriptor had this role. */
void told_put(struct told *t, uint32_t bag, enum keep_role role, bool replaced);
/* `but`: as in keep_table_drop(). */
void told_drop(struct told *t, const struct keep_bag *bag, enum keep_role but);
/* All of a table is stored, or none. */
void told_all(struct told *t, const struct keep_table *table);
void told_none(struct told *t, const struct keep_table *table);

/* The keeper that this one inherits from had not said all: so all is said again. */
bool told_was_cut_short(const struct told *t);

/*
 * Says as much as systemd takes now.  When to call it again, by the same clock;
 * UINT64_MAX: not before there is more to be told.
 */
uint64_t told_say(struct told *t, const struct keep_table *table, uint64_t now_ms);

#endif
