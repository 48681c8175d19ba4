/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-ask: asks the daemons that serve a store, through its mounts, to seal and fold a live
 * image.
 *
 * Whoever asks a daemon that was stopped waits in the kernel, where no signal may reach him, and
 * a process with such a thread cannot end.  So it is a child of ours that asks, and one that hangs
 * is left alone: it has nothing of ours open.
 */
#ifndef LAMINA_CLI_LIVE_ASK_H
#define LAMINA_CLI_LIVE_ASK_H

#include <stdint.h>
#include <sys/types.h>

struct cli;
struct err;

struct live_ask {
	pid_t pid;		/* the child; 0: none */
	int fd;			/* to it */
};

/*
 * Asks all mounts of the store that are seen here at once; *ret is the one that sealed, and
 * *ret_upto what the ioctl said.  -ENOENT: none has the live image, or may be asked by us; -EROFS:
 * likewise, and one is read-only; -EBUSY: one does not answer within `wait_ms`; others as the
 * ioctl.
 */
int live_ask_seal(struct cli *cli, const char *name, uint64_t wait_ms, struct live_ask *ret,
		  uint64_t *ret_upto, struct err *err);
/* -ETIMEDOUT; others as the ioctl. */
int live_ask_fold(struct live_ask *ask, uint64_t wait_ms);
/* One that is none is fine. */
void live_ask_end(struct live_ask *ask);

#endif
