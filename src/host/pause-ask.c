/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of the agent, and all that comes before the pause. */
#include <stdio.h>
#include <string.h>

#include "src/host/pause-private.h"

#define RECLAIM_SLACK_MS 2000
#define DRAIN_SLACK_MS 1000
#define WINDOW_BYTES (2u << 20)		/* that a collapse counts in */
#define WINDOWS_MAX ((json_int_t)1 << 32)	/* of all processes of a guest */

/* ---- limits ---- */

#define AGENT_KEY "agent_timeout in [pause] of lamina.conf"

struct pause_limit pause_ask_limit(const struct pause_pipeline *p)
{
	return (struct pause_limit){p->set->agent_timeout_ms, "the agent's answer", AGENT_KEY};
}

static struct pause_limit freeze_limit(const struct pause_pipeline *p)
{
	return (struct pause_limit){p->set->freeze_timeout_ms, "the freeze",
				    "freeze_timeout in [pause] of lamina.conf"};
}

static struct pause_limit collapse_limit(const struct pause_pipeline *p)
{
	return (struct pause_limit){p->set->collapse_timeout_ms, "the collapse",
				    "collapse_timeout in [pause] of lamina.conf"};
}

static struct pause_limit reclaim_limit(const struct pause_pipeline *p)
{
	return (struct pause_limit){p->set->reclaim_ms + RECLAIM_SLACK_MS, "the reclaim",
				    "its caps, of which that is the sum and 2 s"};
}

static struct pause_limit drain_limit(const struct pause_pipeline *p)
{
	return (struct pause_limit){p->set->drain_ms + DRAIN_SLACK_MS,
				    "the end of the drain", "--drain"};
}

/* ---- the agent ---- */

void pause_ask_warn(struct pause_pipeline *p, const char *sentence)
{
	(void)json_array_append_new(p->report->warnings, json_string(sentence));
}

static void note_compaction(struct pause_pipeline *p)
{
	const json_t *value = json_object_get(agent_version(p->agent), "compaction_proactiveness");

	if (p->was_told || !json_is_integer(value) || json_integer_value(value) != 0 ||
	    p->set->compacts || p->set->no_compaction)
		return;
	p->was_told = true;
	p->report->advice = "nothing compacts the guest's memory: see compact_memory in "
			    "lamina-pause(1)";
	pause_ask_warn(p, p->report->advice);
}

int pause_ask_agent(struct pause_pipeline *p, struct err *err)
{
	const struct agent_target to = {
		.address = p->plan->agent, .token_file = p->plan->token_file,
		.timeout_ms = p->set->agent_timeout_ms, .stopped = pause_step_over,
	};

	if (!to.address)
		return err_set(err, -ENOTSUP, "the guest has no agent");
	if (!p->agent && p->agent_code == 0)
		p->agent_code = pause_step_late(agent_open(&to, &p->agent, &p->agent_err),
						&p->agent_err);
	if (p->agent)
		note_compaction(p);
	else if (err)
		*err = p->agent_err;
	return p->agent ? 0 : p->agent_code;
}

int pause_ask_feature(struct pause_pipeline *p, const char *feature, struct err *err)
{
	const char *version;
	int rc = pause_ask_agent(p, err);

	if (rc < 0 || agent_has(p->agent, feature))
		return rc;
	version = json_string_value(json_object_get(agent_version(p->agent), "version"));
	return err_set(err, -ENOTSUP, "the agent %s has no '%s'", version, feature);
}

static int ask_freeze(struct pause_pipeline *p, struct err *err)
{
	json_t *body = json_pack("{s:s}", "cgroup", p->set->freeze), *answer = NULL;
	const struct agent_ask what = {"/freeze", body, p->set->freeze_timeout_ms};
	int rc = body ? agent_post(p->agent, &what, &answer, err)
		      : err_set(err, -ENOMEM, "out of memory");

	if (rc == 0 && !json_is_true(json_object_get(answer, "frozen")))
		rc = err_set(err, -EPROTO, "the agent does not say that '%s' is frozen",
			     p->set->freeze);
	json_decref(body);
	json_decref(answer);
	return rc;
}

int pause_ask_for(struct pause_pipeline *p, struct pause_step *step, const struct agent_ask *what,
		   struct err *err)
{
	return agent_post(p->agent, what, &step->detail, err);
}

/* ---- before the pause ---- */

