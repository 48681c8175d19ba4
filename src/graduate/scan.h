/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scan: what the pagers of the host say of their sessions, at one time.
 */
#ifndef LAMINA_GRADUATE_SCAN_H
#define LAMINA_GRADUATE_SCAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "src/graduate/rules.h"
#include "store/base/err.h"
#include "store/base/vec.h"

struct scan_pager {
	struct rules_pager is;	/* version NULL: it does not answer */
	char *socket;
	char *version;
	bool draining;
	bool replaced;		/* outdated, and a newer one takes new sessions */
	size_t sessions;	/* that have not ended */
	struct err err;		/* why it does not answer */
	int code;		/* the same as -errno; 0: it answers */
};

struct scan {
	struct scan_pager *pagers;
	size_t npagers;
	VEC(struct rules_session) sessions;	/* not ended; ids are its own */
};

/*
 * Asks every pager below `root`; each request waits `timeout_ms` at most.  A
 * pager that does not answer has no sessions here, and an error.  -errno: `root` cannot be
 * read, or memory ran out.
 */
int scan_take(const char *root, int timeout_ms, struct scan *ret, struct err *err);
void scan_fini(struct scan *scan);

/* Nobody listens any more: that is no silence. */
bool scan_has_ended(const struct scan_pager *pager);

/*
 * Reads one session of a pager's GET /sessions; `ret->id` is borrowed from `json`.
 * 1: it is one; 0: it has ended; -EBADMSG.
 */
int scan_session(const json_t *json, struct rules_session *ret);

#endif
