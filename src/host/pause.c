/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is true at each moment is in `struct pause_pipeline`: whether something may be frozen, and
 * whether the guest may be paused.  Both are set before that is asked for, since who does not
 * answer may have done it nevertheless.  finish() looks at them, whatever came before.
 */
#include "src/host/pause.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/host/pause-private.h"
#include "store/base/clock.h"
#include "store/base/proc.h"

static double seconds_since(uint64_t began_us)
{
	return (double)(clock_us() - began_us) / 1e6;
}

#define SNAPSHOT_KEY "snapshot_timeout in [pause] of lamina.conf"
#define ENDING_MS 1000
#define ENDING_POLL_MS 10
#define HYPERVISOR_ANSWER {PAUSE_UNDO_MS, "the hypervisor's answer", NULL}

/* ---- the pause, and what is made of it ---- */

static int suspend(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	p->may_be_paused = true;
	p->paused_us = clock_us();
	if (p->report->was_paused)
		(void)snprintf(step->error, sizeof(step->error), "the guest was paused already");
	return p->hyper->ops->pause(p->hyper, err);
}

/* Of a snapshot that is no diff. */
static json_t *why_whole(const struct pause_pipeline *p)
{
	if (p->plan->full)
		return json_string("--full asks for that");
	if (!p->facts.dirty)
		return json_string("the hypervisor does not track dirty pages, or in a way that "
				   "cannot be relied on");
	return *p->why.text ? json_string(p->why.text) : json_null();
}

static int snapshot(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	const struct hyper_snapshot what = {p->memfile, p->state, p->plan->full || !p->based};
	struct hyper_saved saved = {0};
	int rc = p->hyper->ops->snapshot(p->hyper, &what, &saved, err);

	if (rc < 0)
		return rc;
	step->detail = json_pack("{s:I, s:I, s:b, s:o}", "memory_bytes", (json_int_t)saved.memory,
				 "state_bytes", (json_int_t)saved.state, "diff", saved.diff,
				 "why", saved.diff ? json_null() : why_whole(p));
	return 0;
}

static int sync_files(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	(void)step;
	return pause_sync_run(&p->files, pause_step_end(), pause_step_over, err);
}

static int seal(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	(void)step;
	return p->plan->seal(p->plan->ctx, err);
}

static int commit(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	char *frozen = pause_report_frozen(p->report);
	int rc;

	(void)step;
	if (!frozen)
		return err_set(err, -ENOMEM, "out of memory");
	rc = p->plan->commit(p->plan->ctx, *frozen ? frozen : NULL, &p->report->commit, err);
	free(frozen);
	return rc;
}

static int make_layer(struct pause_pipeline *p, struct err *err)
{
	const struct pause_work step = {.id = PAUSE_COMMIT, .run = commit};

	pause_step_heed(true);
	return pause_step_told() ? -ECANCELED : pause_step_run(p, &step, err);
}

static int make(struct pause_pipeline *p, struct err *err)
{
	const struct pause_work all[] = {
		{PAUSE_PAUSE, suspend, HYPERVISOR_ANSWER},
		{PAUSE_SNAPSHOT, snapshot,
		 {p->set->snapshot_timeout_ms, "the hypervisor's snapshot", SNAPSHOT_KEY}},
		{PAUSE_SYNC, sync_files,
		 {p->set->snapshot_timeout_ms, "the mount of the live image", SNAPSHOT_KEY}},
		{.id = PAUSE_SEAL, .run = seal},
	};
	int rc = 0;

	/* The snapshot is not to have a connection in it. */
	if (p->agent)
		agent_hang_up(p->agent);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++)
		rc = pause_step_told() ? -ECANCELED : pause_step_run(p, &all[i], err);
	return rc;
}

/* ---- the end ---- */

/* Its sockets are closed a while before it is no process any more. */
static bool ends(const struct pause_pipeline *p)
{
	uint64_t start, end = clock_ms() + ENDING_MS;

	while (p->facts.pid > 0) {
		if (proc_start(p->facts.pid, &start) == -ESRCH)
			return true;
		if (clock_ms() >= end || pause_step_given_up())
			return false;
		(void)poll(NULL, 0, ENDING_POLL_MS);
	}
	return false;
}

