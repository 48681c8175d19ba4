/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pagers: the pagers of a host.  There is one to a runtime directory; of
 * several (an instance a version) each has a directory below a common one:
 *
 *	ROOT/pager.sock
 *	ROOT/pager-NAME/pager.sock	NAME is often the version
 *
 * What is there and does not answer is listed too.  Nothing else below ROOT is
 * looked at: it may be a mount whose daemon hangs.
 */
#ifndef LAMINA_RPC_PAGERS_H
#define LAMINA_RPC_PAGERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

#define PAGERS_TRIES 3		/* at one that hangs up: it may be about to end */

struct pagers_entry {
	char *socket;		/* absolute */
	char *version;		/* NULL: it does not answer */
	bool draining;
	uint64_t sessions;	/* that have not ended */
	bool outdated;		/* an answering one of a newer version is there */
	struct err err;		/* why it does not answer */
	int code;		/* the same as -errno; 0: it answers */
};

struct pagers {
	struct pagers_entry *v;	/* newest version first, of one by socket; silent ones last */
	size_t n;
};

/*
 * Asks each for at most `timeout_ms`.  0, also when there is none; -errno with a sentence
 * when `root` cannot be read (one that is not there has no pagers).
 */
int pagers_find(const char *root, int timeout_ms, struct pagers *ret, struct err *err);
void pagers_fini(struct pagers *pagers);
/* `code` of one that does not answer: whether nobody listens there any more. */
bool pagers_has_ended(int code);
/* The one for new sessions: the newest that is not draining.  NULL: none. */
const struct pagers_entry *pagers_newest(const struct pagers *pagers);

/*
 * < 0, 0, > 0.  Numbers between dots compare as numbers, missing ones are 0; what follows a
 * '-' or '~' is a prerelease, older than the version without it; '+' and behind it does not count.
 */
int pagers_version_cmp(const char *a, const char *b);

#endif
