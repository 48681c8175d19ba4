/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/daemonize.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/base/log.h"

/* The child's word, or its end. */
static void wait_for_child(int fd, pid_t child) __attribute__((noreturn));
static void wait_for_child(int fd, pid_t child)
{
	char ready;
	int status;
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
		fprintf(stderr, "lamina-fuse: ended by signal %d\n", WTERMSIG(status));
	_exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

static int fork_away(struct daemonize *d, struct err *err)
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
		wait_for_child(fds[0], pid);
	}
	close(fds[0]);
	d->parent_fd = fds[1];
	(void)setsid();
	return 0;
}

static int absolute(const char *path, char **ret)
{
	char *cwd;
	int n;

	if (*path == '/') {
		*ret = strdup(path);
		return *ret ? 0 : -ENOMEM;
	}
	cwd = getcwd(NULL, 0);
	n = cwd ? asprintf(ret, "%s/%s", cwd, path) : -1;
	free(cwd);
	return n < 0 ? -ENOMEM : 0;
}

int daemonize_begin(struct daemonize *d, int foreground, const char *pidfile, struct err *err)
{
	*d = (struct daemonize){.parent_fd = -1};
	if (pidfile && absolute(pidfile, &d->pidfile) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return foreground ? 0 : fork_away(d, err);
}

static int write_pidfile(const char *path, struct err *err)
{
	char text[32];
	int rc, n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	rc = io_replace_file(AT_FDCWD, path, text, (size_t)n);
	return rc < 0 ? err_sys(err, rc, "cannot write pid file '%s'", path) : 0;
}

/* systemd's READY=1; a leading @ means an abstract name. */
static void notify_systemd(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	static const char ready[] = "READY=1";
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len < 2 || len >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, len);
	if (*path == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, ready, strlen(ready), MSG_NOSIGNAL, (struct sockaddr *)&to,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

static int leave_terminal(struct err *err)
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

int daemonize_ready(struct daemonize *d, struct err *err)
{
	int rc = 0;

	if (d->pidfile)
		rc = write_pidfile(d->pidfile, err);
	if (rc == 0 && d->parent_fd >= 0)
		rc = leave_terminal(err);
	if (rc < 0)
		return rc;
	if (d->parent_fd >= 0) {
		(void)!write(d->parent_fd, "", 1);
		close(d->parent_fd);
		d->parent_fd = -1;
	}
	notify_systemd();
	return 0;
}

/* A daemon that outlives its mount may have a successor, whose file it is now. */
static bool is_ours(const char *path)
{
	char *text = NULL;
	size_t len;
	bool ours;

	if (io_read_file(AT_FDCWD, path, 64, &text, &len) < 0)
		return false;
	ours = strtol(text, NULL, 10) == (long)getpid();
	free(text);
	return ours;
}

void daemonize_end(struct daemonize *d)
{
	if (d->pidfile && is_ours(d->pidfile))
		(void)unlink(d->pidfile);
	free(d->pidfile);
	d->pidfile = NULL;
}