/* Nobody listens; or it hung up, and its process is gone. */
static bool has_ended(const struct pause_pipeline *p, int rc)
{
	return rc == -ECONNREFUSED || rc == -ENOENT || (rc == -ECONNRESET && ends(p));
}

static int resume(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	const int tries = pause_step_told() ? 1 : PAUSE_UNDO_TRIES;
	int rc = -EIO;

	(void)step;
	pause_step_limit((struct pause_limit){tries * PAUSE_UNDO_MS, "the hypervisor's answer",
					      NULL});
	for (int i = 0; i < PAUSE_UNDO_TRIES && rc < 0; i++) {
		rc = p->hyper->ops->resume(p->hyper, err);
		if (has_ended(p, rc)) {
			p->report->state = PAUSE_STATE_ENDED;
			break;
		}
		if (pause_step_given_up() || pause_step_spent() ||
		    (pause_step_told() && rc == -ETIMEDOUT))
			break;
	}
	return rc;
}

/* One that a snapshot was taken of has a clock that stood, and may be frozen. */
static int tell_resumed(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	int rc = pause_ask_agent(p, err);

	if (rc < 0)
		return rc;
	pause_step_limit(pause_ask_limit(p));
	return agent_resumed(p->agent, p->set->agent_timeout_ms, &step->detail, err);
}

/* Nothing was paused. */
static int thaw(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	json_t *body = json_pack("{s:s}", "cgroup", p->set->freeze);
	const struct agent_ask what = {"/thaw", body, p->set->agent_timeout_ms};
	int rc = pause_ask_agent(p, err);

	if (rc == 0)
		rc = pause_ask_for(p, step, &what, err);
	json_decref(body);
	return rc;
}

/* Its clock is as it was at the pause; one that cannot set it is not told of each time. */
static void warn_untold(struct pause_pipeline *p)
{
	const struct pause_step *step = &p->report->step[PAUSE_RESUMED];
	char text[sizeof(step->error) + 128];

	if (step->outcome == PAUSE_DONE || step->outcome == PAUSE_UNSUPPORTED || !*step->error)
		return;
	(void)snprintf(text, sizeof(text), "the agent was not told that the guest goes on, so "
		       "that its clock is not set: %s", step->error);
	pause_ask_warn(p, text);
}

static void end_freeze(struct pause_pipeline *p, bool went_on)
{
	const struct pause_work told = {PAUSE_RESUMED, tell_resumed, pause_ask_limit(p)};
	const struct pause_work thawed = {PAUSE_RESUMED, thaw, pause_ask_limit(p)};
	int rc = 0;

	if (went_on && p->plan->agent && p->agent_code == 0)
		rc = pause_step_run(p, &told, NULL);
	else if (went_on && p->plan->agent)
		pause_step_skip(p, PAUSE_RESUMED, p->agent_err.text);
	if (went_on)
		warn_untold(p);
	if (p->may_be_frozen && (!went_on || rc == -ENOTSUP))
		rc = pause_step_run(p, &thawed, NULL);
	if (p->may_be_frozen && rc < 0)
		pause_ask_warn(p, "what was frozen could not be thawed: the agent does so "
			       "itself after ten minutes");
}

static bool is_left(const struct pause_pipeline *p, int rc)
{
	return p->report->was_paused || (rc == 0 && p->set->leave);
}

