/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-ask: asks the daemons that serve a store, through its mounts, to seal and fold a live
 * image.  A daemon that was stopped never answers: it is a child of ours (aside.h) that asks.
 */
#ifndef LAMINA_CLI_LIVE_ASK_H
#define LAMINA_CLI_LIVE_ASK_H

#include <stdint.h>

#include "store/base/aside.h"

struct cli;
struct err;

/*
 * Asks all mounts of the store that are seen here at once; *ret is the one that sealed, and
 * *ret_upto what the ioctl said.  -ENOENT: none has the live image, or may be asked by us; -EROFS:
 * likewise, and one is read-only; -EBUSY: one does not answer within `wait_ms`; others as the
 * ioctl.
 */
int live_ask_seal(struct cli *cli, const char *name, uint64_t wait_ms, struct aside *ret,
		  uint64_t *ret_upto, struct err *err);
/* -ETIMEDOUT, after a second at most for who is told to stop; others as the ioctl. */
int live_ask_fold(struct aside *ask, uint64_t wait_ms);

#endif
