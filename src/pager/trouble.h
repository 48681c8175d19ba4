/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * trouble: a page that somebody waits for and that cannot be had.  It is tried again
 * after growing pauses; after the session's patience its policy is applied:
 * wait (go on trying), poison (its readers get SIGBUS), stop (the guest).
 * Never zeros.  All functions are the owner's.
 */
#ifndef LAMINA_PAGER_TROUBLE_H
#define LAMINA_PAGER_TROUBLE_H

#include <stdint.h>

#define TROUBLE_FIRST_MS 10
#define TROUBLE_LAST_MS 1000

struct session;

/*
 * The page stands in s->wants.  `code`: what install_pages() or source_read()
 * said.  May end the session.
 */
void trouble_page(struct session *s, uint64_t page, int code);

/*
 * Stops the hypervisor: the configured command or signal.  `why` becomes the reason of the
 * session's end.  -errno of keep_stop().
 */
int trouble_stop_guest(struct session *s, const char *why);

/*
 * A fault, with why it cannot be answered: whoever waits is left waiting, because waking
 * would raise it again at once.  The first of a session is logged, all are counted.
 */
void trouble_leave(struct session *s, uint64_t addr, const char *why);

/* What a code of the userfaultfd means for the session when nobody waits for the page. */
void trouble_uffd(struct session *s, int code);

#endif