/* `rc`: of all before.  Nobody stops it. */
static int finish(struct pause_pipeline *p, int rc, struct err *err)
{
	const struct pause_work last = {PAUSE_RESUME, resume, HYPERVISOR_ANSWER};
	bool leave = is_left(p, rc);
	bool went_on = false;
	struct err why = {""};
	int last_rc;

	pause_step_heed(false);
	p->report->state = p->report->was_paused || p->may_be_paused ? PAUSE_STATE_PAUSED
								    : PAUSE_STATE_RUNNING;
	if (p->may_be_paused && p->report->was_paused && !p->set->leave)
		pause_step_skip(p, PAUSE_RESUME, "the guest was paused already, and stays so");
	if (p->may_be_paused && !leave) {
		last_rc = pause_step_run(p, &last, &why);
		went_on = last_rc == 0;
		if (p->report->state != PAUSE_STATE_ENDED)
			p->report->state = went_on ? PAUSE_STATE_RUNNING : PAUSE_STATE_UNKNOWN;
		if ((rc == 0 || rc == -ECANCELED) && last_rc < 0) {
			*err = why;
			rc = rc == 0 ? last_rc :
				err_wrap(err, last_rc, "interrupted, and the guest could not be "
					 "told to go on");
		}
	}
	if (p->may_be_paused)
		p->report->paused_seconds = seconds_since(p->paused_us);
	if (went_on || (p->may_be_frozen && p->report->state != PAUSE_STATE_PAUSED))
		end_freeze(p, went_on);
	return rc;
}

/* ---- the beginning ---- */

static int init_report(struct pause_report *r, struct err *err)
{
	*r = (struct pause_report){.frozen = json_array(), .warnings = json_array()};
	if (r->frozen && r->warnings)
		return 0;
	return err_set(err, -ENOMEM, "out of memory");
}

static int init(struct pause_pipeline *p, struct err *err)
{
	const struct pause_plan *plan = p->plan;

	pause_step_init(plan);
	pause_step_limit((struct pause_limit)HYPERVISOR_ANSWER);
	p->to = (struct hyper_target){.socket = plan->socket, .chroot = plan->chroot,
				      .stopped = pause_step_over,
				      .unfinished = plan->unfinished && !plan->dry_run};
	if (plan->dir &&
	    ((size_t)snprintf(p->memfile, PATH_MAX, "%s/memfile", plan->dir) >= PATH_MAX ||
	     (size_t)snprintf(p->state, PATH_MAX, "%s/state", plan->dir) >= PATH_MAX))
		return err_set(err, -ENAMETOOLONG, "'%s' is too long", plan->dir);
	return 0;
}

static int open_hyper(struct pause_pipeline *p, struct err *err)
{
	int rc = hyper_open(p->plan->hypervisor, &p->to, &p->hyper, err);

	if (rc == 0)
		rc = p->hyper->ops->facts(p->hyper, &p->facts, err);
	return pause_step_late(rc, err);
}

static int lacks(const struct pause_pipeline *p, const char *image, const char *size,
		 struct err *err)
{
	const char *slash = strrchr(p->plan->dir, '/');

	return err_set(err, -ENOENT, "live image '%s' has no '%s', which the snapshot is written "
		       "to: start the guest on one that 'lamina live create NAME --from LAYER "
		       "--size %s=%s' makes", slash ? slash + 1 : p->plan->dir, image, image, size);
}

/* Where an empty file is filled that costs no more than the bytes. */
static int unfit(const struct pause_pipeline *p, struct err *err)
{
	unsigned long long seen = p->seen.memory, own = p->facts.memory;

	if (p->facts.fills)
		return err_set(err, -EINVAL, "'%s' has %llu bytes and the guest's memory %llu: "
			       "'truncate -s 0 %s' empties it, and the next snapshot is a full "
			       "one", p->memfile, seen, own, p->memfile);
	return err_set(err, -EINVAL, "'%s' has %llu bytes and the guest's memory %llu: start the "
		       "guest on a live image that 'lamina live create NAME --from LAYER --size "
		       "memfile=%llu' makes", p->memfile, seen, own, own);
}

static bool fits(const struct pause_pipeline *p)
{
	if (!p->facts.memory || p->seen.memory == p->facts.memory)
		return true;
	return p->seen.memory == 0 && p->facts.fills;
}

/* Of one that opens the files itself. */
static int fit_jail(const struct pause_pipeline *p, struct err *err)
{
	const char *path;
	int rc = hyper_path(&p->to, p->memfile, &path, err);

	return rc < 0 ? rc : hyper_path(&p->to, p->state, &path, err);
}

