/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/unixsock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/tap.h"

#define STREAM (SOCK_STREAM | SOCK_NONBLOCK)

static struct err err;

static unsigned mode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static bool somebody_waits(int listening)
{
	int fd = accept(listening, NULL, NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		bail("cannot make a file");
	close(fd);
}

static void test_claim(void)
{
	char *path = strdup(tap_path("claimed"));
	int fd = unixsock_claim(path, STREAM, 0640, &err), peer, other;

	ok(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC), "a name that is free");
	is_int(mode_of(path), 0640, "its mode");
	is_err(unixsock_claim(path, STREAM, 0600, &err), &err, -EADDRINUSE,
	       "cannot listen on '%s': %s", path, strerror(EADDRINUSE));
	ok(!somebody_waits(fd), "who listens there has not noticed");
	is_int(mode_of(path), 0640, "and has its mode still");
	peer = unixsock_connect(path, SOCK_STREAM);
	ok(peer >= 0 && somebody_waits(fd), "a client gets in");
	close(fd);
	is_int(unixsock_connect(path, SOCK_STREAM), -ECONNREFUSED, "a socket of the dead");
	other = unixsock_claim(path, STREAM, 0666, &err);
	ok(other >= 0, "is replaced");
	is_int(mode_of(path), 0666, "with another mode");
	close(peer);
	close(other);
	free(path);
}

static void test_claim_refused(void)
{
	char name[200], *path = strdup(tap_path("file"));

	make_file(path);
	is_err(unixsock_claim(path, STREAM, 0600, &err), &err, -EADDRINUSE,
	       "cannot listen on '%s': %s", path, strerror(EADDRINUSE));
	ok(access(path, F_OK) == 0, "a file that is no socket stays");
	is_err(unixsock_claim("/nonexistent/s", STREAM, 0600, &err), &err, -ENOENT,
	       "cannot listen on '/nonexistent/s': No such file or directory");
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	is_err(unixsock_claim(name, STREAM, 0600, &err), &err, -ENAMETOOLONG,
	       "socket '%s': a socket's path has at most 107 bytes", name);
	free(path);
}

static void test_replace(void)
{
	char *path = strdup(tap_path("replaced")), *file = strdup(tap_path("file"));
	int old = unixsock_replace(path, STREAM, 0600, &err);
	int fd = unixsock_replace(path, STREAM, 0660, &err), peer;

	ok(old >= 0 && fd >= 0, "one that is listened on is replaced");
	is_int(mode_of(path), 0660, "with its mode");
	peer = unixsock_connect(path, SOCK_STREAM);
	ok(!somebody_waits(old) && somebody_waits(fd), "clients come to the new one");
	is_err(unixsock_replace(file, STREAM, 0600, &err), &err, -EEXIST,
	       "cannot listen on '%s': it is there and no socket", file);
	close(old);
	close(fd);
	close(peer);
	free(path);
	free(file);
}

/* One that another process might have made, and whose name may be somebody else's by now. */
static void test_is_at(void)
{
	char *path = strdup(tap_path("at")), *link = strdup(tap_path("link"));
	int fd = unixsock_replace(path, STREAM, 0600, &err), peer, status = 0;
	pid_t child;

	ok(unixsock_is_at(fd, path), "a socket is at its name");
	ok(symlink(path, link) == 0 && unixsock_is_at(fd, link), "and at a link to it");
	peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	close(peer);
	close(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
	peer = unixsock_connect(path, STREAM);
	ok(unixsock_is_at(fd, path), "also while somebody waits there");
	is_int(write(peer, "x", 1), 1, "who goes on to wait");
	close(peer);
	for (int i = 0; i < 200; i++)	/* as many as the backlog takes */
		(void)unixsock_connect(path, STREAM | SOCK_NONBLOCK);
	ok(unixsock_is_at(fd, path), "or very many do");
	child = fork();
	if (child == 0)
		_exit(unixsock_replace(path, STREAM, 0600, &err) < 0 || raise(SIGSTOP));
	(void)waitpid(child, &status, WUNTRACED);
	ok(WIFSTOPPED(status) && !unixsock_is_at(fd, path), "not when the name is another's");
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	(void)unlink(path);
	ok(!unixsock_is_at(fd, path), "nor when nobody has it");
	close(fd);
	free(link);
	free(path);
}

int main(void)
{
	test_is_at();
	test_claim();
	test_claim_refused();
	test_replace();
	return tap_done();
}
