/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is true at each moment is in `struct pipeline`: whether something may be frozen, and
 * whether the guest may be paused.  Both are set before that is asked for, since who does not
 * answer may have done it nevertheless.  finish() looks at them, whatever came before.
 *
 * Whoever waits (for the hypervisor, the agent, a child) asks is_over(), which knows the end of the
 * step that runs, and that nobody stops what lets the guest go on.  It has no argument, hence the
 * static `now`.
 */
#include "src/host/pause.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/host/agent.h"
#include "src/host/pause-sync.h"
#include "store/base/clock.h"

#define RECLAIM_SLACK_MS 2000
#define DRAIN_SLACK_MS 1000

static struct {
	bool (*stopped)(void);
	uint64_t end_ms;
	bool heedless;		/* of being told to stop */
} now;

struct pipeline {
	const struct pause_plan *plan;
	const struct pause_settings *set;
	struct pause_report *report;
	struct hyper_target to;
	struct hyper *hyper;
	struct hyper_facts facts;
	struct agent *agent;
	int agent_code;			/* of opening it, if that failed */
	struct err agent_err;
	struct aside files;
	char memfile[PATH_MAX], state[PATH_MAX];
	bool may_be_frozen;
	bool may_be_paused;
	bool was_told;			/* of proactive compaction */
	uint64_t paused_us;
};

static bool is_told(void)
{
	return now.stopped && now.stopped();
}

static bool is_over(void)
{
	return (!now.heedless && is_told()) || clock_ms() >= now.end_ms;
}

static uint64_t end_after(int ms)
{
	return ms > 0 ? clock_ms() + (uint64_t)ms : UINT64_MAX;
}

static double seconds_since(uint64_t began_us)
{
	return (double)(clock_us() - began_us) / 1e6;
}

/* ---- steps ---- */

struct step {
	enum pause_id id;
	int (*run)(struct pipeline *p, struct pause_step *step, struct err *err);
	int timeout_ms;		/* 0: none */
};

static enum pause_outcome outcome_of(int rc)
{
	if (rc == -ENOTSUP)
		return PAUSE_UNSUPPORTED;
	if (rc == -ETIMEDOUT || (rc == -ECANCELED && !is_told()))
		return PAUSE_TIMEOUT;
	return PAUSE_FAILED;
}

/* What was done in part has told so itself. */
static void note_outcome(struct pause_step *step, int rc, const struct err *err)
{
	if (rc >= 0) {
		step->outcome = step->outcome == PAUSE_SKIPPED ? PAUSE_DONE : step->outcome;
		return;
	}
	step->outcome = outcome_of(rc);
	(void)snprintf(step->error, sizeof(step->error), "%s",
		       rc == -ECANCELED && is_told() && !now.heedless ? "interrupted" : err->text);
}

/* -ECANCELED only where we were told to stop. */
static int run_step(struct pipeline *p, const struct step *what, struct err *err)
{
	struct pause_step *step = &p->report->step[what->id];
	uint64_t began = clock_us();
	struct err why = {""};
	int rc;

	if (p->plan->begins)
		p->plan->begins(p->plan->ctx, what->id);
	now.end_ms = end_after(what->timeout_ms);
	rc = what->run(p, step, &why);
	if (rc == -ECANCELED && (now.heedless || !is_told())) {
		rc = -ETIMEDOUT;
		(void)err_set(&why, rc, "not done in time");
	}
	step->seconds += seconds_since(began);
	note_outcome(step, rc, &why);
	if (rc < 0 && err)
		*err = why;
	return rc;
}

static void skip(struct pipeline *p, enum pause_id id, const char *why)
{
	(void)snprintf(p->report->step[id].error, sizeof(p->report->step[id].error), "%s", why);
}

/* ---- the agent ---- */

static void warn(struct pipeline *p, const char *sentence)
{
	(void)json_array_append_new(p->report->warnings, json_string(sentence));
}

