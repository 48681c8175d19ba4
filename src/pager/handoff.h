/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * handoff: how a session gets its guest.  The hypervisor connects to the
 * session's socket and sends one message: the regions as JSON (regions.h) and one
 * descriptor, the userfaultfd, by SCM_RIGHTS (unix(7)).  There is no answer.  The
 * connection stays open: its hang-up means that the guest is gone.
 * (Firecracker's UFFD handshake, docs/snapshotting/handling-page-faults-on-snapshot-resume.md.)
 *
 * Somebody who may not hand over is sent away and the session goes on waiting;
 * a wrong message from somebody who may ends it.  All functions are the owner's.
 */
#ifndef LAMINA_PAGER_HANDOFF_H
#define LAMINA_PAGER_HANDOFF_H

#include <stdint.h>

struct session;

/* The listening socket is readable. */
void handoff_accept(struct session *s);
/* The connection is readable, or hung up, and the session still waits. */
void handoff_receive(struct session *s);
/* Ends the session if its peer has said nothing for too long; returns ms until then, 0: nothing. */
unsigned handoff_age(struct session *s, uint64_t now_ns);

#endif
