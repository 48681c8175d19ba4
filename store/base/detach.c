/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/detach.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/base/log.h"

/* The child's word, or its end. */
static void wait_for_child(const char *program, int fd, pid_t child) __attribute__((noreturn));
static void wait_for_child(const char *program, int fd, pid_t child)
{
	int status = 0;
	char ready;
	ssize_t n;

	do
		n = read(fd, &ready, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(EXIT_SUCCESS);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			_exit(EXIT_FAILURE);
	if (WIFSIGNALED(status))
		fprintf(stderr, "%s: ended by signal %d\n", program, WTERMSIG(status));
	_exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

int detach_begin(const char *program, struct err *err)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, -errno, "cannot make a pipe");
	pid = fork();
	if (pid < 0)
		return err_sys(err, -errno, "cannot fork");
	if (pid > 0) {
		close(fds[1]);
		wait_for_child(program, fds[0], pid);
	}
	close(fds[0]);
	(void)setsid();
	return fds[1];
}

int detach_from_terminal(struct err *err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return err_sys(err, -errno, "cannot open '/dev/null'");
	if (chdir("/") < 0)
		return err_sys(err, -errno, "cannot change to '/'");
	log_to_syslog();
	for (int fd = 0; fd <= 2; fd++)
		(void)dup2(null, fd);
	if (null > 2)
		close(null);
	return 0;
}