/* A layer would have the guest's memory, and files that lack what the guest writes. */
static int astray(const struct pause_pipeline *p, struct err *err)
{
	if (p->seen.astray == ASTRAY_DEAD)
		return err_set(err, -ESTALE, "the hypervisor, process %d, has '%s' of a mount "
			       "whose daemon has ended, and not of '%s': what the guest writes "
			       "there is lost. End it, and resume its last layer",
			       (int)p->facts.pid, p->seen.lost, p->plan->dir);
	return err_set(err, -ESTALE, "the hypervisor, process %d, has '%s' of another mount, or of "
		       "a live image that is gone, and not of '%s', so that a layer would lack "
		       "what the guest writes there: give its mount with --mount, or end it, and "
		       "resume its last layer", (int)p->facts.pid, p->seen.lost, p->plan->dir);
}

/* What a hypervisor would find missing when the guest is paused already. */
static int look_at_files(struct pause_pipeline *p, struct err *err)
{
	struct pause_sync_ask ask = {p->plan->dir, p->facts.pid, .stopped = pause_step_over};
	int rc;

	pause_step_limit((struct pause_limit){PAUSE_FILES_MS, "the mount of the live image", NULL});
	ask.end_ms = pause_step_end();
	rc = pause_sync_begin(&ask, &p->files, &p->seen, err);
	if (pause_step_late(rc, err) == -ETIMEDOUT)
		return err_wrap(err, -ETIMEDOUT, "'%s'", p->plan->dir);
	if (rc == 0 && p->facts.opens)
		rc = fit_jail(p, err);
	if (rc == 0 && p->seen.astray != ASTRAY_NOT)
		return astray(p, err);
	if (rc == 0 && !p->seen.memfile)
		return lacks(p, "memfile", "SIZE", err);
	if (rc == 0 && !fits(p))
		return unfit(p, err);
	return rc == 0 && !p->seen.state ? lacks(p, "state", "0", err) : rc;
}

/* As if it had run when we came; what is frozen since then is thawed at the end. */
static int begin_anew(struct pause_pipeline *p, struct err *err)
{
	int rc;

	pause_ask_warn(p, "the guest was left paused by a pause that was killed: it went on, and "
		       "was paused anew");
	p->may_be_paused = true;
	p->paused_us = clock_us();
	pause_step_limit((struct pause_limit)HYPERVISOR_ANSWER);
	rc = pause_step_late(p->hyper->ops->resume(p->hyper, err), err);
	p->report->was_paused = rc < 0;
	return rc;
}

static int look(struct pause_pipeline *p, struct err *err)
{
	int rc = open_hyper(p, err);

	if (rc < 0)
		return rc;
	if (p->facts.state == HYPER_NEW || p->facts.state == HYPER_OTHER)
		return err_set(err, -EINVAL, "%s at '%s' has no guest that runs",
			       p->plan->hypervisor, p->plan->socket);
	p->report->was_paused = p->facts.state == HYPER_PAUSED;
	if (p->report->was_paused && p->plan->left_paused && !p->plan->dry_run) {
		rc = begin_anew(p, err);
		if (rc < 0)
			return rc;
	}
	if (!p->report->was_paused)
		p->report->state = PAUSE_STATE_RUNNING;
	return look_at_files(p, err);
}

/* ---- a dry run ---- */

static void plan_step(struct pause_pipeline *p, enum pause_id id, bool asked, const char *feature)
{
	struct pause_step *step = &p->report->step[id];
	struct err why = {""};
	int rc = 0;

	if (!asked)
		return;
	pause_step_limit(pause_ask_limit(p));
	if (feature)
		rc = pause_step_late(pause_ask_feature(p, feature, &why), &why);
	else if (id == PAUSE_DRAIN && !p->facts.hinting)
		rc = err_set(&why, -ENOTSUP, "the hypervisor has no hinting that can be started");
	step->outcome = rc < 0 ? pause_step_outcome(rc) : PAUSE_PLANNED;
	(void)snprintf(step->error, sizeof(step->error), "%s", why.text);
}

