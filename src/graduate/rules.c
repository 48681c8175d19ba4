/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decisions are made in two passes.  The first looks at each session alone; who
 * gets through is a candidate, marked RULES_GRADUATE.  The second goes through the
 * candidates in order and takes away those for which there is no room.
 *
 * `left` is how many sessions would still be paged once all that is under way, or
 * was decided, has gone well.  A candidate that waits only for its turn is
 * taken off it too: it is as good as gone, and those behind it must not count on it.
 */
#include "src/graduate/rules.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/fmt.h"

struct room {
	const struct rules_limits *limits;
	const struct rules_world *world;
	struct rules_decision *all;
	uint64_t slots;
	uint64_t left;
};

const char *rules_word(enum rules_reason reason)
{
	static const char *const words[RULES_NREASONS] = {
		[RULES_GRADUATE] = "graduate",
		[RULES_RUNNING] = "running",
		[RULES_IS_COMPLETING] = "completing",
		[RULES_IS_WAITING] = "waiting",
		[RULES_NOT_SERVING] = "not_serving",
		[RULES_NOT_DETACHABLE] = "not_detachable",
		[RULES_NO_AGE] = "no_age",
		[RULES_TOO_YOUNG] = "too_young",
		[RULES_BACKING_OFF] = "backing_off",
		[RULES_BELOW_CEILING] = "below_ceiling",
		[RULES_MAX_CONCURRENT] = "max_concurrent",
		[RULES_SAME_GUEST] = "same_guest",
	};

	return words[reason];
}

struct memory_key rules_key(const struct rules_session *session)
{
	return (struct memory_key){session->pager->socket, session->id, session->number};
}

__attribute__((format(printf, 3, 4))) static void say(struct rules_decision *d,
						      enum rules_reason reason, const char *fmt,
						      ...)
{
	va_list ap;

	d->reason = reason;
	va_start(ap, fmt);
	(void)vsnprintf(d->why, sizeof(d->why), fmt, ap);
	va_end(ap);
}

static char *duration(char out[FMT_SIZE_LEN], uint64_t ns)
{
	return fmt_duration(out, (double)ns / 1e9);
}

/* ---- a session alone ---- */

/* False: it is not one that serves and that nobody is at. */
static bool look_at_state(struct rules_decision *d, const struct memory_entry *known)
{
	const struct rules_session *s = d->session;

	if (known && known->running)
		say(d, RULES_RUNNING, "it is being graduated");
	else if (s->state == RULES_COMPLETING)
		say(d, RULES_IS_COMPLETING, "it is being graduated at somebody else's request");
	else if (s->state == RULES_WAITING)
		say(d, RULES_IS_WAITING, "its hypervisor has not handed it over");
	else if (s->state != RULES_SERVING)
		say(d, RULES_NOT_SERVING, "it is in a state that is not known here");
	else
		return true;
	return false;
}

static bool look_at_age(struct rules_decision *d, uint64_t min_age_ns)
{
	const struct rules_session *s = d->session;
	char age[FMT_SIZE_LEN], least[FMT_SIZE_LEN];

	if (!s->has_age)
		say(d, RULES_NO_AGE, "its pager does not tell its age");
	else if (s->age_ns < min_age_ns)
		say(d, RULES_TOO_YOUNG, "it was handed over %s ago, min_session_age is %s",
		    duration(age, s->age_ns), duration(least, min_age_ns));
	else
		return true;
	return false;
}

/* False: it was tried too short a time ago, and is still there. */
static bool look_at_last_time(struct rules_decision *d, const struct room *r,
			    const struct memory_entry *known)
{
	uint64_t ago = known ? r->world->now_ns - known->ended_ns : 0;
	char text[FMT_SIZE_LEN];

	if (!known || ago >= r->limits->backoff_ns)
		return true;
	say(d, RULES_BACKING_OFF, "it was tried in vain, and is tried again in %s",
	    duration(text, r->limits->backoff_ns - ago));
	return false;
}

