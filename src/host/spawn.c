/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the child ---- */

static void reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What goes wrong is written to `tell`, which a success closes. */
static void become(const struct spawn *what, int log, int tell)
{
	int in = open("/dev/null", O_RDONLY), rc;

	reset_signals();
	(void)setsid();
	if (in >= 0 && dup2(in, 0) == 0 && dup2(log, 1) == 1 && dup2(log, 2) == 2 &&
	    dup2(tell, 3) == 3 && fcntl(3, F_SETFD, FD_CLOEXEC) == 0) {
		(void)close_range(4, UINT_MAX, 0);
		tell = 3;
		(void)execvp(what->argv[0], what->argv);
	}
	rc = -errno;
	(void)!write(tell, &rc, sizeof(rc));
	_exit(127);
}

/* ---- we ---- */

static int open_log(const char *path, struct err *err)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "the log '%s' is no regular file", path);
	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	return fd < 0 ? err_sys(err, -errno, "cannot make the log '%s'", path) : fd;
}

static int hear(int fd)
{
	int rc = 0;
	ssize_t got;

	do
		got = read(fd, &rc, sizeof(rc));
	while (got < 0 && errno == EINTR);
	return got == (ssize_t)sizeof(rc) ? rc : 0;
}

static int start(const struct spawn *what, int log, pid_t *ret)
{
	int tell[2], rc;
	pid_t pid;

	if (pipe2(tell, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		become(what, log, tell[1]);
	rc = pid < 0 ? -errno : 0;
	(void)close(tell[1]);
	if (rc == 0)
		rc = hear(tell[0]);
	(void)close(tell[0]);
	if (rc < 0 && pid > 0)
		(void)waitpid(pid, NULL, 0);
	if (rc == 0)
		*ret = pid;
	return rc;
}

int spawn_start(const struct spawn *what, pid_t *ret, struct err *err)
{
	int log = open_log(what->log, err), rc;

	if (log < 0)
		return log;
	rc = start(what, log, ret);
	close(log);
	if (rc == 0)
		return 0;
	(void)unlink(what->log);
	return err_sys(err, rc, "cannot run '%s'", what->argv[0]);
}

int spawn_ended(pid_t pid, char *why, size_t size)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) != pid)
		return 0;
	if (WIFSIGNALED(status))
		(void)snprintf(why, size, "signal %d", WTERMSIG(status));
	else
		(void)snprintf(why, size, "exit status %d", WEXITSTATUS(status));
	return 1;
}

void spawn_kill(pid_t pid)
{
	(void)kill(-pid, SIGKILL);
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
