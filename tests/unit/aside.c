/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/base/aside.h"
#include "store/base/clock.h"
#include "tests/tap.h"

#define LONG_MS 60000

static uint64_t soon(uint64_t ms)
{
	return clock_ms() + ms;
}

static int closed(pid_t pid)
{
	return kill(pid, 0) < 0 || waitpid(pid, NULL, 0) == pid;
}

static void say(int fd, void *arg)
{
	(void)send(fd, arg, strlen(arg), MSG_NOSIGNAL);
}

static void hang(int fd, void *arg)
{
	(void)fd;
	(void)arg;
	for (;;)
		pause();
}

static void test_answers(void)
{
	char four[] = "four", no[] = "no";
	struct aside_work work = {.fn = say, .arg = four};
	struct aside a = {0};
	char got[4] = "";

	aside_end(&a);
	is_int(aside_begin(&work, &a), 0, "a child is made; to end none was fine");
	is_int(aside_await(&a, got, 4, soon(LONG_MS), NULL), 0, "it answers");
	ok(memcmp(got, "four", 4) == 0, "what it has to say");
	is_int(aside_await(&a, got, 4, soon(LONG_MS), NULL), -EPIPE, "and has ended");
	aside_end(&a);
	is_int(a.pid, 0, "there is none any more");

	work.arg = no;
	is_int(aside_begin(&work, &a), 0, "another one");
	is_int(aside_await(&a, got, 4, UINT64_MAX, NULL), -EPIPE, "says less than it should");
	aside_end(&a);
}

static void fall(int fd, void *arg)
{
	(void)fd;
	if (*(int *)arg)
		(void)raise(*(int *)arg);
	_exit(3);
}

static void is_fate(int signal, const char *want)
{
	struct aside_work work = {.fn = fall, .arg = &signal};
	char fate[ASIDE_FATE_LEN], got;
	struct aside a;

	is_int(aside_begin(&work, &a), 0, "one that ends");
	is_int(aside_await(&a, &got, 1, soon(LONG_MS), NULL), -EPIPE, "without a word");
	is_str(aside_fate(&a, fate), want, "%s", want);
	is_str(aside_fate(&a, fate), want, "as often as one asks");
	aside_end(&a);
}

static void test_fates(void)
{
	is_fate(SIGKILL, "was killed by signal 9 (Killed)");
	is_fate(SIGTERM, "was killed by signal 15 (Terminated)");
	is_fate(0, "ended with status 3");
}

static bool always(void)
{
	return true;
}

static int asked;

static bool at_third(void)
{
	return ++asked == 3;
}

static void test_hangs(void)
{
	struct aside_work work = {.fn = hang};
	struct aside a;
	pid_t pid;
	char got;

	is_int(aside_begin(&work, &a), 0, "one that hangs");
	is_int(aside_await(&a, &got, 1, clock_ms(), NULL), -ETIMEDOUT, "is not waited for");
	is_int(aside_await(&a, &got, 1, UINT64_MAX, always), -ECANCELED, "where one may not");
	is_int(aside_await(&a, &got, 1, UINT64_MAX, at_third), -ECANCELED, "it is asked again");
	is_int(asked, 3, "until it says so");
	pid = a.pid;
	aside_end(&a);
	ok(closed(pid), "it is killed");
}

struct fds {
	int given, other;
};

static void look(int fd, void *arg)
{
	const struct fds *fds = arg;
	char answer[2] = {fcntl(fds->given, F_GETFD) >= 0, fcntl(fds->other, F_GETFD) >= 0};

	(void)send(fd, answer, sizeof(answer), MSG_NOSIGNAL);
}

static void test_descriptors(void)
{
	struct fds fds[2] = {{open("/dev/null", O_RDONLY), open("/dev/null", O_RDONLY)}};
	struct aside a;
	char got[2];

	fds[1] = (struct fds){fds[0].other, fds[0].given};
	for (int i = 0; i < 2; i++) {
		int keep[2] = {-1, fds[i].given};
		struct aside_work work = {look, &fds[i], keep, 2};

		is_int(aside_begin(&work, &a), 0, "a child");
		is_int(aside_await(&a, got, 2, soon(LONG_MS), NULL), 0, "answers");
		ok(got[0], "it has what it is given");
		ok(!got[1], "and nothing else");
		aside_end(&a);
	}
	close(fds[0].given);
	close(fds[0].other);
}

int main(void)
{
	test_answers();
	test_fates();
	test_hangs();
	test_descriptors();
	return tap_done();
}