static void note_compaction(struct pipeline *p)
{
	const json_t *value = json_object_get(agent_version(p->agent), "compaction_proactiveness");

	if (p->was_told || !json_is_integer(value) || json_integer_value(value) != 0 ||
	    p->set->compacts)
		return;
	p->was_told = true;
	warn(p, "nothing compacts the guest's memory: its vm.compaction_proactiveness is 0, and "
	     "compact_memory is off");
}

/* Once: who did not answer is not waited for by each step. */
static int find_agent(struct pipeline *p, struct err *err)
{
	const struct agent_target to = {
		.address = p->plan->agent, .token_file = p->plan->token_file,
		.timeout_ms = p->set->agent_timeout_ms, .stopped = is_over,
	};

	if (!to.address)
		return err_set(err, -ENOTSUP, "the guest has no agent");
	if (!p->agent && p->agent_code == 0)
		p->agent_code = agent_open(&to, &p->agent, &p->agent_err);
	if (p->agent)
		note_compaction(p);
	else if (err)
		*err = p->agent_err;
	return p->agent ? 0 : p->agent_code;
}

static int want(struct pipeline *p, const char *feature, struct err *err)
{
	const char *version;
	int rc = find_agent(p, err);

	if (rc < 0 || agent_has(p->agent, feature))
		return rc;
	version = json_string_value(json_object_get(agent_version(p->agent), "version"));
	return err_set(err, -ENOTSUP, "the agent %s has no '%s'", version, feature);
}

static int ask(struct pipeline *p, const char *path, json_t *body, int ms, struct err *err)
{
	json_t *answer = NULL;
	int rc = body ? agent_post(p->agent, &(struct agent_ask){path, body, ms}, &answer, err)
		      : err_set(err, -ENOMEM, "out of memory");

	json_decref(body);
	json_decref(answer);
	return rc;
}

/* The answer is the step's detail. */
static int ask_for(struct pipeline *p, struct pause_step *step, const struct agent_ask *what,
		   struct err *err)
{
	return agent_post(p->agent, what, &step->detail, err);
}

/* ---- before the pause ---- */

static int freeze(struct pipeline *p, struct pause_step *step, struct err *err)
{
	int rc = want(p, "freeze", err);

	(void)step;
	if (rc < 0)
		return rc;
	p->may_be_frozen = true;
	now.end_ms = end_after(p->set->freeze_timeout_ms);
	rc = ask(p, "/freeze", json_pack("{s:s}", "cgroup", p->set->freeze),
		 p->set->freeze_timeout_ms, err);
	if (rc == 0)
		rc = json_array_append_new(p->report->frozen, json_string(p->set->freeze));
	return rc;
}

static int collapse(struct pipeline *p, struct pause_step *step, struct err *err)
{
	json_t *body = json_pack("{s:b}", "all", true);
	struct agent_ask what = {"/collapse", body, p->set->collapse_timeout_ms};
	int rc = want(p, "collapse", err);

	now.end_ms = end_after(what.timeout_ms);
	if (rc == 0)
		rc = ask_for(p, step, &what, err);
	json_decref(body);
	return rc;
}

/* Of the parts of a reclaim the worst. */
static void grade(struct pause_step *step)
{
	const json_t *part;
	const char *result;
	size_t i;

	json_array_foreach(json_object_get(step->detail, "steps"), i, part) {
		result = json_string_value(json_object_get(part, "result"));
		if (result && !strcmp(result, "killed"))
			step->outcome = PAUSE_KILLED;
		else if (result && strcmp(result, "done") != 0 && step->outcome != PAUSE_KILLED)
			step->outcome = PAUSE_FAILED;
	}
}

static int reclaim(struct pipeline *p, struct pause_step *step, struct err *err)
{
	struct agent_ask what = {"/reclaim", p->set->reclaim,
				 p->set->reclaim_ms + RECLAIM_SLACK_MS};
	int rc = want(p, "reclaim", err);

	now.end_ms = end_after(what.timeout_ms);
	if (rc == 0)
		rc = ask_for(p, step, &what, err);
	if (rc == 0)
		grade(step);
	return rc;
}

