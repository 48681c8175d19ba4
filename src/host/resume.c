/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/resume.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/host/agent.h"
#include "src/host/hyper.h"
#include "src/host/spawn.h"
#include "src/rpc/address.h"
#include "store/base/clock.h"
#include "store/base/proc.h"

#define TRY_MS 20
#define ANSWER_TRY_MS 50
#define END_MS 1000	/* from the end of its socket to that of its process */

struct run {
	const struct resume_plan *plan;
	struct resume_report *report;
	struct hyper_target to;
	struct hyper *hyper;
	struct hyper_facts facts;	/* of it, when it has been opened */
	uint64_t child_start;		/* of proc.h; 0: not known */
};

static bool is_told(const struct resume_plan *plan)
{
	return plan->stopped && plan->stopped();
}

static void begins(const struct resume_plan *plan, const char *what)
{
	if (plan->begins)
		plan->begins(what);
}

static double seconds_since(uint64_t began_us)
{
	return (double)(clock_us() - began_us) / 1e6;
}

static void nap(int ms)
{
	const struct timespec t = {.tv_nsec = ms * 1000000L};

	(void)nanosleep(&t, NULL);
}

/* ---- the session ---- */

/* What is in a jail, or runs already, is whoever it is: that is seen when it listens. */
static bool starts_first(const struct resume_plan *plan)
{
	return plan->pager && !plan->session.peer_uid && (plan->chroot || !plan->argv);
}

/* Who is to hand over, as far as it is known: what we start is as we are. */
static uid_t peer_of(const struct run *r)
{
	return starts_first(r->plan) ? r->facts.uid : geteuid();
}

static int make_session(struct run *r, struct err *err)
{
	const struct resume_plan *plan = r->plan;
	struct session_new what = plan->session;
	int64_t uid = peer_of(r);

	if (!plan->pager)
		return 0;
	if (!what.peer_uid && uid != 0 && (uid_t)uid != (uid_t)-1)
		what.peer_uid = &uid;
	begins(plan, "session");
	what.pager = plan->pager;
	what.id = plan->name;
	what.memfile = plan->memfile;
	what.stopped = plan->stopped;
	return session_make(&what, &r->report->session_socket, err);
}

/* ---- the hypervisor ---- */

/* Not there yet, as long as it starts. */
static bool is_early(int rc)
{
	return rc == -ENOENT || rc == -ECONNREFUSED || rc == -ECONNRESET;
}

/* -ECHILD if what we started has ended. */
static int check_child(struct run *r, struct err *err)
{
	char why[64];

	if (r->report->child <= 0 || !spawn_ended(r->report->child, why, sizeof(why)))
		return 0;
	r->report->child = 0;
	r->report->log_told = true;
	return err_set(err, -ECHILD, "'%s' has ended (%s): see '%s'", r->plan->argv[0], why,
		       r->plan->log);
}

/* Whose connection broke may be about to end: its log says more than that. */
static int explain_break(struct run *r, int rc, struct err *err)
{
	uint64_t end = clock_ms() + END_MS;
	int ended;

	while ((ended = check_child(r, err)) == 0 && r->report->child > 0 && clock_ms() < end)
		nap(TRY_MS);
	return ended < 0 ? ended : rc;
}

static int try_open(struct run *r, struct hyper_facts *facts, struct err *err)
{
	int rc = hyper_open(r->plan->hypervisor, &r->to, &r->hyper, err);

	if (rc == 0)
		rc = r->hyper->ops->facts(r->hyper, facts, err);
	if (rc < 0) {
		hyper_close(r->hyper);
		r->hyper = NULL;
	}
	return rc;
}

static int late(struct run *r, struct err *err)
{
	r->report->log_told = true;
	return err_wrap(err, -ETIMEDOUT, "'%s' does not answer (see '%s')", r->plan->argv[0],
			r->plan->log);
}

static int await_socket(struct run *r, struct hyper_facts *facts, struct err *err)
{
	uint64_t end = clock_ms() + (uint64_t)r->plan->wait_ms;
	int rc;

	for (;;) {
		rc = try_open(r, facts, err);
		/* Of a QEMU: it listens before it has made its memory, and greets behind that. */
		if (rc == 0 || (!is_early(rc) && rc != -ETIMEDOUT))
			return rc;
		if (is_told(r->plan))
			return -ECANCELED;
		if (check_child(r, err) < 0)
			return -ECHILD;
		if (clock_ms() >= end)
			return late(r, err);
		nap(TRY_MS);
	}
}

