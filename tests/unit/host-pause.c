/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pipeline over a hypervisor that is made of flags: each call can fail, or have us told to
 * stop; whatever happens, the guest runs afterwards, unless it was to be left.
 */
#include "src/host/pause.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <sys/stat.h>

/* ---- the hypervisor ---- */

enum call { FACTS, PAUSE, DRAIN, SNAPSHOT, SEAL, COMMIT, RESUME, NCALLS };

static struct {
	struct hyper hyper;
	enum hyper_state state;
	bool hinting;
	int fail[NCALLS];	/* how often */
	int code;		/* with what */
	bool takes;		/* what fails is done nevertheless */
	int stop_at;		/* a call at which we are told to stop, or -1 */
	unsigned stopped;	/* how often we were told to */
	bool hangs;		/* the resume, for as long as it is waited for */
	bool impatient;		/* we are told once more when we are told that it is */
	int waits;
	int calls[NCALLS];
	char frozen[64];
	enum hyper_state at_commit;
} fake;

static int call(enum call what, struct err *err)
{
	fake.calls[what]++;
	if (fake.stop_at == (int)what)
		fake.stopped = 2;	/* by somebody who presses Ctrl-C twice */
	if (fake.fail[what] > 0) {
		fake.fail[what]--;
		return err_set(err, fake.code, "call %d fails", what);
	}
	return 0;
}

static int fake_open(const struct hyper_target *to, struct hyper **ret, struct err *err)
{
	(void)err;
	fake.hyper = (struct hyper){&fc_ops, to};
	*ret = &fake.hyper;
	return 0;
}

static void fake_close(struct hyper *h)
{
	(void)h;
}

static int fake_facts(struct hyper *h, struct hyper_facts *ret, struct err *err)
{
	(void)h;
	*ret = (struct hyper_facts){.state = fake.state, .balloon = fake.hinting,
				    .hinting = fake.hinting};
	return call(FACTS, err);
}

static int fake_pause(struct hyper *h, struct err *err)
{
	int rc = call(PAUSE, err);

	(void)h;
	if (rc == 0 || fake.takes)
		fake.state = HYPER_PAUSED;
	return rc;
}

static int fake_resume(struct hyper *h, struct err *err)
{
	int rc = call(RESUME, err);

	while (fake.hangs && !(fake.waits && !fake.impatient)) {
		if (h->to->stopped())
			return -ECANCELED;
		(void)usleep(10000);
	}
	if (rc == 0)
		fake.state = HYPER_RUNNING;
	return rc;
}

static int fake_drain(struct hyper *h, int ms, struct hyper_drained *ret, struct err *err)
{
	(void)h;
	(void)ms;
	*ret = (struct hyper_drained){7, true};
	return call(DRAIN, err);
}

static int fake_snapshot(struct hyper *h, const struct hyper_snapshot *what,
			 struct hyper_saved *ret, struct err *err)
{
	(void)h;
	(void)what;
	*ret = (struct hyper_saved){.memory = 4096, .state = 10, .diff = true};
	return call(SNAPSHOT, err);
}

const struct hyper_ops fc_ops = {
	.name = "firecracker", .open = fake_open, .close = fake_close, .facts = fake_facts,
	.pause = fake_pause, .resume = fake_resume, .drain = fake_drain,
	.snapshot = fake_snapshot,
};
const struct hyper_ops qemu_ops = {.name = "qemu", .open = fake_open};

/* ---- what the pipeline asks of us ---- */

static unsigned stopped(void)
{
	return fake.stopped;
}

static void waits(void *ctx, enum pause_id id, int ms)
{
	(void)ctx;
	fake.waits += id == PAUSE_RESUME && ms > 0;
	fake.stopped += fake.impatient;
}

static int seal(void *ctx, struct err *err)
{
	(void)ctx;
	return call(SEAL, err);
}

static int commit(void *ctx, const char *frozen, json_t **ret, struct err *err)
{
	int rc = call(COMMIT, err);

	(void)ctx;
	fake.at_commit = fake.state;
	(void)snprintf(fake.frozen, sizeof(fake.frozen), "%s", frozen ? frozen : "");
	if (rc == 0 && fake.stopped)
		return -ECANCELED;
	if (rc == 0)
		*ret = json_pack("{s:s}", "layer", "abc");
	return rc;
}

static char dir[PATH_MAX];
static struct pause_settings settings;
static struct pause_report report;
static struct err err;

static void reset(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.state = HYPER_RUNNING;
	fake.stop_at = -1;
	fake.code = -EREMOTEIO;
	pause_report_fini(&report);
	settings = (struct pause_settings){.agent_timeout_ms = 1000, .collapse_timeout_ms = 1000,
					   .freeze_timeout_ms = 1000};
	err.text[0] = '\0';
}

static int run(void)
{
	struct pause_plan plan = {
		.settings = &settings, .hypervisor = "firecracker", .socket = "s", .dir = dir,
		.seal = seal, .commit = commit, .stopped = stopped, .waits = waits,
	};

	return pause_run(&plan, &report, &err);
}