static int drain(struct pipeline *p, struct pause_step *step, struct err *err)
{
	struct hyper_drained drained = {0};
	int rc;

	if (!p->facts.hinting)
		return err_set(err, -ENOTSUP, p->facts.balloon ?
			       "the balloon has no free page hinting that can be started" :
			       "the guest has no balloon whose hinting can be started");
	rc = p->hyper->ops->drain(p->hyper, p->set->drain_ms, &drained, err);
	if (rc == 0)
		step->detail = json_pack("{s:I, s:b}", "pages", (json_int_t)drained.pages,
					 "whole", drained.whole);
	return rc;
}

/* What is not asked for is not told of. */
static int prepare(struct pipeline *p, struct err *err)
{
	const struct pause_settings *s = p->set;
	const struct {
		bool asked;
		struct step step;
	} all[] = {
		{s->freeze, {PAUSE_FREEZE, freeze, s->agent_timeout_ms}},
		{s->collapse, {PAUSE_COLLAPSE, collapse, s->agent_timeout_ms}},
		{s->reclaim, {PAUSE_RECLAIM, reclaim, s->agent_timeout_ms}},
		{s->drain_ms > 0, {PAUSE_DRAIN, drain, s->drain_ms + DRAIN_SLACK_MS}},
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++) {
		if (all[i].asked && p->report->was_paused)
			skip(p, all[i].step.id, "the guest is paused already");
		else if (all[i].asked && run_step(p, &all[i].step, err) == -ECANCELED)
			rc = -ECANCELED;
		if (is_told())
			rc = -ECANCELED;
	}
	return rc;
}

/* ---- the pause, and what is made of it ---- */

static int suspend(struct pipeline *p, struct pause_step *step, struct err *err)
{
	(void)step;
	p->may_be_paused = true;
	p->paused_us = clock_us();
	return p->hyper->ops->pause(p->hyper, err);
}

static int snapshot(struct pipeline *p, struct pause_step *step, struct err *err)
{
	const struct hyper_snapshot what = {p->memfile, p->state, p->plan->full};
	struct hyper_saved saved = {0};
	int rc = p->hyper->ops->snapshot(p->hyper, &what, &saved, err);

	if (rc < 0)
		return rc;
	step->detail = json_pack("{s:I, s:I, s:b}", "memory_bytes", (json_int_t)saved.memory,
				 "state_bytes", (json_int_t)saved.state, "diff", saved.diff);
	return 0;
}

static int sync_files(struct pipeline *p, struct pause_step *step, struct err *err)
{
	(void)step;
	return pause_sync_run(&p->files, now.end_ms, is_over, err);
}

static int seal(struct pipeline *p, struct pause_step *step, struct err *err)
{
	(void)step;
	return p->plan->seal(p->plan->ctx, err);
}

static int commit(struct pipeline *p, struct pause_step *step, struct err *err)
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

static int make_layer(struct pipeline *p, struct err *err)
{
	const struct step step = {PAUSE_COMMIT, commit, 0};

	now.heedless = false;
	return is_told() ? -ECANCELED : run_step(p, &step, err);
}

static int make(struct pipeline *p, struct err *err)
{
	const struct step all[] = {
		{PAUSE_PAUSE, suspend, PAUSE_UNDO_MS},
		{PAUSE_SNAPSHOT, snapshot, p->set->snapshot_timeout_ms},
		{PAUSE_SYNC, sync_files, p->set->snapshot_timeout_ms},
		{PAUSE_SEAL, seal, 0},
	};
	int rc = 0;

	/* The snapshot is not to have a connection in it. */
	if (p->agent)
		agent_hang_up(p->agent);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++)
		rc = is_told() ? -ECANCELED : run_step(p, &all[i], err);
	return rc;
}

/* ---- the end ---- */

static int resume(struct pipeline *p, struct pause_step *step, struct err *err)
{
	int rc = -EIO;

	(void)step;
	for (int i = 0; i < PAUSE_UNDO_TRIES && rc < 0; i++) {
		now.end_ms = end_after(PAUSE_UNDO_MS);
		rc = p->hyper->ops->resume(p->hyper, err);
		if (rc == -ECONNREFUSED || rc == -ENOENT)
			break;		/* the hypervisor has ended */
	}
	return rc;
}

