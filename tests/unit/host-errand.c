/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/errand.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/base/clock.h"
#include "tests/tap.h"

#define PATIENT_MS 30000

static struct err err;
static atomic_bool stop;

static bool stopped(void)
{
	return stop;
}

/* From the second time on. */
static bool stopped_later(void)
{
	static atomic_int asked;

	return asked++ > 0;
}

static int errand(int (*fn)(struct errand *e, struct err *err), int idle_ms, struct errand *ret)
{
	*ret = (struct errand){.fn = fn, .path = "a-file", .idle_ms = idle_ms, .stopped = stopped};
	err.text[0] = '\0';
	return errand_run(ret, &err);
}

static int count(struct errand *e, struct err *e_err)
{
	(void)e_err;
	e->count[0] = 7;
	e->count[2] = 1ull << 40;
	return 0;
}

static int refuse(struct errand *e, struct err *e_err)
{
	e->count[0] = 1;
	return err_set(e_err, -EROFS, "it is like '%s'", "that");
}

static int die(struct errand *e, struct err *e_err)
{
	(void)e;
	(void)e_err;
	(void)kill(getpid(), SIGKILL);
	return 0;
}

static int hang(struct errand *e, struct err *e_err)
{
	(void)e;
	(void)e_err;
	while (pause() < 0)
		;
	return 0;
}

/* Longer than it may be silent. */
static int plod(struct errand *e, struct err *e_err)
{
	uint64_t end = clock_ms() + 4000;

	(void)e_err;
	while (clock_ms() < end) {
		errand_tell(e);
		(void)usleep(20000);
	}
	e->count[1] = 1;
	return 0;
}

/* A descriptor that is kept, and one that is not. */
static int look(struct errand *e, struct err *e_err)
{
	const int *fd = e->arg;

	(void)e_err;
	e->count[0] = fcntl(fd[0], F_GETFD) >= 0;
	e->count[1] = fcntl(fd[1], F_GETFD) >= 0;
	return 0;
}

static int opens(struct errand *e, struct err *e_err)
{
	int fd = open(e->path, O_WRONLY);

	return fd < 0 ? err_sys(e_err, -errno, "open") : 0;
}

static void test_ends(void)
{
	struct errand e;

	is_int(errand(count, PATIENT_MS, &e), 0, "work that is done");
	is_int(e.count[0], 7, "what it counted is here");
	is_int(e.count[2], 1ll << 40, "all of it");
	is_err(errand(refuse, PATIENT_MS, &e), &err, -EROFS, "it is like 'that'");
	is_int(e.count[0], 0, "nothing is counted of work that failed");
	is_err(errand(die, PATIENT_MS, &e), &err, -EIO,
	       "the process that works on 'a-file' was killed by signal 9 (Killed)");
	is_int(errand(plod, 2000, &e), 0, "who tells that he is alive is not given up");
	is_int(e.count[1], 1, "and comes to the end");
}

static void test_given_up(void)
{
	char fifo[PATH_MAX + 16];
	struct errand e;

	is_err(errand(hang, 200, &e), &err, -ETIMEDOUT,
	       "'a-file' hangs, for 200 ms now: does the daemon of its mount run?");
	stop = true;
	is_err(errand(hang, PATIENT_MS, &e), &err, -ECANCELED,
	       "stopped while 'a-file' was worked on");
	stop = false;
	e = (struct errand){.fn = die, .path = "a-file", .stopped = stopped_later};
	is_err(errand_run(&e, &err), &err, -ECANCELED,
	       "stopped while 'a-file' was worked on");
	(void)snprintf(fifo, sizeof(fifo), "%s/fifo", tap_tmpdir());
	if (mkfifo(fifo, 0600) < 0)
		bail("no fifo");
	e = (struct errand){.fn = opens, .path = fifo, .idle_ms = 200};
	is_int(errand_run(&e, &err), -ETIMEDOUT, "an open that does not return");
}

static void test_descriptors(void)
{
	int fd[2] = {open("/dev/null", O_RDONLY), open("/dev/null", O_RDONLY)};
	struct errand e = {.fn = look, .arg = fd, .path = "x", .keep = fd, .nkeep = 1};

	is_int(errand_run(&e, &err), 0, "work with a descriptor");
	is_int(e.count[0], 1, "it has the one that it was given");
	is_int(e.count[1], 0, "and no other");
	(void)close(fd[0]);
	(void)close(fd[1]);
}

/* Those that were killed die at once here: they do not hang in a kernel. */
static void test_none_left(void)
{
	uint64_t end = clock_ms() + PATIENT_MS;

	while (clock_ms() < end && waitpid(-1, NULL, WNOHANG) >= 0)
		(void)usleep(10000);
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left");
}

int main(void)
{
	test_ends();
	test_given_up();
	test_descriptors();
	test_none_left();
	return tap_done();
}