static int check_new(const struct run *r, const struct hyper_facts *facts, struct err *err)
{
	if (facts->state == HYPER_NEW)
		return 0;
	return err_set(err, -EBUSY, "%s at '%s' has a guest already", r->plan->hypervisor,
		       r->plan->socket);
}

/*
 * What it starts may be no descendant of COMMAND (one of a container's or a service's manager), but
 * who began before it is somebody else, who has bound the socket meanwhile.
 */
static int check_own(struct run *r, struct err *err)
{
	uint64_t start;
	pid_t pid = r->facts.pid;

	if (!r->plan->argv)
		return 0;
	if (pid > 0 && r->child_start && proc_start(pid, &start) == 0 && start < r->child_start)
		return err_set(err, -EBUSY, "process %d answers at '%s', and not what '%s' has "
			       "started: it ran before. End it, or name another --socket",
			       (int)pid, r->plan->socket, r->plan->argv[0]);
	return check_child(r, err);
}

static int start_child(struct run *r, struct err *err)
{
	const struct spawn what = {r->plan->argv, r->plan->log};
	int rc = spawn_start(&what, &r->report->child, err);

	if (rc == 0 && proc_start(r->report->child, &r->child_start) < 0)
		r->child_start = 0;
	r->report->logged = rc == 0;
	return rc;
}

/* Who listens where the one that is to be started would. */
static int name_owner(const struct run *r, struct err *err)
{
	struct hyper_target to = r->to;
	struct hyper_facts facts = {.pid = 0};
	struct hyper *hyper = NULL;
	char who[64] = "somebody";

	to.timeout_ms = RESUME_ANSWER_MS;
	if (hyper_open(r->plan->hypervisor, &to, &hyper, NULL) == 0 &&
	    hyper->ops->facts(hyper, &facts, NULL) == 0 && facts.pid > 0)
		(void)snprintf(who, sizeof(who), "process %d", (int)facts.pid);
	hyper_close(hyper);
	return err_set(err, -EBUSY, "%s listens on '%s' already: end it, name another --socket, or "
		       "give no command to have the guest in it", who, r->plan->socket);
}

/* One that was killed has left them, and where a socket is nobody can listen. */
static int clear_sockets(const struct run *r, struct err *err)
{
	struct address agent;
	int rc;

	if (r->plan->agent && address_parse(r->plan->agent, &agent, NULL) == 0 &&
	    agent.kind == ADDRESS_HYBRID)
		(void)address_clear(agent.path, NULL);
	if (!r->plan->argv)
		return 0;
	rc = address_clear(r->plan->socket, err);
	return rc == -EADDRINUSE ? name_owner(r, err) : rc;
}

static int start(struct run *r, struct err *err)
{
	const struct resume_plan *plan = r->plan;
	struct hyper_facts *facts = &r->facts;
	uint64_t began = clock_us();
	int rc;

	begins(plan, "start");
	rc = clear_sockets(r, err);
	if (rc == 0 && plan->argv)
		rc = start_child(r, err);
	if (rc == 0)
		rc = plan->argv ? await_socket(r, facts, err) : try_open(r, facts, err);
	if (rc == 0)
		rc = check_own(r, err);
	if (rc == 0)
		rc = check_new(r, facts, err);
	r->report->pid = facts->pid > 0 ? facts->pid : r->report->child;
	r->report->start_seconds = seconds_since(began);
	return rc;
}

/* One that is another user than was thought cannot connect to the pager, and says no more. */
static int explain_refusal(const struct run *r, int rc, struct err *err)
{
	unsigned uid = r->facts.uid;
	struct err why = {""};

	if (!r->plan->pager || r->plan->session.peer_uid || uid == 0 || uid == peer_of(r) ||
	    uid == (uid_t)-1)
		return rc;
	if (err)
		why = *err;
	return err_set(err, rc, "%s: it runs as user %u, who may hand over its memory with "
		       "--peer-uid %u", why.text, uid, uid);
}