/* One that a snapshot was taken of has a clock that stood, and may be frozen. */
static int tell_resumed(struct pipeline *p, struct pause_step *step, struct err *err)
{
	int rc = find_agent(p, err);

	if (rc < 0)
		return rc;
	now.end_ms = end_after(p->set->agent_timeout_ms);
	return agent_resumed(p->agent, p->set->agent_timeout_ms, &step->detail, err);
}

/* Nothing was paused. */
static int thaw(struct pipeline *p, struct pause_step *step, struct err *err)
{
	json_t *body = json_pack("{s:s}", "cgroup", p->set->freeze);
	const struct agent_ask what = {"/thaw", body, p->set->agent_timeout_ms};
	int rc = find_agent(p, err);

	if (rc == 0)
		rc = ask_for(p, step, &what, err);
	json_decref(body);
	return rc;
}

static void end_freeze(struct pipeline *p, bool went_on)
{
	const struct step told = {PAUSE_RESUMED, tell_resumed, p->set->agent_timeout_ms};
	const struct step thawed = {PAUSE_RESUMED, thaw, p->set->agent_timeout_ms};
	int rc = 0;

	if (went_on && p->plan->agent && p->agent_code == 0)
		rc = run_step(p, &told, NULL);
	else if (went_on && p->plan->agent)
		skip(p, PAUSE_RESUMED, p->agent_err.text);
	if (p->may_be_frozen && (!went_on || rc == -ENOTSUP))
		rc = run_step(p, &thawed, NULL);
	if (p->may_be_frozen && rc < 0)
		warn(p, "what was frozen could not be thawed: the agent does so itself after ten "
		     "minutes");
}

