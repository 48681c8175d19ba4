/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whoever waits (for the hypervisor, the agent, a child) asks pause_step_over(), which knows the
 * end of the step that runs, and that nobody stops what lets the guest go on.  It has no argument,
 * hence the static `now`.
 */
#include <stdio.h>
#include <string.h>

#include "src/host/pause-private.h"
#include "store/base/clock.h"

#define ROUND_MS 20	/* by which a timer may be early */

static struct {
	const struct pause_plan *plan;
	enum pause_id id;
	struct pause_limit limit;
	uint64_t end_ms;
	bool heedless;		/* of being told to stop */
	uint64_t since_ms;	/* the step began */
	bool said;		/* that it is waited for */
	unsigned before;	/* how often we had been told to stop then */
} now;

void pause_step_init(const struct pause_plan *plan)
{
	memset(&now, 0, sizeof(now));
	now.plan = plan;
}

void pause_step_heed(bool heed)
{
	now.heedless = !heed;
	now.said = false;
}

static unsigned times_told(void)
{
	return now.plan->stopped ? now.plan->stopped() : 0;
}

void pause_step_limit(struct pause_limit limit)
{
	now.limit = limit;
	now.end_ms = limit.ms > 0 ? clock_ms() + (uint64_t)limit.ms : UINT64_MAX;
}

uint64_t pause_step_end(void)
{
	return now.end_ms;
}

bool pause_step_spent(void)
{
	return clock_ms() + ROUND_MS >= now.end_ms;
}

bool pause_step_told(void)
{
	return times_told() > 0;
}

/* Who is told to stop twice at once means no more than once: only who was told counts. */
static void say_wait(uint64_t at_ms)
{
	if (now.said || !now.plan->waits || at_ms < now.since_ms + PAUSE_UNDO_QUIET_MS)
		return;
	now.said = true;
	now.before = times_told();
	now.plan->waits(now.plan->ctx, now.id, (int)(now.end_ms - at_ms));
}

bool pause_step_given_up(void)
{
	return now.heedless && now.said && times_told() > now.before;
}

bool pause_step_over(void)
{
	uint64_t at_ms = clock_ms();

	if (at_ms >= now.end_ms)
		return true;
	if (!now.heedless)
		return pause_step_told();
	say_wait(at_ms);
	return pause_step_given_up();
}

int pause_step_late(int rc, struct err *err)
{
	const struct pause_limit *l = &now.limit;
	bool told = pause_step_told() && !now.heedless;

	if ((rc != -ETIMEDOUT && rc != -ECANCELED) || (rc == -ECANCELED && told))
		return rc;
	if (pause_step_given_up())
		return err_set(err, -EINTR, "%s is waited for no longer", l->what);
	/* Who asks may have a shorter limit of his own, and a sentence for it. */
	if (l->ms <= 0 || !pause_step_spent())
		return rc;
	return err_set(err, -ETIMEDOUT, "%s took longer than %g s%s%s", l->what,
		       (double)l->ms / 1000, l->key ? ": more is allowed by " : "",
		       l->key ? l->key : "");
}

enum pause_outcome pause_step_outcome(int rc)
{
	if (rc == -ENOTSUP)
		return PAUSE_UNSUPPORTED;
	if (rc == -ETIMEDOUT || (rc == -ECANCELED && !pause_step_told()))
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
	step->outcome = pause_step_outcome(rc);
	if (rc == -ECANCELED && pause_step_told() && !now.heedless)
		(void)snprintf(step->error, sizeof(step->error), "interrupted");
	else
		(void)snprintf(step->error, sizeof(step->error), "%s", err->text);
}

int pause_step_run(struct pause_pipeline *p, const struct pause_work *what, struct err *err)
{
	struct pause_step *step = &p->report->step[what->id];
	uint64_t began = clock_us();
	struct err why = {""};
	int rc;

	if (p->plan->begins)
		p->plan->begins(p->plan->ctx, what->id);
	now.id = what->id;
	now.since_ms = clock_ms();
	pause_step_limit(what->limit);
	rc = pause_step_late(what->run(p, step, &why), &why);
	step->seconds += (double)(clock_us() - began) / 1e6;
	note_outcome(step, rc, &why);
	if (rc < 0 && err)
		*err = why;
	return rc;
}

void pause_step_skip(struct pause_pipeline *p, enum pause_id id, const char *why)
{
	(void)snprintf(p->report->step[id].error, sizeof(p->report->step[id].error), "%s", why);
}
