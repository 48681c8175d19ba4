/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/sealing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/cli/cli.h"
#include "store/live.h"

#define ANSWER_MIN_MS 1000u	/* even with --wait 0: a seal syncs */
#define FOLD_MAX_MS 5000u	/* the layer is there: nobody need wait long for it */

/* Another commit, or a removal, has it open for a moment only. */
#define TRIES 40
#define TRY_MS 50

/* What was committed is removed when the next opener need not wait for it. */
static void close_soon(struct live *live)
{
	struct live_trash *trash = live_trash_take(live);

	live_close(live);
	live_trash_empty(trash);
}

static int seal_here(struct cli *cli, const char *name, struct sealing *ret)
{
	struct live *live;
	uint64_t upto = 0;
	int rc = live_open(cli->store, name, &live, &cli->err);

	if (rc < 0)
		return rc;
	rc = live_seal(live, &upto, &cli->err);
	close_soon(live);
	if (rc == 0)
		*ret = (struct sealing){.upto = upto};
	return rc;
}

/* A daemon can say no more than EIO of damage. */
static int find_cause(struct cli *cli, const char *name, int rc)
{
	struct live_info *info = calloc(1, sizeof(*info));
	struct err err = {""};
	int found = info ? live_info(cli->store, name, info, &err) : 0;

	free(info);
	if (found >= 0 || found == -ENOENT)
		return rc;
	cli->err = err;
	return found;
}

/* -EAGAIN: nobody there has it. */
static int seal_there(struct cli *cli, const char *name, uint64_t wait_ms, struct sealing *ret)
{
	struct sealing s = {0};
	struct err err = {""};
	int rc = live_ask_seal(cli, name, wait_ms < ANSWER_MIN_MS ? ANSWER_MIN_MS : wait_ms,
			       &s.ask, &s.upto, &err);

	if (rc == 0)
		*ret = s;
	if (rc == 0 || rc == -ENOENT)
		return rc ? -EAGAIN : 0;
	cli->err = err;
	return rc == -EIO ? find_cause(cli, name, rc) : rc;
}

int sealing_begin(struct cli *cli, const char *name, uint64_t wait_ms, struct sealing *ret)
{
	static const struct timespec pause = {.tv_nsec = TRY_MS * 1000000L};
	int rc = -EBUSY, there;

	for (int i = 0;; i++) {
		/* Who has it is asked first: to try the lock is to wait for it. */
		if (i > 0 || live_is_open(cli->store, name) == 0)
			rc = seal_here(cli, name, ret);
		if (rc != -EBUSY)
			return rc;
		there = seal_there(cli, name, wait_ms, ret);
		if (there != -EAGAIN && there != -EROFS)
			return there;
		if (i == TRIES)
			break;
		(void)nanosleep(&pause, NULL);
	}
	return there == -EROFS ? there : rc;
}

/* Gives back the room of what is in a layer now; if that fails, the next to open it does. */
static void fold_here(struct cli *cli, const char *name)
{
	struct live *live;
	struct err err = {""};

	if (live_open(cli->store, name, &live, &err) == 0)
		close_soon(live);
}

/* Its daemon has ended, and cannot be asked. */
static void fold_after(struct cli *cli, const char *name)
{
	fold_here(cli, name);
	cli_note(cli, "the daemon that served live image '%s' has ended: the live image stands on "
		 "the new layer, and is there again once the store is mounted anew", name);
}

static void fold_there(struct cli *cli, const char *name, uint64_t wait_ms, struct aside *ask)
{
	char buf[128];
	int rc = live_ask_fold(ask, wait_ms < FOLD_MAX_MS ? wait_ms : FOLD_MAX_MS);

	if (rc == -ETIMEDOUT)
		cli_note(cli, "the daemon that serves live image '%s' does not answer: it stands "
			 "on the new layer once it goes on", name);
	else if (rc == -ENOTCONN || rc == -ECONNABORTED)
		fold_after(cli, name);
	else if (rc < 0)
		cli_note(cli, "the daemon that serves live image '%s' goes on above what was "
			 "committed: %s", name, strerror_r(-rc, buf, sizeof(buf)));
}

void sealing_end(struct cli *cli, const char *name, uint64_t wait_ms, bool made,
		 struct sealing *sealing)
{
	if (made && !sealing->ask.pid)
		fold_here(cli, name);
	else if (made)
		fold_there(cli, name, wait_ms < ANSWER_MIN_MS ? ANSWER_MIN_MS : wait_ms,
			   &sealing->ask);
	aside_end(&sealing->ask);
}
