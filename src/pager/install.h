/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * install: pages into the guest, and what the session's state says of them.
 * All functions are the owner's.
 */
#ifndef LAMINA_PAGER_INSTALL_H
#define LAMINA_PAGER_INSTALL_H

#include <stdbool.h>
#include <stdint.h>

struct session;

enum install_why { INSTALL_DEMAND, INSTALL_AHEAD, INSTALL_REPLAY, INSTALL_COMPLETE };

struct install {
	uint64_t page;		/* of one region, all of them, */
	uint64_t n;		/* and all missing or filling */
	const uint8_t *data;	/* of the memfile; NULL: zeros */
	enum install_why why;
};

/*
 * Installs them; a page of zeros by ZEROPAGE, or, when nobody asked for it and it
 * would cost memory or is to be left out of a graduation, not at all (it is
 * noted as a hole).  A page that is there already is present.
 * Stops at the first that cannot be installed, which is missing then:
 *   -EAGAIN	read messages, look at the states again, repeat
 *   -ENOMEM	no memory, or no huge page
 *   -ENOENT	not registered (any more)
 *   -ESRCH	the guest is gone
 */
int install_pages(struct session *s, const struct install *in);

/*
 * A fault on a page that was installed or removed before: zeros, or, where it
 * is there after all, a wake.  Errors as above.
 */
int install_again(struct session *s, uint64_t page);

/* Whoever waits for the page tries again. */
void install_wake(struct session *s, uint64_t page);

/* Whether all `len` bytes (at least one) are zero. */
bool install_is_zero(const uint8_t *p, uint64_t len);

#endif
