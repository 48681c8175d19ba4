/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/base/clock.h"

#define ASK_MS 200
#define REAP_MS 5		/* it has closed what we hear it by, and is about to end */
#define DRAIN 8			/* reads of what it has written before it ended: a full pipe */

struct run {
	pid_t pid;
	int fd[2];		/* its stdout and stderr; -1: at its end */
	FILE *out;
	struct capture *to;
	const struct capture_stop *stop;
	bool told;		/* it was sent SIGTERM */
	uint64_t kill_at;	/* clock_ms() for SIGKILL */
};

/* ---- the child ---- */

static void become(char *const argv[], int out, int err, pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);

	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	(void)signal(SIGHUP, SIG_DFL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 ||
	    dup2(err, 2) < 0)
		_exit(126);
	execvp(argv[0], argv);
	dprintf(2, "cannot run '%s': %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int start(struct run *r, char *const argv[])
{
	pid_t parent = getpid();
	int out[2], err[2], rc;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(err, O_CLOEXEC) < 0) {
		rc = -errno;
		(void)close(out[0]);
		(void)close(out[1]);
		return rc;
	}
	r->pid = fork();
	if (r->pid == 0)
		become(argv, out[1], err[1], parent);
	rc = r->pid < 0 ? -errno : 0;
	(void)close(out[1]);
	(void)close(err[1]);
	r->fd[0] = out[0];
	r->fd[1] = err[0];
	return rc;
}

/* ---- what it says ---- */

static void end_of(struct run *r, int i)
{
	(void)close(r->fd[i]);
	r->fd[i] = -1;
}

static void keep_why(struct capture *to, const char *text, size_t len)
{
	size_t have = strlen(to->why), room = sizeof(to->why) - 1 - have;

	if (memchr(to->why, '\n', have))
		return;
	memcpy(to->why + have, text, len < room ? len : room);
	to->why[have + (len < room ? len : room)] = '\0';
}

static void hear(struct run *r, int i)
{
	char text[16384];
	ssize_t n = read(r->fd[i], text, sizeof(text));

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0) {
		end_of(r, i);
		return;
	}
	if (i == 1)
		keep_why(r->to, text, (size_t)n);
	else if (ftell(r->out) < (long)CAPTURE_MAX)
		(void)fwrite(text, 1, (size_t)n, r->out);
}

static bool has_ended(const struct run *r)
{
	siginfo_t info = {.si_pid = 0};

	return waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid;
}

static bool is_asked(const struct capture_stop *stop)
{
	return stop->asked && stop->asked();
}

static void stop_if_asked(struct run *r)
{
	if (!r->told && is_asked(r->stop)) {
		(void)kill(r->pid, SIGTERM);
		r->told = true;
		r->kill_at = clock_ms() + r->stop->kill_ms;
	}
	if (r->told && r->stop->kill_ms && clock_ms() >= r->kill_at)
		(void)kill(r->pid, SIGKILL);
}

/* What it has left running may keep its stdout open, and write: that is not waited for. */
static void listen_to(struct run *r)
{
	unsigned left = DRAIN;

	while (left) {
		struct pollfd fds[2] = {{r->fd[0], POLLIN, 0}, {r->fd[1], POLLIN, 0}};
		bool open = r->fd[0] >= 0 || r->fd[1] >= 0;
		int got;

		stop_if_asked(r);
		got = poll(fds, 2, left < DRAIN ? 0 : open ? ASK_MS : REAP_MS);
		for (int i = 0; got > 0 && i < 2; i++)
			if (fds[i].revents)
				hear(r, i);
		if (has_ended(r))
			left = got == 0 ? 0 : left - 1;
	}
	for (int i = 0; i < 2; i++)
		if (r->fd[i] >= 0)
			end_of(r, i);
}

static int status_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int capture_run(char *const argv[], const struct capture_stop *stop, struct capture *ret,
		struct err *err)
{
	struct run r = {.to = ret, .stop = stop};
	int rc;

	*ret = (struct capture){.out = NULL};
	r.out = open_memstream(&ret->out, &ret->len);
	if (!r.out)
		return err_set(err, -ENOMEM, "out of memory");
	rc = start(&r, argv);
	if (rc == 0) {
		listen_to(&r);
		ret->status = status_of(r.pid);
		ret->why[strcspn(ret->why, "\n")] = '\0';
	}
	if (fclose(r.out) != 0 && rc == 0)
		rc = -ENOMEM;
	if (rc == 0 && (r.told || is_asked(stop)))
		rc = -ECANCELED;
	if (rc < 0) {
		capture_fini(ret);
		return err_sys(err, rc, "cannot run '%s'", argv[0]);
	}
	return 0;
}

void capture_fini(struct capture *capture)
{
	free(capture->out);
	capture->out = NULL;
}