static int plan_all(struct pause_pipeline *p)
{
	const struct pause_settings *s = p->set;
	bool early = !p->report->was_paused || p->plan->left_paused;
	bool goes_on = early && !s->leave;

	plan_step(p, PAUSE_FREEZE, early && s->freeze, "freeze");
	plan_step(p, PAUSE_COLLAPSE, early && s->collapse, "collapse");
	plan_step(p, PAUSE_RECLAIM, early && s->reclaim, "reclaim");
	plan_step(p, PAUSE_DRAIN, early && s->drain_ms > 0, NULL);
	for (enum pause_id id = PAUSE_PAUSE; id <= PAUSE_SEAL; id++)
		plan_step(p, id, true, NULL);
	plan_step(p, PAUSE_COMMIT, true, NULL);
	plan_step(p, PAUSE_RESUME, goes_on, NULL);
	plan_step(p, PAUSE_RESUMED, goes_on && p->plan->agent, "resumed");
	p->report->state = p->report->was_paused ? PAUSE_STATE_PAUSED : PAUSE_STATE_RUNNING;
	return pause_step_told() ? -ECANCELED : 0;
}

/* ---- all ---- */

/* What is in a mapping of the memory file counts as written when its daemon has it. */
static int find_base(struct pause_pipeline *p, struct err *err)
{
	int rc;

	if (!p->plan->is_based)
		return 0;
	pause_step_limit((struct pause_limit){p->set->snapshot_timeout_ms,
					      "the mount of the live image", SNAPSHOT_KEY});
	rc = pause_sync_memfile(&p->files, pause_step_end(), pause_step_over, err);
	if (rc < 0)
		return pause_step_late(rc, err);
	rc = p->plan->is_based(p->plan->ctx, p->facts.pid, &p->why);
	if (rc < 0)
		*err = p->why;
	p->based = rc > 0;
	return rc < 0 ? rc : 0;
}

/* What is sealed becomes a layer, also of a guest that could not be told to go on. */
static int run_all(struct pause_pipeline *p, struct err *err)
{
	struct err why = {""};
	int rc = pause_ask_all(p, err), made;

	if (rc == 0)
		rc = find_base(p, err);
	if (rc == 0)
		rc = make(p, err);
	made = rc == 0 && !is_left(p, rc);
	if (rc == 0 && is_left(p, rc))
		rc = make_layer(p, err);
	rc = finish(p, rc, err);
	if (!made)
		return rc;
	made = make_layer(p, &why);
	if (rc == 0 && made < 0)
		*err = why;
	return rc ? rc : made;
}

static int run(struct pause_pipeline *p, struct err *err)
{
	int rc;

	p->report->state = PAUSE_STATE_UNKNOWN;
	rc = look(p, err);

	if (rc == 0 && p->plan->dry_run)
		return plan_all(p);
	if (rc < 0)
		return p->may_be_paused && !p->report->was_paused ? finish(p, rc, err) : rc;
	return run_all(p, err);
}

static void fini(struct pause_pipeline *p)
{
	aside_end(&p->files);
	agent_close(p->agent);
	hyper_close(p->hyper);
}

static int go_on(struct pause_pipeline *p, struct err *err)
{
	int rc = open_hyper(p, err);

	p->report->state = PAUSE_STATE_UNKNOWN;
	if (rc < 0)
		return rc;
	p->may_be_paused = true;
	p->paused_us = clock_us();
	return finish(p, 0, err);
}

static int begin(const struct pause_plan *plan, struct pause_report *ret,
		 int (*fn)(struct pause_pipeline *p, struct err *err), struct err *err)
{
	struct pause_pipeline p = {.plan = plan, .set = plan->settings, .report = ret};
	uint64_t began = clock_us();
	int rc = init_report(ret, err);

	if (rc == 0)
		rc = init(&p, err);
	if (rc == 0)
		rc = fn(&p, err);
	fini(&p);
	ret->seconds = seconds_since(began);
	return rc;
}

int pause_run(const struct pause_plan *plan, struct pause_report *ret, struct err *err)
{
	return begin(plan, ret, run, err);
}

int pause_go_on(const struct pause_plan *plan, struct pause_report *ret, struct err *err)
{
	return begin(plan, ret, go_on, err);
}