static int freeze(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	int rc = pause_ask_feature(p, "freeze", err);

	(void)step;
	if (rc < 0)
		return rc;
	p->may_be_frozen = true;
	pause_step_limit(freeze_limit(p));
	rc = ask_freeze(p, err);
	if (rc == 0)
		rc = json_array_append_new(p->report->frozen, json_string(p->set->freeze));
	return rc;
}

/* What no guest can mean: it goes into sums that are kept. */
static int check_windows(const struct pause_pipeline *p, const json_t *answer, struct err *err)
{
	static const char *const keys[] = {"collapsed", "already_huge", "skipped"};
	uint64_t memory = p->facts.memory ? p->facts.memory : p->seen.memory;
	const json_int_t most = (json_int_t)(memory / WINDOW_BYTES);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const json_t *value = json_object_get(answer, keys[i]);
		json_int_t n = json_integer_value(value);

		if (!json_is_integer(value) || n < 0)
			return err_set(err, -EPROTO, "the agent's '%s' is no number of windows",
				       keys[i]);
		/* Processes may share what was huge before, and have no memory where it is not. */
		if (n > (i == 0 ? most : WINDOWS_MAX))
			return err_set(err, -EPROTO, "the agent's '%s' is %lld windows of 2 MiB, "
				       "more than the guest can have", keys[i], (long long)n);
	}
	return 0;
}

static int collapse(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	json_t *body = json_pack("{s:b}", "all", true);
	struct agent_ask what = {"/collapse", body, p->set->collapse_timeout_ms};
	int rc = pause_ask_feature(p, "collapse", err);

	if (rc == 0) {
		pause_step_limit(collapse_limit(p));
		rc = pause_ask_for(p, step, &what, err);
	}
	if (rc == 0)
		rc = check_windows(p, step->detail, err);
	if (rc < 0) {
		json_decref(step->detail);
		step->detail = NULL;
	}
	json_decref(body);
	return rc;
}

static void name_part(struct pause_step *step, const char *name, const char *result, int cap_ms)
{
	size_t len = strlen(step->error);

	(void)snprintf(step->error + len, sizeof(step->error) - len,
		       !strcmp(result, "killed") && cap_ms > 0 ? "%s%s %s at its cap of %d ms" :
		       "%s%s %s", len ? ", " : "", name, result, cap_ms);
}

/* Of the parts of a reclaim the worst, and which were not done. */
static void grade(struct pause_step *step, const json_t *caps)
{
	const json_t *part;
	const char *result, *name;
	size_t i;

	json_array_foreach(json_object_get(step->detail, "steps"), i, part) {
		result = json_string_value(json_object_get(part, "result"));
		name = json_string_value(json_object_get(part, "step"));
		if (!result || !strcmp(result, "done"))
			continue;
		if (!strcmp(result, "killed"))
			step->outcome = PAUSE_KILLED;
		else if (step->outcome != PAUSE_KILLED)
			step->outcome = PAUSE_FAILED;
		name_part(step, name ? name : "a step", result,
			  (int)json_integer_value(name ? json_object_get(caps, name) : NULL));
	}
}

static int reclaim(struct pause_pipeline *p, struct pause_step *step, struct err *err)
{
	struct agent_ask what = {"/reclaim", p->set->reclaim, reclaim_limit(p).ms};
	int rc = pause_ask_feature(p, "reclaim", err);

	if (rc == 0) {
		pause_step_limit(reclaim_limit(p));
		rc = pause_ask_for(p, step, &what, err);
	}
	if (rc == 0)
		grade(step, p->set->reclaim);
	return rc;
}

static int drain(struct pause_pipeline *p, struct pause_step *step, struct err *err)
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
int pause_ask_all(struct pause_pipeline *p, struct err *err)
{
	const struct pause_settings *s = p->set;
	const struct {
		bool asked;
		struct pause_work step;
	} all[] = {
		{s->freeze, {PAUSE_FREEZE, freeze, pause_ask_limit(p)}},
		{s->collapse, {PAUSE_COLLAPSE, collapse, pause_ask_limit(p)}},
		{s->reclaim, {PAUSE_RECLAIM, reclaim, pause_ask_limit(p)}},
		{s->drain_ms > 0, {PAUSE_DRAIN, drain, drain_limit(p)}},
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++) {
		if (all[i].asked && p->report->was_paused)
			pause_step_skip(p, all[i].step.id, "the guest is paused already");
		else if (all[i].asked && pause_step_run(p, &all[i].step, err) == -ECANCELED)
			rc = -ECANCELED;
		if (pause_step_told())
			rc = -ECANCELED;
	}
	return rc;
}
