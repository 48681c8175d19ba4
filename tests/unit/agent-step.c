/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Children that do, fail, block and outlive their kill. */
#include "src/agent/step.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "store/base/clock.h"
#include "tests/tap.h"

#define LONG_MS 60000

/* Shared with the children: how often a good step was begun, and one that hangs. */
static unsigned *runs, *hangs;

static int good(const struct step *step, struct err *err)
{
	(void)step;
	(void)err;
	__atomic_add_fetch(runs, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static int bad(const struct step *step, struct err *err)
{
	return err_set(err, -EROFS, "cannot do '%s'", step->path);
}

static int hang(const struct step *step, struct err *err)
{
	(void)step;
	(void)err;
	__atomic_add_fetch(hangs, 1, __ATOMIC_SEQ_CST);
	while (true)
		pause();
	return 0;
}

static int die(const struct step *step, struct err *err)
{
	(void)step;
	(void)err;
	raise(SIGKILL);
	return 0;
}

static int count_open(const struct step *step, struct err *err)
{
	int n = 0;

	(void)step;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n == 1 ? 0 : err_set(err, -EMFILE, "%d are open", n);
}

static void test_ends(void)
{
	struct step step = {"one", good, NULL, NULL};
	struct step_outcome o;

	is_int(step_run(&step, LONG_MS, NULL, &o), 0, "a step");
	is_int(o.result, STEP_DONE, "is done");
	is_int(*runs, 1, "once");
	ok(o.elapsed_us > 0 && o.elapsed_us < LONG_MS * 1000ull, "its time is told");
	step = (struct step){"two", bad, "it", NULL};
	is_int(step_run(&step, LONG_MS, NULL, &o), 0, "another");
	is_int(o.result, STEP_FAILED, "fails");
	is_str(o.err.text, "cannot do 'it': Read-only file system", "and says why");
	step = (struct step){"three", die, NULL, NULL};
	is_int(step_run(&step, LONG_MS, NULL, &o), 0, "one whose process is killed by others");
	is_int(o.result, STEP_FAILED, "fails");
	is_str(o.err.text, "the step's process was killed", "and it is said");
	step = (struct step){"four", count_open, NULL, NULL};
	is_int(step_run(&step, LONG_MS, NULL, &o), 0, "one that looks around");
	is_int(o.result, STEP_DONE, "has nothing of ours open: %s", o.err.text);
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left behind");
}

static void nap(void)
{
	nanosleep(&(struct timespec){0, 10000000}, NULL);
}

/* Until the step of that name is free again. */
static bool comes_free(const struct step *step)
{
	struct step_outcome o;

	for (uint64_t end = clock_ms() + LONG_MS; clock_ms() < end; nap())
		if (step_run(step, LONG_MS, NULL, &o) == 0 && o.result != STEP_BUSY)
			return o.result == STEP_DONE;
	return false;
}

static void test_killed(void)
{
	struct step step = {"hang", hang, NULL, NULL}, after = {"hang", good, NULL, NULL};
	struct step_outcome o;

	is_int(step_run(&step, 1, NULL, &o), 0, "a step that hangs, at most 1 ms");
	is_int(o.result, STEP_KILLED, "is killed");
	is_str(o.err.text, "", "that is no failure");
	ok(comes_free(&after), "and may be done again when the child has ended");
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no child is left behind");
}

/*
 * A killed sync stays in the kernel for seconds.  Here a killed child is not shown to who waits
 * for it as long as `kept` is true.
 */
static atomic_bool kept;
static atomic_uint asked;

pid_t __real_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);

pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
	if (!atomic_load(&kept) || !(options & WNOHANG))
		return __real_waitpid(pid, status, options);
	atomic_fetch_add(&asked, 1);
	return 0;
}