/* `rc`: of all before.  Nobody stops it. */
static int finish(struct pipeline *p, int rc, struct err *err)
{
	const struct step last = {PAUSE_RESUME, resume, PAUSE_UNDO_TRIES * PAUSE_UNDO_MS};
	bool leave = rc == 0 ? p->set->leave : p->report->was_paused;
	bool went_on = false;
	struct err why = {""};
	int last_rc;

	now.heedless = true;
	p->report->state = p->report->was_paused || p->may_be_paused ? PAUSE_STATE_PAUSED
								    : PAUSE_STATE_RUNNING;
	if (p->may_be_paused && !leave) {
		last_rc = run_step(p, &last, &why);
		went_on = last_rc == 0;
		p->report->state = went_on ? PAUSE_STATE_RUNNING : PAUSE_STATE_UNKNOWN;
		if (rc == 0 && last_rc < 0)
			*err = why;
		rc = rc ? rc : last_rc;
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

static int init(struct pipeline *p, struct err *err)
{
	const struct pause_plan *plan = p->plan;

	now.stopped = plan->stopped;
	now.heedless = false;
	now.end_ms = end_after(PAUSE_UNDO_MS);
	p->to = (struct hyper_target){.socket = plan->socket, .chroot = plan->chroot,
				      .stopped = is_over};
	if (plan->dir &&
	    ((size_t)snprintf(p->memfile, PATH_MAX, "%s/memfile", plan->dir) >= PATH_MAX ||
	     (size_t)snprintf(p->state, PATH_MAX, "%s/state", plan->dir) >= PATH_MAX))
		return err_set(err, -ENAMETOOLONG, "'%s' is too long", plan->dir);
	return 0;
}

/* -ECANCELED that is none. */
static int settle(int rc, struct err *err)
{
	if (rc != -ECANCELED || is_told())
		return rc;
	return err_set(err, -ETIMEDOUT, "the hypervisor does not answer");
}

static int open_hyper(struct pipeline *p, struct err *err)
{
	int rc = hyper_open(p->plan->hypervisor, &p->to, &p->hyper, err);

	if (rc == 0)
		rc = p->hyper->ops->facts(p->hyper, &p->facts, err);
	return settle(rc, err);
}

static int look(struct pipeline *p, struct err *err)
{
	int rc = open_hyper(p, err);

	if (rc < 0)
		return rc;
	if (p->facts.state == HYPER_NEW || p->facts.state == HYPER_OTHER)
		return err_set(err, -EINVAL, "%s at '%s' has no guest that runs",
			       p->plan->hypervisor, p->plan->socket);
	p->report->was_paused = p->facts.state == HYPER_PAUSED;
	now.end_ms = end_after(PAUSE_FILES_MS);
	rc = pause_sync_begin(p->plan->dir, now.end_ms, is_over, &p->files, err);
	return rc == -ECANCELED && !is_told() ?
		err_set(err, -ETIMEDOUT, "the mount of '%s' does not answer", p->plan->dir) : rc;
}

/* ---- a dry run ---- */

static void plan_step(struct pipeline *p, enum pause_id id, bool asked, const char *feature)
{
	struct pause_step *step = &p->report->step[id];
	struct err why = {""};
	int rc = 0;

	if (!asked)
		return;
	now.end_ms = end_after(p->set->agent_timeout_ms);
	if (feature)
		rc = want(p, feature, &why);
	else if (id == PAUSE_DRAIN && !p->facts.hinting)
		rc = err_set(&why, -ENOTSUP, "the hypervisor has no hinting that can be started");
	step->outcome = rc < 0 ? outcome_of(rc) : PAUSE_PLANNED;
	(void)snprintf(step->error, sizeof(step->error), "%s", why.text);
}

static int plan_all(struct pipeline *p)
{
	const struct pause_settings *s = p->set;
	bool early = !p->report->was_paused;

	plan_step(p, PAUSE_FREEZE, early && s->freeze, "freeze");
	plan_step(p, PAUSE_COLLAPSE, early && s->collapse, "collapse");
	plan_step(p, PAUSE_RECLAIM, early && s->reclaim, "reclaim");
	plan_step(p, PAUSE_DRAIN, early && s->drain_ms > 0, NULL);
	for (enum pause_id id = PAUSE_PAUSE; id <= PAUSE_SEAL; id++)
		plan_step(p, id, true, NULL);
	plan_step(p, PAUSE_COMMIT, true, NULL);
	plan_step(p, PAUSE_RESUME, !s->leave, NULL);
	plan_step(p, PAUSE_RESUMED, !s->leave && p->plan->agent, "resumed");
	p->report->state = early ? PAUSE_STATE_RUNNING : PAUSE_STATE_PAUSED;
	return is_told() ? -ECANCELED : 0;
}

/* ---- all ---- */

/* What is sealed becomes a layer, also of a guest that could not be told to go on. */
static int run_all(struct pipeline *p, struct err *err)
{
	struct err why = {""};
	int rc = prepare(p, err), made;

	if (rc == 0)
		rc = make(p, err);
	made = rc == 0 && !p->set->leave;
	if (rc == 0 && p->set->leave)
		rc = make_layer(p, err);
	rc = finish(p, rc, err);
	if (!made)
		return rc;
	made = make_layer(p, &why);
	if (rc == 0 && made < 0)
		*err = why;
	return rc ? rc : made;
}

static int run(struct pipeline *p, struct err *err)
{
	int rc = look(p, err);

	if (rc == 0 && p->plan->dry_run)
		return plan_all(p);
	if (rc < 0) {
		p->report->state = p->report->was_paused || !p->hyper ? PAUSE_STATE_UNKNOWN
								     : PAUSE_STATE_RUNNING;
		return rc;
	}
	return run_all(p, err);
}

static void fini(struct pipeline *p)
{
	aside_end(&p->files);
	agent_close(p->agent);
	hyper_close(p->hyper);
}

static int go_on(struct pipeline *p, struct err *err)
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
		 int (*fn)(struct pipeline *p, struct err *err), struct err *err)
{
	struct pipeline p = {.plan = plan, .set = plan->settings, .report = ret};
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
