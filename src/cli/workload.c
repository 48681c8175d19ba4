/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/workload.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/capture.h"
#include "src/cli/words.h"
#include "store/base/clock.h"

#define ASK_MS 100
#define KILL_MS 3000		/* a command has so long to end when we are told to stop */

/* The same file each time: what is measured is what was written, not what a file costs. */
#define WRITE_64K \
	"dd if=/dev/urandom of=/var/tmp/lamina-measure bs=65536 count=1 conv=notrunc,fsync " \
	"2>/dev/null"

const struct workload workload_all[] = {
	{"idle", "nothing, paused at once", 0, NULL, 1, false},
	{"2s", "two seconds of its own", 2000, NULL, 1, false},
	{"5s", "five seconds of its own", 5000, NULL, 1, false},
	{"64k", "64 KiB written to a file", 0, WRITE_64K, 1, false},
	{"process", "a process started", 0, "/bin/true", 1, false},
	{"pauses", "ten pauses, one at once after the other", 0, NULL, 10, false},
	{"command", "a command of yours", 0, NULL, 1, true},
	{.name = NULL}
};

const struct workload *workload_find(const char *name)
{
	for (const struct workload *w = workload_all; w->name; w++)
		if (!strcmp(w->name, name))
			return w;
	return NULL;
}

const char *workload_lacks(const struct workload *workload, const struct workload_means *means)
{
	if (workload->inside && !means->run)
		return "there is no way to run a command in the guest: say --run";
	if (workload->own && !means->command)
		return "there is no command: say --workload-command";
	return NULL;
}

static int wait_ms(unsigned ms, bool (*stopped)(void))
{
	uint64_t end = clock_ms() + ms, now;

	while ((now = clock_ms()) < end) {
		if (stopped && stopped())
			return -ECANCELED;
		(void)poll(NULL, 0, end - now < ASK_MS ? (int)(end - now) : ASK_MS);
	}
	return 0;
}

static int run_shell(char *command, const struct workload_means *means, struct err *err)
{
	char shell[] = "/bin/sh", flag[] = "-c";
	char *argv[] = {shell, flag, command, NULL};
	const struct capture_stop stop = {means->stopped, KILL_MS};
	struct capture done;
	int rc = setenv("LAMINA_GUEST", means->guest, 1) < 0 ? -errno : 0;

	if (rc < 0)
		return err_sys(err, rc, "cannot name the guest to a command");
	rc = capture_run(argv, &stop, &done, err);
	if (rc < 0)
		return rc;
	capture_fini(&done);
	if (done.status == 0)
		return 0;
	return err_set(err, -EREMOTEIO, "'%.200s' failed with status %d%s%s", command, done.status,
		       *done.why ? ": " : "", done.why);
}

int workload_run(const struct workload *workload, const struct workload_means *means,
		 struct err *err)
{
	char *command = NULL;
	int rc = wait_ms(workload->wait_ms, means->stopped);

	if (rc < 0)
		return err_sys(err, rc, "stopped");
	if (workload->inside)
		rc = words_fill(means->run, workload->inside, &command, err);
	if (rc == 0 && workload->own && !(command = strdup(means->command)))
		rc = err_set(err, -ENOMEM, "out of memory");
	if (rc == 0 && command)
		rc = run_shell(command, means, err);
	free(command);
	return rc;
}
