/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kills whoever has a live image open before each call that changes the disk, and in the middle
 * of it: what had returned is there, and one can go on.
 */
#include <signal.h>
#include <sys/wait.h>

#include "tests/fault.h"
#include "tests/story.h"

#define CALLS_MAX 5000

static struct story st;

static void child(unsigned long n, int action)
{
	struct err err;
	int rc;

	fault_arm(FAULT_CHANGE, n, action);
	rc = story_tell(&st, &err);
	fault_disarm();
	if (rc < 0)
		fprintf(stderr, "step %u: %s\n", st.far->begun, err.text);
	_exit(rc < 0);
}

/* Whether it was killed. */
static bool run(unsigned long n, int action)
{
	pid_t pid;
	int status;

	story_fresh(&st);
	pid = fork();
	if (pid == 0)
		child(n, action);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		bail("fork");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		bail("it ended with status %x", status);
	return false;
}

static void at_every(int action, size_t unit, const char *how)
{
	/* Each second one is torn: a store is copied for each. */
	unsigned long n, step = ops_step() * (action == FAULT_TORN ? 2 : 1), tried = 0;
	const char *wrong = NULL;
	bool killed = true;

	for (n = 1; n < CALLS_MAX && killed && !wrong; n += step) {
		killed = run(n, action);
		wrong = story_check(&st, unit);
		tried += killed;
	}
	ok(!wrong && tried > 10, "killed %s each of %lu calls that change the disk", how, tried);
	if (wrong)
		tap_diag("at call %lu, step %u: %s", n - step, st.far->begun, wrong);
}

int main(void)
{
	story_init(&st, tap_seed(0x6c697665));
	at_every(FAULT_KILL, PAGE_SIZE, "before");
	/* Half of what was to be written: of a page that is written again, half of each. */
	at_every(FAULT_TORN, 1, "in the middle of");
	return tap_done();
}
