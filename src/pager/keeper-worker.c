/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker and the spare: how they start and end.  The essay is in keeper.c.
 */
#include "src/pager/keeper-private.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/pager/child.h"
#include "store/base/clock.h"
#include "store/base/log.h"

#define SEND_MS 5000		/* a worker that takes nothing for so long is stuck */
#define PAUSE_MAX_SERVED_MS 16	/* for one that had served: it may have done some good */

/* ---- the spare ---- */

/* In the child.  Ends when the worker has ended, or becomes the keeper. */
static int wait_for_call(struct keeper *k)
{
	struct keep_msg msg;

	free(k->told.v);
	free(k->bags.v);	/* the descriptors are not this process's */
	for (;;) {
		if (keep_recv(CHILD_FD, &msg) <= 0)
			return EXIT_SUCCESS;
		if (msg.word == KEEP_HEIR && msg.n == 2 && msg.role[0] == KEEP_LINK &&
		    msg.role[1] == KEEP_PIDFD)
			break;
		keep_msg_close(&msg);
	}
	close(CHILD_FD);
	return keeper_inherit(k, msg.fd[0], msg.fd[1]);
}

static int fork_spare(struct keeper *k, int *ret)
{
	int pair[2], rc = keep_pair(pair);

	if (rc < 0)
		return rc;
	k->spare = child_fork("pager-spare", pair[1]);
	if (k->spare == 0)
		_exit(wait_for_call(k));
	close(pair[1]);
	if (k->spare < 0) {
		rc = (int)k->spare;
		k->spare = 0;
		close(pair[0]);
		return rc;
	}
	*ret = pair[0];
	return 0;
}

void keeper_start_spare(struct keeper *k)
{
	struct keep_msg msg = {.word = KEEP_SPARE, .n = 1, .role = {KEEP_LINK}};
	int rc = fork_spare(k, &msg.fd[0]);

	if (rc == 0) {
		rc = keep_send(k->link, &msg);
		keep_msg_close(&msg);
	}
	if (rc < 0 && rc != -EPIPE)
		log_warn("cannot make a spare keeper: %s", strerror(-rc));
}

/* ---- the worker ---- */

static int be_worker(const struct keeper *k)
{
	struct worker_args args = {
		.link = CHILD_FD,
		.runtime_dir = k->config->runtime_dir,
		.threads = k->config->threads,
	};
	struct err err = {""};

	/* Guests wait: less of a sandbox is better than none of a worker. */
	if (k->config->sandbox && sandbox_enter(k->config->sandbox, &err) < 0)
		log_warn("the worker is not in its sandbox: %s", err.text);
	return k->config->worker(&args);
}

static int fork_worker(struct keeper *k)
{
	int pair[2], rc = keep_pair(pair);

	if (rc < 0)
		return rc;
	k->pid = child_fork("pager-worker", pair[1]);
	if (k->pid == 0)
		_exit(be_worker(k));
	close(pair[1]);
	if (k->pid < 0) {
		close(pair[0]);
		return (int)k->pid;
	}
	k->reaped = false;
	k->link = pair[0];
	k->pidfd = (int)syscall(SYS_pidfd_open, k->pid, 0);
	return k->pidfd < 0 ? -errno : 0;
}

/* Growing pauses for a worker that keeps dying. */
static void pause_before_next(struct keeper *k)
{
	bool served = k->phase == KEEPER_SERVING;
	unsigned max = served ? PAUSE_MAX_SERVED_MS : KEEPER_PAUSE_MAX_MS;
	uint64_t now = clock_ms();

	if (served && now - k->started_ms >= KEEPER_PAUSE_MAX_MS)
		k->pause_ms = 0;
	else
		k->pause_ms = k->pause_ms ? k->pause_ms * 2 : 1;
	if (k->pause_ms > max)
		k->pause_ms = max;
	k->wake_ms = now + k->pause_ms;
	k->phase = KEEPER_PAUSED;
}

void keeper_start_worker(struct keeper *k)
{
	int rc = fork_worker(k);

	k->started_ms = clock_ms();
	k->wake_ms = UINT64_MAX;
	k->phase = KEEPER_STARTING;
	if (rc < 0) {
		log_error("cannot start a worker: %s", strerror(-rc));
		if (k->link >= 0)
			(void)kill(k->pid, SIGKILL);
		keeper_bury_worker(k);
		return;
	}
	(void)keep_timeout(k->link, SEND_MS);
	keeper_start_spare(k);
	rc = keep_table_send(&k->bags, k->link);
	if (rc < 0 && rc != -EPIPE) {
		log_error("cannot hand over to the worker: %s", strerror(-rc));
		keeper_kill_worker(k);
	}
}

void keeper_quit_worker(struct keeper *k)
{
	if (k->link < 0 || keep_say(k->link, KEEP_QUIT, 0) < 0)
		keeper_kill_worker(k);
	k->phase = KEEPER_QUITTING;
	k->wake_ms = clock_ms() + KEEP_QUIT_MS;
}

/* By the pidfd: what it means is dead or the worker, never somebody with its number. */
void keeper_kill_worker(struct keeper *k)
{
	if (k->pidfd >= 0)
		(void)syscall(SYS_pidfd_send_signal, k->pidfd, SIGKILL, NULL, 0);
}

/* What it said before it died counts, although nobody hears the answer. */
static void hear_the_rest(struct keeper *k)
{
	struct pollfd p = {.fd = k->link, .events = POLLIN};
	struct keep_msg msg;

	while (k->link >= 0 && poll(&p, 1, 0) == 1 && keep_recv(k->link, &msg) > 0)
		keeper_hear(k, &msg);
}

static void tell_how_it_ended(const struct keeper *k)
{
	const char *when = k->phase == KEEPER_STARTING ? " before it served" : "";

	if (!k->reaped)
		log_warn("the worker ended%s; its sessions are kept", when);
	else if (WIFSIGNALED(k->status))
		log_warn("the worker was ended by signal %d%s; its sessions are kept",
			 WTERMSIG(k->status), when);
	else
		log_warn("the worker ended with status %d%s; its sessions are kept",
			 WEXITSTATUS(k->status), when);
}

void keeper_bury_worker(struct keeper *k)
{
	hear_the_rest(k);
	if (k->pid > 0 && !k->reaped)
		k->reaped = waitpid(k->pid, &k->status, 0) == k->pid;
	if (k->phase != KEEPER_QUITTING)
		tell_how_it_ended(k);
	if (k->link >= 0)
		close(k->link);
	if (k->pidfd >= 0)
		close(k->pidfd);
	k->link = k->pidfd = -1;
	k->pid = -1;
	k->spare = 0;	/* it ends by itself */
	if (k->phase != KEEPER_QUITTING)
		pause_before_next(k);
}
