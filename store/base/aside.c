/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/aside.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store/base/clock.h"

#define ASK_STOPPED_MS 200	/* how often */
#define FATE_TURN_MS 10
#define FATE_TURNS 50		/* of these */

/* The lowest descriptor from `fd` on that is kept, or UINT_MAX. */
static unsigned next_kept(const struct aside_work *work, unsigned own, unsigned fd)
{
	unsigned next = own >= fd ? own : UINT_MAX;

	for (size_t i = 0; i < work->nkeep; i++)
		if (work->keep[i] >= 0 && (unsigned)work->keep[i] >= fd &&
		    (unsigned)work->keep[i] < next)
			next = (unsigned)work->keep[i];
	return next;
}

static void close_others(const struct aside_work *work, unsigned own)
{
	unsigned from = 0, kept;

	for (;;) {
		kept = next_kept(work, own, from);
		if (kept > from)
			(void)close_range(from, kept == UINT_MAX ? UINT_MAX : kept - 1, 0);
		if (kept == UINT_MAX)
			return;
		from = kept + 1;
	}
}

static void become_child(const struct aside_work *work, int fd, pid_t parent)
{
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	(void)signal(SIGHUP, SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	close_others(work, (unsigned)fd);
}

int aside_begin(const struct aside_work *work, struct aside *ret)
{
	pid_t parent = getpid(), pid;
	int fd[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		become_child(work, fd[1], parent);
		work->fn(fd[1], work->arg);
		_exit(0);
	}
	rc = pid < 0 ? -errno : 0;
	(void)close(fd[1]);
	if (rc < 0)
		(void)close(fd[0]);
	else
		*ret = (struct aside){pid, fd[0]};
	return rc;
}

int aside_poll(struct pollfd *fds, size_t n, uint64_t end_ms, bool (*stopped)(void))
{
	for (;;) {
		uint64_t now = clock_ms(), left = end_ms > now ? end_ms - now : 0;
		int got;

		if (stopped && stopped())
			return -ECANCELED;
		/* In turns: a signal may come just before. */
		got = poll(fds, n, left > ASK_STOPPED_MS ? ASK_STOPPED_MS : (int)left);
		if (got > 0)
			return 1;
		if (got < 0 && errno != EINTR)
			return -errno;
		if (left == 0)
			return 0;
	}
}

int aside_await(const struct aside *aside, void *message, size_t len, uint64_t end_ms,
		bool (*stopped)(void))
{
	struct pollfd fd = {.fd = aside->fd, .events = POLLIN};
	int rc = aside_poll(&fd, 1, end_ms, stopped);

	if (rc <= 0)
		return rc ? rc : -ETIMEDOUT;
	return recv(aside->fd, message, len, MSG_DONTWAIT) == (ssize_t)len ? 0 : -EPIPE;
}

/* It is left to be reaped by aside_end(), which kills it by its pid. */
static bool has_ended(const struct aside *aside, siginfo_t *info)
{
	info->si_pid = 0;
	return waitid(P_PID, (id_t)aside->pid, info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info->si_pid != 0;
}

const char *aside_fate(const struct aside *aside, char out[ASIDE_FATE_LEN])
{
	static const struct timespec turn = {.tv_nsec = FATE_TURN_MS * 1000000L};
	siginfo_t info;
	bool ended = has_ended(aside, &info);

	for (int i = 0; !ended && i < FATE_TURNS; i++) {
		(void)nanosleep(&turn, NULL);
		ended = has_ended(aside, &info);
	}
	if (!ended)
		(void)snprintf(out, ASIDE_FATE_LEN, "said what nobody asked for");
	else if (info.si_code == CLD_EXITED)
		(void)snprintf(out, ASIDE_FATE_LEN, "ended with status %d", info.si_status);
	else
		(void)snprintf(out, ASIDE_FATE_LEN, "was killed by signal %d (%s)", info.si_status,
			       sigdescr_np(info.si_status) ? sigdescr_np(info.si_status) : "?");
	return out;
}

void aside_end(struct aside *aside)
{
	if (!aside->pid)
		return;
	(void)close(aside->fd);
	(void)kill(aside->pid, SIGKILL);
	/* Not waited for: it may hang. */
	(void)waitpid(aside->pid, NULL, WNOHANG);
	aside->pid = 0;
}
