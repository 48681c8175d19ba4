/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * complete: graduation.  Populates every page of a session that is neither
 * present, nor removed, nor zero, below all that somebody waits for; then
 * unregisters its memory, reads out what is still pending, and ends it.
 *
 * Threads of its own read the memfile into blocks; whoever owns the session
 * installs them, piece by piece.  A completion lives as long as somebody waits for
 * it: when the last caller goes, it ends, the session serves on, and what was
 * populated stays.
 */
#ifndef LAMINA_PAGER_COMPLETE_H
#define LAMINA_PAGER_COMPLETE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/pager/fill.h"
#include "src/pager/guard.h"
#include "store/base/err.h"

struct complete;
struct hand;
struct session;

/* What a completion may take, and how long its caller waits. */
struct complete_want {
	uint64_t rate;			/* bytes a second that are populated; 0: any */
	struct guard guard;		/* of the host's memory */
	uint64_t timeout_ms;		/* 0: none */
};

/*
 * What has been done for the session to graduate, by all attempts, those of former workers
 * included.
 */
struct complete_report {
	uint64_t pages;			/* that were populated */
	uint64_t bytes;			/* these */
	uint64_t zero;			/* pages that were read and are zeros */
	uint64_t holes;			/* pages that stay away: holes, zeros, removed ones */
	uint64_t at;			/* bytes of memory gone through by the last attempt */
	uint64_t ns;			/* that attempts have taken */
	uint64_t unregister_ns;		/* of these; 0: not yet */
	bool already;			/* it had graduated before */
	bool durable;			/* that it has is remembered beyond the pager's life */
	bool held;			/* by the guard, at this moment */
};

struct complete_call {
	struct complete_want want;
	_Atomic bool cancelled;		/* by complete_cancel() */
};

/*
 * Graduates the session, or joins who is at it (his limits count then), and waits.
 * Any thread that owns no session and may block.  0: it has graduated, now or before.
 * With a sentence, and the session serves on where it did:
 *   -EBUSY	it waits for its hypervisor
 *   -ESRCH	the guest is gone, or the session has failed
 *   -ECANCELED	by complete_cancel() or complete_stop()
 *   -ETIMEDOUT	the call's time has passed
 *   -ENOMEM	the guest got no memory; too few huge pages are free and promised to nobody
 *		else; a guard held it for too long
 *   -EIO	the memfile cannot be read; others: what the kernel said
 * `ret` is what was done so far in any case.
 */
int complete_session(struct session *s, struct complete_call *call, struct complete_report *ret,
		     struct err *err);
/* This call ends soon; the completion goes on if others wait for it.  Any thread. */
void complete_cancel(struct complete_call *call);
/*
 * Ends a completion for all who wait for it, with why in words.  Any thread that may
 * block.  -ENOENT: none.
 */
int complete_stop(struct session *s, const char *why);

/* The owner's from here on. */

/* One piece, as fill_piece().  May end the session. */
enum fill_step complete_piece(struct session *s);
/* Whether it is under way, and what it has done by now. */
bool complete_progress(const struct session *s, struct complete_report *ret);
/* The session has ended, as its state says. */
void complete_over(struct session *s);
/*
 * Of a session that has ended: if it has graduated and that could not be written down, tries
 * again.  In how many ms it is to be called again; 0: there is nothing to do.
 */
#define COMPLETE_REMEMBER_MS 1000
unsigned complete_remember(struct session *s);
/* It is not to be remembered any more. */
void complete_forget(struct session *s);
/*
 * After a worker took the session over, with all that waited read: an unregistering that
 * was begun is finished.  May end the session.
 */
void complete_resume(struct session *s);

#endif
