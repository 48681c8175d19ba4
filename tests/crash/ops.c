/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kills commit, gc, gc --repack, recover and rm before and after every call that
 * changes the disk, and in the middle of every write.  Afterwards every layer
 * that was there is whole, nothing else is visible, and gc reclaims the rest.
 */
#include <signal.h>
#include <sys/wait.h>

#include "tests/fault.h"
#include "tests/ops.h"

#define CALLS_MAX 5000

static struct ops o;

static void child(const struct op *op, unsigned long n, int action)
{
	struct err err;
	int rc;

	fault_arm(FAULT_CHANGE, n, action);
	rc = op->run(&o, &err);
	fault_disarm();
	if (rc < 0)
		fprintf(stderr, "%s: %s\n", op->name, err.text);
	_exit(rc < 0 ? 2 : fault_struck() ? 1 : 0);
}

/* 1: killed, 0: it came to its end. */
static int run_killed(const struct op *op, unsigned long n, int action)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		child(op, n, action);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		bail("fork");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return 1;
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 2)
		bail("%s ended with status %x", op->name, status);
	return 0;
}

/*
 * A recover that is killed between two renames leaves a store without an index,
 * which says so and is recovered again.
 */
static void heal(const struct op *op)
{
	struct err err;
	int rc;

	if (op->run != ops_recover)
		return;
	rc = store_open(o.run.path, NULL, &o.run.store, &err);
	if (rc == 0)
		store_close(o.run.store);
	else if (rc == -ENOENT && strstr(err.text, "'lamina recover' makes it again"))
		series_must(ops_recover(&o, &err), &err, "recover");
	else
		bail("after a killed recover: %s", err.text);
}

static void kill_everywhere(const struct op *op, int action, const char *how)
{
	unsigned long n;
	const char *wrong = NULL;

	for (n = 1; n < CALLS_MAX && !wrong; n++) {
		ops_fresh(&o);
		if (!run_killed(op, n, action))
			break;
		heal(op);
		wrong = ops_check(&o, op);
	}
	ok(!wrong && n > 4, "%s killed %s each of %lu calls that change the disk", op->name, how,
	   n - 1);
	if (wrong)
		tap_diag("at call %lu: %s", n - 1, wrong);
}

int main(void)
{
	ops_init(&o, tap_seed(0x6b696c6c));
	for (size_t i = 0; i < OPS_N; i++) {
		kill_everywhere(&ops_list[i], FAULT_KILL, "before");
		kill_everywhere(&ops_list[i], FAULT_KILL_AFTER, "after");
		kill_everywhere(&ops_list[i], FAULT_TORN, "in the middle of");
	}
	return tap_done();
}
