/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keeper-private: shared by keeper.c, keeper-hear.c and keeper-worker.c; nobody else's. */
#ifndef LAMINA_PAGER_KEEPER_PRIVATE_H
#define LAMINA_PAGER_KEEPER_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/pager/keeper.h"
#include "src/pager/stopper.h"
#include "src/pager/told.h"

enum keeper_phase {
	KEEPER_PAUSED,		/* no worker until wake_ms */
	KEEPER_STARTING,	/* it takes up the bags */
	KEEPER_SERVING,
	KEEPER_QUITTING,	/* told to end; killed at wake_ms */
	KEEPER_HANDING,		/* no worker: a new keeper looks at the bags, until wake_ms */
	KEEPER_LEAVING,		/* no worker: systemd has not taken all yet, until wake_ms */
	KEEPER_DONE
};

struct keeper {
	const struct keeper_config *config;
	struct keep_table bags;
	struct stopper stopper;
	struct told told;
	enum keeper_phase phase;
	uint64_t wake_ms;		/* UINT64_MAX: nothing to wait for */
	int listening;			/* keeper.sock */
	int signals;			/* signalfd */
	int ready_fd;

	int link;			/* the worker's; -1: none */
	int pidfd;
	pid_t pid;			/* -1: not a child of this process */
	bool reaped;			/* pid has, with this status */
	int status;
	pid_t spare;			/* 0: none */
	uint64_t started_ms;
	unsigned pause_ms;		/* the last one */

	int taker;			/* who wants to take over; -1: nobody */
	bool taker_heard;		/* its first message was good */
	bool served;			/* a worker has served, ever */
	bool ending;
	bool refused;			/* a signal to end, once */
	bool contradicted;		/* KEEP_END while guests depended on us, once */
};

/* keeper-worker.c */

/* Starts a worker and gives it all bags.  An error is logged; then it is tried again later. */
void keeper_start_worker(struct keeper *k);
/* QUIT; the phase says so. */
void keeper_quit_worker(struct keeper *k);
/* Ends it by force; the pidfd will tell. */
void keeper_kill_worker(struct keeper *k);
/* The worker is dead: nothing of it is left, and the phase is PAUSED, or as it was. */
void keeper_bury_worker(struct keeper *k);
/* The worker is alive, the spare is not. */
void keeper_start_spare(struct keeper *k);

/* keeper-hear.c */

/* A message of the worker's; takes its descriptors. */
void keeper_hear(struct keeper *k, struct keep_msg *msg);

/* keeper.c */

/* The worker says that nothing is left to serve: ends all, unless a guest depends on us. */
void keeper_end(struct keeper *k);

/* In the spare that has been called: the keeper from now on.  Takes the descriptors. */
int keeper_inherit(const struct keeper *dead, int link, int pidfd);

#endif
