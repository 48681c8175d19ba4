/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>


static void reset_signals(void)
{
	struct sigaction act = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &act, NULL);
	act.sa_handler = SIG_IGN;
	(void)sigaction(SIGPIPE, &act, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_from(unsigned first)
{
	long max;

	if (syscall(SYS_close_range, first, ~0U, 0) == 0)
		return;
	max = sysconf(_SC_OPEN_MAX);
	for (long fd = first; fd < max; fd++)
		close((int)fd);
}

static void keep_one(int fd)
{
	if (fd >= 0 && fd != CHILD_FD)
		(void)dup3(fd, CHILD_FD, O_CLOEXEC);
	close_from(CHILD_FD + (fd >= 0));
}

pid_t child_fork(const char *name, int fd)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid > 0)
		return pid;
	closelog();	/* or it would write to whatever gets its number */
	(void)setsid();
	reset_signals();
	keep_one(fd);
	(void)prctl(PR_SET_NAME, name);
	return 0;
}