static const char *outcome(enum pause_id id)
{
	return pause_outcome_name(report.step[id].outcome);
}

/* ---- tests ---- */

static void test_good(void)
{
	json_t *steps;

	reset();
	is_int(run(), 0, "nothing but what must be");
	is_int(fake.calls[PAUSE] * 100 + fake.calls[SNAPSHOT] * 10 + fake.calls[COMMIT], 111,
	       "is made once");
	is_int(report.state, PAUSE_STATE_RUNNING, "the guest goes on");
	is_str(outcome(PAUSE_COLLAPSE), "skipped", "nothing else is");
	is_int(fake.at_commit, HYPER_RUNNING, "before the commit, which is of what was sealed");
	is_str(outcome(PAUSE_SYNC), "done", "files are synced");
	is_str(json_string_value(json_object_get(report.commit, "layer")), "abc", "the layer");
	steps = pause_report_steps(&report);
	is_int(json_array_size(steps), PAUSE_NSTEPS, "all steps are told");
	json_decref(steps);

	reset();
	settings.leave = true;
	is_int(run(), 0, "one that is to be left");
	ok(fake.state == HYPER_PAUSED && report.state == PAUSE_STATE_PAUSED, "is left paused");
	is_int(fake.calls[RESUME], 0, "and not told to go on");
	is_int(fake.at_commit, HYPER_PAUSED, "nor before the commit");

	reset();
	fake.fail[COMMIT] = 1;
	is_err(run(), &err, -EREMOTEIO, "call %d fails", COMMIT);
	is_int(report.state, PAUSE_STATE_RUNNING, "the guest went on before");
	is_int(fake.calls[SEAL] * 10 + fake.calls[RESUME], 11, "once");
}

/* What fails, and what is then told. */
static void test_failures(void)
{
	static const enum pause_id ids[NCALLS] = {
		[PAUSE] = PAUSE_PAUSE, [SNAPSHOT] = PAUSE_SNAPSHOT, [SEAL] = PAUSE_SEAL,
		[COMMIT] = PAUSE_COMMIT,
	};
	static const int codes[] = {-EREMOTEIO, -ETIMEDOUT, -ENOSPC, -EBUSY};

	for (int what = PAUSE; what <= COMMIT; what++) {
		if (what == DRAIN)
			continue;
		for (size_t i = 0; i < 8; i++) {
			reset();
			fake.fail[what] = 1;
			fake.code = codes[i % 4];
			fake.takes = i >= 4;
			settings.leave = true;
			is_int(run(), codes[i % 4], "call %d fails with %d", what, -codes[i % 4]);
			ok(fake.state == HYPER_RUNNING, "and the guest runs");
			is_int(report.state, PAUSE_STATE_RUNNING, "which is said");
			is_str(outcome(ids[what]), i % 4 == 1 ? "timeout" : "failed", "so is it");
			is_str(outcome(PAUSE_RESUME), "done", "and the resume");
		}
	}
}

static void test_stopped(void)
{
	for (int what = FACTS; what <= COMMIT; what++) {
		reset();
		fake.hinting = true;
		settings.drain_ms = 10;
		fake.stop_at = what;
		is_int(run(), -ECANCELED, "told to stop at call %d", what);
		ok(fake.state == HYPER_RUNNING, "the guest runs");
		if (what <= DRAIN && what != PAUSE)
			is_int(fake.calls[PAUSE], 0, "and was never paused");
	}
}

static void test_resume(void)
{
	reset();
	fake.fail[RESUME] = PAUSE_UNDO_TRIES - 1;
	is_int(run(), 0, "a resume that fails is tried again");
	ok(fake.state == HYPER_RUNNING, "until it runs");

	reset();
	fake.fail[RESUME] = 100;
	is_err(run(), &err, -EREMOTEIO, "call %d fails", RESUME);
	is_int(fake.calls[RESUME], PAUSE_UNDO_TRIES, "but not for ever");
	is_int(report.state, PAUSE_STATE_UNKNOWN, "nobody says that it runs");
	ok(report.commit != NULL, "the layer is there all the same");

	reset();
	fake.fail[RESUME] = 100;
	fake.code = -ECONNREFUSED;
	is_int(run(), -ECONNREFUSED, "one that has ended");
	is_int(fake.calls[RESUME], 1, "is not asked again");

	reset();
	fake.fail[SNAPSHOT] = 1;
	fake.fail[RESUME] = 100;
	is_err(run(), &err, -EREMOTEIO, "call %d fails", SNAPSHOT);
	is_int(report.state, PAUSE_STATE_UNKNOWN, "of two failures the first is the error");
}

