/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * crash: kills an operation before every call that changes the disk, and in the
 * middle of every such call that writes.  Afterwards every layer that was there
 * is whole, nothing else is visible, and gc reclaims the rest.
 */
#ifndef LAMINA_TESTS_CRASH_CRASH_H
#define LAMINA_TESTS_CRASH_CRASH_H

#include <signal.h>
#include <sys/wait.h>

#include "tests/fault.h"
#include "tests/ops.h"

#define CRASH_CALLS_MAX 5000

TAP_FN void crash_child(struct ops *o, const struct op *op, unsigned long n, int action)
{
	struct err err;
	int rc;

	fault_arm(FAULT_CHANGE, n, action);
	rc = op->run(o, &err);
	fault_disarm();
	if (rc < 0)
		fprintf(stderr, "%s: %s\n", op->name, err.text);
	_exit(rc < 0);
}

/* 1: killed, 0: it came to its end. */
TAP_FN int crash_run(struct ops *o, const struct op *op, unsigned long n, int action)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		crash_child(o, op, n, action);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		bail("fork");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return 1;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		bail("%s ended with status %x", op->name, status);
	return 0;
}

/*
 * A recover that is killed between two renames leaves a store without an index,
 * which says so and is recovered again.
 */
TAP_FN void crash_heal(struct ops *o, const struct op *op)
{
	struct err err;
	int rc;

	if (op->run != ops_recover)
		return;
	rc = store_open(o->run.path, NULL, &o->run.store, &err);
	if (rc == 0)
		store_close(o->run.store);
	else if (rc == -ENOENT && strstr(err.text, "'lamina recover' makes it again"))
		series_must(ops_recover(o, &err), &err, "recover");
	else
		bail("after a killed recover: %s", err.text);
}

TAP_FN void crash_at_every(struct ops *o, const struct op *op, int action, const char *how)
{
	unsigned long n, tried = 0, step = ops_step();
	const char *wrong = NULL;

	for (n = 1; n < CRASH_CALLS_MAX && !wrong; n += step) {
		ops_fresh(o);
		if (!crash_run(o, op, n, action))
			break;
		crash_heal(o, op);
		wrong = ops_check(o, op);
		tried++;
	}
	ok(!wrong && tried > 3, "%s, killed %s each of %lu calls that change the disk", op->name,
	   how, tried);
	if (wrong)
		tap_diag("at call %lu: %s", n - step, wrong);
}

TAP_FN void crash_everywhere(struct ops *o, const struct op *op)
{
	crash_at_every(o, op, FAULT_KILL, "before");
	crash_at_every(o, op, FAULT_TORN, "in the middle of");
}

#endif
