/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/sandbox.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "src/pager/unixsock.h"
#include "tests/tap.h"

static struct sandbox sandbox;
static int layers;

/* In a child that is in the sandbox; its status. */
static int inside(int (*what)(void))
{
	struct err err = {""};
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(sandbox_enter(&sandbox, &err) < 0 ? 100 : what());
	if (waitpid(pid, &status, 0) != pid)
		bail("no child");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int failed(long rc)
{
	return rc < 0 ? errno : 0;
}

/* ---- what must not work ---- */

static int run_program(void)
{
	return failed(execl("/bin/true", "true", (char *)NULL));
}

static int fork_child(void)
{
	return failed(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static int trace(void)
{
	return failed(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int kill_parent(void)
{
	return failed(kill(getppid(), 0));
}

static int internet(void)
{
	return failed(socket(AF_INET, SOCK_STREAM, 0));
}

static int make_uffd(void)
{
	return failed(syscall(SYS_userfaultfd, 0));
}

static int tiocsti(void)
{
	return failed(syscall(SYS_ioctl, 0, 0x5412, "x"));
}

static int write_elsewhere(void)
{
	return failed(open(tap_path("elsewhere/file"), O_CREAT | O_WRONLY, 0600));
}

static int write_there(void)
{
	return failed(open(tap_path("elsewhere/there"), O_WRONLY));
}

static int make_directory(void)
{
	return failed(mkdir(tap_path("run/dir"), 0700));
}

/* ---- what must ---- */

static int write_runtime(void)
{
	int fd = open(tap_path("run/file"), O_CREAT | O_RDWR | O_TRUNC, 0600);

	return failed(fd) || failed(ftruncate(fd, 10)) || failed(write(fd, "x", 1)) ||
	       failed(rename(tap_path("run/file"), tap_path("run/file2"))) ||
	       failed(unlink(tap_path("run/file2")));
}

static int write_record(void)
{
	return failed(open(tap_path("record/file"), O_CREAT | O_WRONLY, 0600));
}

static int read_anything(void)
{
	char c;
	int fd = open(tap_path("elsewhere/there"), O_RDONLY);

	return failed(fd) || failed(pread(fd, &c, 1, 0)) ||
	       failed(open("/proc/self/stat", O_RDONLY));
}

static int listen_anywhere(void)
{
	int fd = unixsock_replace(tap_path("elsewhere/sock"), SOCK_STREAM, 0600, NULL);

	return fd < 0 ? -fd : failed(unixsock_connect(tap_path("elsewhere/sock"), SOCK_STREAM)) ||
			      failed(unlink(tap_path("elsewhere/sock")));
}

static void *thread(void *arg)
{
	return arg;
}

static int start_threads(void)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, thread, NULL) != 0)
			return 1;
	for (int i = 0; i < 4; i++)
		(void)pthread_join(t[i], NULL);
	return 0;
}

static int grow_memfd(void)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	return failed(fd) || failed(ftruncate(fd, 1 << 20)) ||
	       mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED;
}

static int abort_itself(void)
{
	abort();
}

static void test_calls(void)
{
	if (!(layers & SANDBOX_CALLS)) {
		tap_skip("no filter of system calls in this build or kernel");
		return;
	}
	if (getenv("LAMINA_VALGRIND")) {
		tap_skip("valgrind stands between a program and its system calls");
		return;
	}
	is_int(inside(run_program), EPERM, "no program is run");
	is_int(inside(fork_child), EPERM, "no process is made");
	is_int(inside(trace), EPERM, "nobody is traced");
	is_int(inside(kill_parent), EPERM, "nor killed");
	is_int(inside(internet), EAFNOSUPPORT, "there is no internet");
	is_int(inside(make_uffd), EPERM, "no userfaultfd is made");
	is_int(inside(tiocsti), EPERM, "a terminal gets no input");
	is_int(inside(abort_itself), 1000 + SIGABRT, "abort() works");
}

static void test_files(void)
{
	if (!(layers & SANDBOX_LANDLOCK)) {
		tap_skip("no Landlock in this kernel");
		return;
	}
	is_int(inside(write_elsewhere), EACCES, "no file is made anywhere");
	is_int(inside(write_there), EACCES, "nor written");
	ok(inside(make_directory) != 0, "nor a directory");
}

int main(void)
{
	static char run[PATH_MAX], record[PATH_MAX];

	(void)mkdir(tap_path("run"), 0700);
	(void)mkdir(tap_path("record"), 0700);
	(void)mkdir(tap_path("elsewhere"), 0700);
	close(open(tap_path("elsewhere/there"), O_CREAT | O_WRONLY, 0600));
	(void)snprintf(run, sizeof(run), "%s", tap_path("run"));
	(void)snprintf(record, sizeof(record), "/does/not/exist:%s", tap_path("record"));
	sandbox = (struct sandbox){run, record};
	{
		pid_t pid = fork();
		int status;

		if (pid == 0)
			_exit(sandbox_enter(&sandbox, NULL));
		(void)waitpid(pid, &status, 0);
		layers = WEXITSTATUS(status);
	}
	tap_diag("layers in force: %d", layers);
	ok(layers & SANDBOX_PRIVS && layers <= 7, "the sandbox is entered");
	test_calls();
	test_files();
	is_int(inside(write_runtime), 0, "files in the runtime directory are made and written");
	is_int(inside(write_record), 0, "and where traces are recorded");
	is_int(inside(read_anything), 0, "everything is read");
	is_int(inside(listen_anywhere), 0, "sockets are made anywhere");
	is_int(inside(start_threads), 0, "threads are started");
	is_int(inside(grow_memfd), 0, "a memfd grows");
	return tap_done();
}
