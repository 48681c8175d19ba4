/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/detach.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "store/base/io.h"
#include "tests/tap.h"

/* What the daemon finds out, for who watches. */
static int report;

static void capture(void)
{
	int fd = open(tap_path("stderr"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(99);
}

/* A process that goes into the background as `daemon`; its exit status. */
static int run(void (*daemon)(int fd))
{
	struct err err;
	pid_t pid = fork();
	int status = 0, fd;

	if (pid < 0)
		bail("cannot fork");
	if (pid == 0) {
		capture();
		fd = detach_begin("prog", &err);
		if (fd < 0)
			_exit(98);
		daemon(fd);
		_exit(0);
	}
	(void)waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void is_said(const char *want)
{
	char *text = NULL;

	if (io_read_file(AT_FDCWD, tap_path("stderr"), 4096, &text, NULL) < 0)
		bail("cannot read what was said");
	is_str(text, want, "what is said of it");
	free(text);
}

static void serve(int fd)
{
	(void)!write(report, getsid(0) == getpid() ? "s" : "-", 1);
	(void)!write(fd, "", 1);
	close(fd);
	_exit(7);		/* nobody cares any more */
}

static void fail_with_4(int fd)
{
	(void)fd;
	_exit(4);
}

static void give_up(int fd)
{
	close(fd);
	_exit(0);
}

static void die(int fd)
{
	(void)fd;
	(void)raise(SIGKILL);
}

static bool is_null(int fd)
{
	char path[32], name[32];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, name, sizeof(name) - 1);
	name[n < 0 ? 0 : n] = '\0';
	return !strcmp(name, "/dev/null");
}

static void leave(int fd)
{
	char cwd[PATH_MAX] = "";
	struct err err;
	bool good = detach_from_terminal(&err) == 0 && getcwd(cwd, sizeof(cwd)) &&
		    !strcmp(cwd, "/") && is_null(0) && is_null(1) && is_null(2);

	(void)!write(report, good ? "g" : "-", 1);
	(void)!write(fd, "", 1);
}

int main(void)
{
	char said[3] = "";
	int fds[2];

	(void)tap_tmpdir();	/* here, not in a child */
	if (pipe2(fds, O_CLOEXEC) < 0)
		bail("cannot make a pipe");
	report = fds[1];
	is_int(run(serve), 0, "the parent ends well when the daemon serves");
	is_said("");
	is_int(run(fail_with_4), 4, "as the daemon, when that ends before");
	is_said("");
	is_int(run(give_up), 1, "a daemon that ends well, but too early, has failed");
	is_int(run(die), 1, "so has one that is killed");
	is_said("prog: ended by signal 9\n");
	is_int(run(leave), 0, "it leaves its terminal");
	is_int(read(fds[0], said, 2), 2, "two of them had something to report:");
	is_str(said, "sg", "a session of its own; its terminal and directory left");
	return tap_done();
}
