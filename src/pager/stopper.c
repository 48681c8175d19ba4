/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/stopper.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/pager/child.h"
#include "store/base/log.h"

#define SHELL "/bin/sh"
#define SAFE_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* It becomes part of an environment: nothing that a shell could trip over. */
static bool good_id(const char *id)
{
	if (!*id)
		return false;
	for (; *id; id++)
		if (!isalnum((unsigned char)*id) && !strchr("._-", *id))
			return false;
	return true;
}

static bool is_dead(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void exec_command(const char *command, const struct keep_msg *msg)
	__attribute__((noreturn));
static void exec_command(const char *command, const struct keep_msg *msg)
{
	char session[sizeof("LAMINA_SESSION=") + KEEP_TEXT_MAX], pid[48];
	char path[] = SAFE_PATH;
	char *const env[] = {path, session, pid, NULL};
	int null = open("/dev/null", O_RDONLY);

	(void)snprintf(session, sizeof(session), "LAMINA_SESSION=%s", msg->text);
	(void)snprintf(pid, sizeof(pid), "LAMINA_PID=%lld", (long long)msg->arg);
	(void)signal(SIGPIPE, SIG_DFL);
	if (null >= 0)
		(void)dup2(null, STDIN_FILENO);
	(void)dup2(STDERR_FILENO, STDOUT_FILENO);
	if (chdir("/") == 0)
		execle(SHELL, "sh", "-c", command, (char *)NULL, env);
	_exit(127);
}

static int run_command(struct stopper *s, const struct keep_msg *msg, uint64_t now_ms)
{
	pid_t pid;

	if (s->n == STOPPER_MAX)
		return -EAGAIN;
	pid = child_fork("pager-stop", -1);
	if (pid < 0)
		return (int)pid;
	if (pid == 0)
		exec_command(s->command, msg);
	s->run[s->n++] = (struct stopper_run){pid, now_ms + STOPPER_MS};
	log_info("session '%s': the stop command runs for process %lld", msg->text,
		 (long long)msg->arg);
	return 0;
}

static int send_signal(const struct stopper *s, const struct keep_msg *msg, int pidfd)
{
	if (syscall(SYS_pidfd_send_signal, pidfd, s->signal, NULL, 0) < 0)
		return -errno;
	log_info("session '%s': signal %d was sent to its guest", msg->text, s->signal);
	return 0;
}

int stopper_stop(struct stopper *s, const struct keep_msg *msg, const struct keep_bag *bag,
		 uint64_t now_ms)
{
	int pidfd = keep_bag_fd(bag, KEEP_PIDFD);

	if (!good_id(msg->text) || msg->arg <= 1 || msg->arg > INT_MAX)
		return -EINVAL;
	if (pidfd >= 0 && is_dead(pidfd))
		return -ESRCH;
	if (s->command)
		return run_command(s, msg, now_ms);
	return pidfd < 0 ? -EOPNOTSUPP : send_signal(s, msg, pidfd);
}

bool stopper_reaped(struct stopper *s, pid_t pid, int status)
{
	size_t i = 0;

	while (i < s->n && s->run[i].pid != pid)
		i++;
	if (i == s->n)
		return false;
	if (WIFSIGNALED(status))
		log_warn("the stop command was ended by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		log_warn("the stop command failed with status %d", WEXITSTATUS(status));
	s->run[i] = s->run[--s->n];
	return true;
}

uint64_t stopper_tick(struct stopper *s, uint64_t now_ms)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < s->n; i++) {
		struct stopper_run *run = &s->run[i];

		if (run->end_ms <= now_ms) {
			(void)kill(-run->pid, SIGKILL);	/* it leads a group of its own */
			(void)kill(run->pid, SIGKILL);
			run->end_ms = UINT64_MAX;	/* reaped when it has ended */
		}
		if (run->end_ms < next)
			next = run->end_ms;
	}
	return next;
}