static int load(struct run *r, struct err *err)
{
	const struct hyper_load what = {
		.memfile = r->plan->memfile, .state = r->plan->state,
		.uffd = r->report->session_socket, .track_dirty = true, .run = true,
	};
	uint64_t began = clock_us();
	int rc = r->plan->loads ? r->plan->loads(r->plan->ctx, r->facts.pid, err) : 0;

	if (rc < 0)
		return rc;
	begins(r->plan, "load");
	rc = r->hyper->ops->load(r->hyper, &what, err);
	r->report->load_seconds = seconds_since(began);
	if (rc == -EREMOTEIO)
		return explain_refusal(r, rc, err);
	return is_early(rc) ? explain_break(r, rc, err) : rc;
}

/* ---- the agent ---- */

static int find_agent(struct run *r, struct agent **ret, struct err *err)
{
	const struct agent_target to = {
		.address = r->plan->agent, .token_file = r->plan->token_file,
		.timeout_ms = RESUME_ANSWER_MS, .stopped = r->plan->stopped,
	};
	uint64_t end = clock_ms() + (uint64_t)r->plan->wait_ms;
	int rc;

	for (;;) {
		rc = agent_open(&to, ret, err);
		if (rc == 0 || rc == -EACCES || rc == -EPERM || rc == -EINVAL || rc == -ECANCELED)
			return rc;
		if (is_told(r->plan))
			return -ECANCELED;
		if (check_child(r, err) < 0)
			return -ECHILD;
		if (clock_ms() >= end)
			return err_wrap(err, rc, "no answer in %g s", r->plan->wait_ms / 1000.0);
		nap(ANSWER_TRY_MS);
	}
}

/* -ECANCELED and -ECHILD alone are failures. */
static int tell_agent(struct run *r, uint64_t began, struct err *err)
{
	struct agent *agent = NULL;
	struct err why = {""};
	json_t *answer = NULL;
	int rc;

	if (!r->plan->agent)
		return 0;
	begins(r->plan, "agent");
	rc = find_agent(r, &agent, &why);
	if (rc == 0) {
		r->report->answer_seconds = seconds_since(began);
		rc = agent_resumed(agent, r->plan->wait_ms, &answer, &why);
	}
	r->report->told = rc == 0;
	if (rc < 0)
		(void)snprintf(r->report->agent_error, sizeof(r->report->agent_error), "%s",
			       why.text);
	json_decref(answer);
	agent_close(agent);
	if (rc != -ECANCELED && rc != -ECHILD)
		return 0;
	if (err)
		*err = why;
	return rc;
}

static void look(struct run *r)
{
	if (r->plan->pager)
		r->report->seen = session_look(r->plan->pager, r->plan->name, &r->report->session,
					       NULL) == 0;
}

/* ---- all ---- */

static int run(struct run *r, struct err *err)
{
	bool early = starts_first(r->plan);
	uint64_t began;
	int rc = early ? start(r, err) : make_session(r, err);

	if (rc == 0 && is_told(r->plan))
		rc = -ECANCELED;
	if (rc == 0)
		rc = early ? make_session(r, err) : start(r, err);
	if (rc == 0 && is_told(r->plan))
		rc = -ECANCELED;
	began = clock_us();
	if (rc == 0)
		rc = load(r, err);
	if (rc == 0)
		rc = tell_agent(r, began, err);
	if (rc == 0)
		look(r);
	return rc;
}

void resume_undo(const struct resume_plan *plan, const struct resume_report *report)
{
	if (report->child > 0)
		spawn_kill(report->child);
	if (report->session_socket)
		(void)session_close(plan->pager, plan->name, NULL);
	if (report->logged && !report->log_told)
		(void)unlink(plan->log);
}

int resume_run(const struct resume_plan *plan, struct resume_report *ret, struct err *err)
{
	struct run r = {.plan = plan, .report = ret};
	int rc;

	*ret = (struct resume_report){.answer_seconds = -1};
	r.to = (struct hyper_target){.socket = plan->socket, .chroot = plan->chroot,
				     .stopped = plan->stopped};
	rc = run(&r, err);
	hyper_close(r.hyper);
	if (rc < 0)
		resume_undo(plan, ret);
	return rc;
}

void resume_report_fini(struct resume_report *report)
{
	free(report->session_socket);
	report->session_socket = NULL;
}