static void look(struct rules_decision *d, const struct room *r)
{
	const struct memory_key key = rules_key(d->session);
	const struct memory_entry *known = memory_find(r->world->memory, &key);

	if (!look_at_state(d, known))
		return;
	if (!d->session->detachable)
		say(d, RULES_NOT_DETACHABLE, "its hypervisor cannot be detached");
	else if (look_at_age(d, r->limits->min_age_ns) && look_at_last_time(d, r, known))
		d->reason = RULES_GRADUATE;
}

/* ---- what else is there ---- */

static bool is_paged(const struct rules_session *s)
{
	return s->state == RULES_SERVING || s->state == RULES_COMPLETING;
}

static bool is_leaving(const struct rules_decision *d)
{
	return d->reason == RULES_RUNNING || d->reason == RULES_IS_COMPLETING;
}

static bool is_guest(const struct rules_session *s, pid_t pid, const char *id)
{
	return (s->pid && s->pid == pid) || strcmp(s->id, id) == 0;
}

/*
 * Whether its guest is being graduated: by us, perhaps on a pager that does not
 * answer now, by others, or by a decision before this one.
 */
static bool is_busy(const struct room *r, const struct rules_decision *d)
{
	const struct memory *m = r->world->memory;

	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].running && is_guest(d->session, m->v[i].pid, m->v[i].id))
			return true;
	for (size_t i = 0; i < r->world->n; i++) {
		const struct rules_decision *other = &r->all[i];
		bool before = other < d && other->reason == RULES_GRADUATE;

		if ((before || is_leaving(other)) &&
		    is_guest(d->session, other->session->pid, other->session->id))
			return true;
	}
	return false;
}

static void admit(struct rules_decision *d, struct room *r)
{
	const struct rules_limits *l = r->limits;
	bool outdated = d->session->pager->outdated;
	char age[FMT_SIZE_LEN];

	if (!outdated && l->max_active && r->left <= l->max_active) {
		say(d, RULES_BELOW_CEILING, "not more than max_active_sessions (%" PRIu64
		    ") would be left", l->max_active);
	} else if (r->slots == 0) {
		r->left--;
		say(d, RULES_MAX_CONCURRENT, "its turn comes: max_concurrent is %" PRIu64,
		    l->max_concurrent);
	} else if (is_busy(r, d)) {
		say(d, RULES_SAME_GUEST, "another session of its guest is being graduated");
	} else {
		r->left--;
		r->slots--;
		say(d, RULES_GRADUATE, "%sit was handed over %s ago",
		    outdated ? "its pager is outdated, and " : "",
		    duration(age, d->session->age_ns));
	}
}

/* ---- all of them ---- */

static int compare_places(const struct rules_session *a, const struct rules_session *b)
{
	int rc = strcmp(a->pager->socket, b->pager->socket);

	if (rc)
		return rc;
	return a->number < b->number ? -1 : a->number > b->number;
}

static int compare(const void *va, const void *vb)
{
	const struct rules_session *a = ((const struct rules_decision *)va)->session;
	const struct rules_session *b = ((const struct rules_decision *)vb)->session;

	if (a->pager->outdated != b->pager->outdated)
		return a->pager->outdated ? -1 : 1;
	if (a->has_age != b->has_age)
		return a->has_age ? -1 : 1;
	if (a->has_age && a->age_ns != b->age_ns)
		return a->age_ns > b->age_ns ? -1 : 1;
	return compare_places(a, b);
}

void rules_decide(const struct rules_limits *limits, const struct rules_world *world,
		  struct rules_decision *ret)
{
	uint64_t running = memory_running(world->memory);
	struct room r = {.limits = limits, .world = world, .all = ret};

	if (running < limits->max_concurrent)
		r.slots = limits->max_concurrent - running;
	for (size_t i = 0; i < world->n; i++)
		ret[i] = (struct rules_decision){.session = &world->sessions[i]};
	if (world->n)
		qsort(ret, world->n, sizeof(*ret), compare);
	for (size_t i = 0; i < world->n; i++) {
		look(&ret[i], &r);
		r.left += is_paged(ret[i].session) && !is_leaving(&ret[i]);
	}
	for (size_t i = 0; i < world->n; i++)
		if (ret[i].reason == RULES_GRADUATE)
			admit(&ret[i], &r);
}
