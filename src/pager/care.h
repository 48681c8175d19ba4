/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * care: what a session needs besides faults: its guest's end, pages whose pause
 * is over, canaries, a recording that is to be written.  All functions are the owner's.
 */
#ifndef LAMINA_PAGER_CARE_H
#define LAMINA_PAGER_CARE_H

#include <stdint.h>

struct session;

#define CARE_ENDED "the hypervisor ended"

/* The connection hung up, or the hypervisor's process ended. */
void care_hang_up(struct session *s);

/* The guest is gone: ends the session, with this reason unless it was stopped for another. */
void care_gone(struct session *s, const char *why);

/* Milliseconds until it wants to be called again; 0: not for now. */
unsigned care_tick(struct session *s, uint64_t now_ns);

#endif