static void test_busy(void)
{
	struct step step = {"stuck", hang, NULL, NULL}, again = {"stuck", good, NULL, NULL};
	struct step other = {"other", good, NULL, NULL};
	struct step_outcome o;
	unsigned before;

	atomic_store(&kept, true);
	is_int(step_run(&step, 20, NULL, &o), 0, "a step whose process does not end when killed");
	is_int(o.result, STEP_KILLED, "is said to be killed, all the same");
	before = *runs;
	for (int i = 0; i < 3; i++) {
		is_int(step_run(&again, LONG_MS, NULL, &o), 0, "the same step");
		is_int(o.result, STEP_BUSY, "is busy");
	}
	is_int(*runs, before, "and was not begun");
	is_int(step_run(&other, LONG_MS, NULL, &o), 0, "others");
	is_int(o.result, STEP_DONE, "go on");
	before = atomic_load(&asked);
	step_reap();
	ok(atomic_load(&asked) > before, "it is looked at whether it has ended");
	atomic_store(&kept, false);
	ok(comes_free(&again), "when it has, the step is done again");
	is_int(waitpid(-1, NULL, 0), -1, "and its process was buried");
}

static atomic_bool cancelled;
static unsigned begun;

static void *cancel(void *arg)
{
	(void)arg;
	while (__atomic_load_n(hangs, __ATOMIC_SEQ_CST) == begun)
		nap();
	atomic_store(&cancelled, true);
	return NULL;
}

static void test_cancelled(void)
{
	struct step step = {"long", hang, NULL, NULL}, again = {"long", good, NULL, NULL};
	struct step_outcome o;
	pthread_t thread;

	begun = *hangs;
	pthread_create(&thread, NULL, cancel, NULL);
	is_int(step_run(&step, LONG_MS, &cancelled, &o), -ECANCELED,
	       "a step that nobody waits for");
	ok(o.elapsed_us < LONG_MS * 1000ull, "ends before its time");
	pthread_join(thread, NULL);
	ok(comes_free(&again), "and may be done again");
}

static void *run_hang(void *arg)
{
	struct step step = {"shared", hang, NULL, NULL};

	(void)step_run(&step, LONG_MS, &cancelled, arg);
	return NULL;
}

/* Two callers at once. */
static void test_two(void)
{
	struct step step = {"shared", good, NULL, NULL};
	struct step_outcome first, second;
	pthread_t thread;

	atomic_store(&cancelled, false);
	begun = *hangs;
	pthread_create(&thread, NULL, run_hang, &first);
	while (__atomic_load_n(hangs, __ATOMIC_SEQ_CST) == begun)
		nap();
	is_int(step_run(&step, LONG_MS, NULL, &second), 0, "what another thread has begun");
	is_int(second.result, STEP_BUSY, "is busy");
	atomic_store(&cancelled, true);
	pthread_join(thread, NULL);
	ok(comes_free(&step), "until that one has ended");
}

static void test_write(void)
{
	struct step step = {"write", step_write, tap_path("knob"), "3"};
	char want[PATH_MAX + 64], got[16] = "";
	struct step_outcome o;
	int fd;

	is_int(step_run(&step, LONG_MS, NULL, &o), 0, "a knob that is not there");
	is_int(o.result, STEP_FAILED, "cannot be turned");
	snprintf(want, sizeof(want), "cannot open '%s': No such file or directory", step.path);
	is_str(o.err.text, want, "that is said");
	is_int(access(step.path, F_OK), -1, "nor is it made");
	fd = open(step.path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	is_int(step_run(&step, LONG_MS, NULL, &o), 0, "one that is there");
	is_int(o.result, STEP_DONE, "is turned");
	ok(read(fd, got, sizeof(got)) == 1 && got[0] == '3', "to what was said");
	close(fd);
	step.path = "/dev/full";
	is_int(step_run(&step, LONG_MS, NULL, &o), 0, "one that refuses");
	is_str(o.err.text, "cannot write '/dev/full': No space left on device", "says why");
}

/* sync(2) itself is not for a test. */
static void test_names(void)
{
	is_str(step_name(STEP_DONE), "done", "names");
	is_str(step_name(STEP_FAILED), "failed", "of what");
	is_str(step_name(STEP_KILLED), "killed", "can");
	is_str(step_name(STEP_BUSY), "busy", "happen");
}

int main(void)
{
	runs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	hangs = runs + 1;
	test_ends();
	test_killed();
	test_busy();
	test_cancelled();
	test_two();
	test_write();
	test_names();
	return tap_done();
}