static void test_impatient(void)
{
	reset();
	fake.stop_at = SNAPSHOT;
	fake.hangs = true;
	is_int(run(), -ECANCELED, "one that goes on late");
	is_int(fake.waits, 1, "is told of");
	ok(fake.state == HYPER_RUNNING && report.state == PAUSE_STATE_RUNNING, "and awaited");

	reset();
	fake.stop_at = SNAPSHOT;
	fake.hangs = fake.impatient = true;
	is_int(run(), -EINTR, "unless we are told to stop again");
	ok(!strcmp(err.text, "interrupted, and the guest could not be told to go on: "
		   "the hypervisor's answer is waited for no longer"), "is told: %s",
	   err.text);
	is_int(fake.calls[RESUME], 1, "it is not asked again");
	is_int(report.state, PAUSE_STATE_UNKNOWN, "nobody says that it runs");

	reset();
	fake.hangs = fake.impatient = true;
	is_int(run(), -EINTR, "also where nobody told us before");
	is_int(report.state, PAUSE_STATE_UNKNOWN, "nobody says that it runs");
}

static void test_paused(void)
{
	reset();
	fake.state = HYPER_PAUSED;
	settings.drain_ms = 10;
	fake.hinting = true;
	is_int(run(), 0, "one that was paused when we came");
	ok(report.was_paused && fake.calls[DRAIN] == 0, "is not drained");
	ok(*report.step[PAUSE_DRAIN].error != '\0', "which is told");
	ok(fake.state == HYPER_PAUSED && report.state == PAUSE_STATE_PAUSED, "and stays paused");

	reset();
	fake.state = HYPER_PAUSED;
	fake.fail[SNAPSHOT] = 1;
	is_int(run(), -EREMOTEIO, "after a failure");
	ok(fake.state == HYPER_PAUSED && report.state == PAUSE_STATE_PAUSED, "it is as it was");

	reset();
	fake.state = HYPER_NEW;
	is_int(run(), -EINVAL, "one that has no guest");
	is_int(fake.calls[PAUSE], 0, "is not paused");
}

static void test_best_effort(void)
{
	char cgroup[] = "x";

	reset();
	settings.drain_ms = 10;
	is_int(run(), 0, "no balloon");
	is_str(outcome(PAUSE_DRAIN), "unsupported", "is told");
	reset();
	settings.drain_ms = 10;
	fake.hinting = true;
	fake.fail[DRAIN] = 1;
	is_int(run(), 0, "a drain that fails");
	is_str(outcome(PAUSE_DRAIN), "failed", "is told");
	reset();
	settings.drain_ms = 10;
	fake.hinting = true;
	is_int(run(), 0, "one that does not");
	is_int(json_integer_value(json_object_get(report.step[PAUSE_DRAIN].detail, "pages")), 7,
	       "says what it gave back");
	reset();
	settings.collapse = true;
	settings.freeze = cgroup;
	is_int(run(), 0, "steps of an agent that there is not");
	is_str(outcome(PAUSE_FREEZE), "unsupported", "freeze");
	is_str(outcome(PAUSE_COLLAPSE), "unsupported", "collapse");
	is_str(fake.frozen, "", "nothing is said to be frozen");
}

static void make_file(const char *name)
{
	char path[PATH_MAX + 10];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

static void remove_file(const char *name)
{
	char path[PATH_MAX + 10];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)unlink(path);
}

static void test_files(void)
{
	static const char *const names[] = {"memfile", "state"};
	char before[PATH_MAX];

	for (size_t i = 0; i < 2; i++) {
		remove_file(names[i]);
		reset();
		is_int(run(), -ENOENT, "without a %s", names[i]);
		ok(strstr(err.text, names[i]) && strstr(err.text, "lamina live create"),
		   "which is told, with what makes one: %s", err.text);
		is_int(fake.calls[PAUSE], 0, "nothing is paused");
		is_int(report.state, PAUSE_STATE_RUNNING, "it runs");
		make_file(names[i]);
	}
	strcpy(before, dir);
	strcat(dir, "/nothing");
	reset();
	is_int(run(), -ENOENT, "without a directory");
	is_int(fake.calls[PAUSE], 0, "nothing is paused");
	is_int(report.state, PAUSE_STATE_RUNNING, "it runs");
	strcpy(dir, before);
}

static void test_dry_run(void)
{
	struct pause_plan plan = {
		.settings = &settings, .hypervisor = "firecracker", .socket = "s", .dir = dir,
		.seal = seal, .commit = commit, .stopped = stopped, .dry_run = true,
	};

	reset();
	is_int(pause_run(&plan, &report, &err), 0, "a dry run");
	is_int(fake.calls[PAUSE] + fake.calls[COMMIT], 0, "does nothing");
	is_str(outcome(PAUSE_SNAPSHOT), "planned", "but tells");
}

int main(void)
{
	(void)snprintf(dir, sizeof(dir), "%s", tap_tmpdir());
	make_file("memfile");
	make_file("state");
	test_good();
	test_failures();
	test_stopped();
	test_resume();
	test_impatient();
	test_paused();
	test_best_effort();
	test_files();
	test_dry_run();
	reset();
	return tap_done();
}
