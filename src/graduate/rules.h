/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rules: which sessions are graduated now, and why the others are not.  No
 * clock and no I/O: all that counts is given.
 *
 * - Only a session that serves, can be detached and was handed over `min_age_ns`
 *   ago or earlier.  The age is the pager's word.
 * - Those on an outdated pager come first, then the oldest.
 * - At most `max_concurrent` at a time, and never two on one guest: of one
 *   process, or of one id on two pagers.
 * - With `max_active` above 0, sessions of pagers that are not outdated are graduated
 *   only while more than that would be left; all that are paged count.
 * - One that was tried in vain waits for `backoff_ns`.
 */
#ifndef LAMINA_GRADUATE_RULES_H
#define LAMINA_GRADUATE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/graduate/memory.h"

#define RULES_WHY_LEN 192

enum rules_state {
	RULES_WAITING,		/* for its hypervisor */
	RULES_SERVING,
	RULES_COMPLETING,	/* a completion is under way, whoever asked for it */
	RULES_OTHER,		/* what we do not know */
};

enum rules_reason {
	RULES_GRADUATE,		/* now */
	RULES_RUNNING,
	RULES_IS_COMPLETING,
	RULES_IS_WAITING,
	RULES_NOT_SERVING,
	RULES_NOT_DETACHABLE,
	RULES_NO_AGE,
	RULES_TOO_YOUNG,
	RULES_BACKING_OFF,
	RULES_BELOW_CEILING,
	RULES_MAX_CONCURRENT,
	RULES_SAME_GUEST,
	RULES_NREASONS
};

struct rules_limits {
	uint64_t min_age_ns;
	uint64_t backoff_ns;
	uint64_t max_concurrent;
	uint64_t max_active;	/* 0: none */
};

struct rules_pager {
	const char *socket;
	const char *version;
	bool outdated;
};

struct rules_session {
	const struct rules_pager *pager;
	const char *id;
	uint64_t number;
	enum rules_state state;
	bool has_age;
	uint64_t age_ns;	/* since the handoff */
	bool detachable;
	pid_t pid;		/* of the hypervisor; 0: not known */
};

/* Sessions that have ended are not in it. */
struct rules_world {
	const struct rules_session *sessions;
	size_t n;
	const struct memory *memory;
	uint64_t now_ns;
};

struct rules_decision {
	const struct rules_session *session;
	enum rules_reason reason;
	char why[RULES_WHY_LEN];	/* a sentence */
};

/* Fills `ret`, of world->n decisions, in the order in which they are made. */
void rules_decide(const struct rules_limits *limits, const struct rules_world *world,
		  struct rules_decision *ret);

/* A word: "graduate", "too_young", ... */
const char *rules_word(enum rules_reason reason);

struct memory_key rules_key(const struct rules_session *session);

#endif
