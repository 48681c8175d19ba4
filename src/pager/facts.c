/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/facts.h"

#include <pthread.h>
#include <stdio.h>

#include "src/pager/complete.h"
#include "src/pager/metrics.h"
#include "src/pager/replay.h"
#include "src/pager/session.h"

#define TIME_LEN 40
#define SENTENCE_MAX 512

/* What is the owner's. */
struct owned {
	uint32_t phase;			/* all else is of the same moment, if known */
	bool known;
	pid_t pid;
	bool hung_up;
	bool stopped;
	size_t waiting;
	struct window window;
	bool replays;
	struct replay_progress replay;
	bool completes;
	struct complete_report complete;
};

static uint32_t phase_of(const struct session *s)
{
	return atomic_load(&s->state->head->phase);
}

static void look(struct session *s, const struct timespec *until, struct owned *ret)
{
	*ret = (struct owned){.phase = phase_of(s)};
	if (pthread_mutex_timedlock(&s->lock, until) != 0)
		return;
	ret->known = true;
	ret->phase = phase_of(s);
	ret->pid = s->pid;
	ret->hung_up = s->hung_up;
	ret->stopped = s->stopped;
	ret->waiting = s->wants.n;
	ret->window = s->window;
	ret->replays = s->replay != NULL;
	replay_progress(s, &ret->replay);
	ret->completes = complete_progress(s, &ret->complete);
	session_leave(s);
}

void facts_until(struct facts_want *want, unsigned ms)
{
	(void)clock_gettime(CLOCK_REALTIME, &want->until);
	want->until.tv_nsec += (long)ms * 1000000;
	want->until.tv_sec += want->until.tv_nsec / 1000000000;
	want->until.tv_nsec %= 1000000000;
}

static bool is_end(uint32_t phase)
{
	return phase == STATE_GRADUATED || phase == STATE_FAILED || phase == STATE_GONE;
}

const char *facts_state(const struct session *s)
{
	return state_phase_name((enum state_phase)phase_of(s));
}

/* ---- parts ---- */

/* json_object_set_new() takes a value that is NULL for want of memory as an error. */
static int put(json_t *json, const char *name, json_t *value)
{
	return json_object_set_new(json, name, value);
}

static json_t *integer(uint64_t n)
{
	return json_integer((json_int_t)n);
}

json_t *facts_sentence(const char *text)
{
	char ascii[SENTENCE_MAX];
	json_t *json = json_string(text);

	if (json)
		return json;
	(void)snprintf(ascii, sizeof(ascii), "%s", text);
	for (char *p = ascii; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return json_string(ascii);
}

static int put_time(json_t *json, const char *name, uint64_t ms)
{
	char text[TIME_LEN], seconds[32];
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	size_t n;
	int rc;

	(void)snprintf(seconds, sizeof(seconds), "%s_seconds", name);
	if (!ms || !gmtime_r(&t, &tm)) {
		rc = put(json, name, json_null());
		return rc | put(json, seconds, json_null());
	}
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text + n, sizeof(text) - n, ".%03uZ", (unsigned)(ms % 1000));
	rc = put(json, name, json_string(text));
	return rc | put(json, seconds, json_real((double)ms / 1000));
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

/* By a clock that nobody sets; an end is later than the handoff, if both are there. */
static json_t *age(const struct state_head *head)
{
	uint64_t from = head->handoff_boot_ns, until = head->ended_boot_ns;
	struct timespec now;

	if (!until) {
		(void)clock_gettime(CLOCK_BOOTTIME, &now);
		until = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	}
	return from ? json_real(until > from ? seconds(until - from) : 0) : json_null();
}

static int put_times(json_t *json, const struct state_head *head)
{
	int rc = put_time(json, "created", head->created_ms);

	rc |= put_time(json, "handoff", head->handoff_ms);
	rc |= put_time(json, "ended", head->ended_ms);
	return rc | put(json, "age_seconds", age(head));
}

static int put_pages(json_t *json, const struct state_head *head)
{
	struct metrics_pages p = metrics_pages(head);
	double percent = p.total ? 100 * (double)p.present / (double)p.total : 0;
	json_t *pages = json_object();
	int rc = put(pages, "total", integer(p.total));

	rc |= put(pages, "present", integer(p.present));
	rc |= put(pages, "zero", integer(p.zero));
	rc |= put(pages, "removed", integer(p.removed));
	rc |= put(pages, "missing", integer(p.missing));
	rc |= put(json, "pages", pages);
	rc |= put(json, "memory_bytes", integer(p.bytes));
	rc |= put(json, "resident_bytes", integer(p.present_bytes));
	return rc | put(json, "resident_percent", json_real(percent));
}

static int put_counters(json_t *json, const struct state_head *head)
{
	json_t *counters = json_object();
	int rc = 0;

	for (const struct metrics_counter *c = metrics_counters; c->name; c++)
		rc |= put(counters, c->name, integer(metrics_value(&head->count, c)));
	return rc | put(json, "counters", counters);
}

static json_t *micros(uint64_t ns)
{
	return json_real((double)ns / 1000);
}

static int put_latency(json_t *json, const struct hist *h)
{
	uint64_t n = hist_at_most(h, UINT64_MAX);
	json_t *latency = json_object();
	int rc = put(latency, "count", integer(n));

	rc |= put(latency, "mean_us", n ? micros(h->sum_ns / n) : json_null());
	rc |= put(latency, "p50_us", n ? micros(hist_quantile(h, 0.5)) : json_null());
	rc |= put(latency, "p99_us", n ? micros(hist_quantile(h, 0.99)) : json_null());
	return rc | put(json, "latency", latency);
}

static json_t *bucket(unsigned i, uint64_t n)
{
	json_t *pair = json_array();
	int rc = json_array_append_new(pair, micros(hist_edge(i)));

	rc |= json_array_append_new(pair, integer(n));
	if (rc == 0)
		return pair;
	json_decref(pair);
	return NULL;
}

static int put_histogram(json_t *json, const struct hist *h)
{
	json_t *list = json_array();
	int rc = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint64_t n = atomic_load_explicit(&h->bucket[i], memory_order_relaxed);

		if (n)
			rc |= json_array_append_new(list, bucket(i, n));
	}
	return rc | put(json, "histogram", list);
}

static json_t *region(const struct region *r)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "base_host_virt_addr", (json_int_t)r->addr,
			 "size", (json_int_t)r->size, "offset", (json_int_t)r->off, "page_size",
			 (json_int_t)r->page_size);
}

static int put_regions(json_t *json, const struct state_head *head, uint32_t phase)
{
	bool there = head->handoff_ms && phase != STATE_WAITING;
	json_t *list = json_array();
	int rc = 0;

	for (uint32_t i = 0; there && i < head->nregions; i++)
		rc |= json_array_append_new(list, region(&head->regions[i]));
	return rc | put(json, "regions", list);
}

static json_t *window(const struct owned *o, const struct state_counters *c)
{
	uint64_t used = c->ahead_used, unused = c->ahead_unused, all = used + unused;
	json_t *json = json_object();
	int rc = put(json, "bytes", o->known ? integer(o->window.len) : json_null());

	rc |= put(json, "used_percent",
		  all ? json_real(100 * (double)used / (double)all) : json_null());
	if (rc == 0)
		return json;
	json_decref(json);
	return NULL;
}

static json_t *replay(const struct owned *o)
{
	if (!o->replays)
		return json_null();
	return json_pack("{s:I, s:I, s:b}", "pages", (json_int_t)o->replay.pages, "done",
			 (json_int_t)o->replay.done, "doubted", o->replay.doubted);
}

/* Where its owner was too busy to be asked, what anybody can see of it. */
static json_t *completion(const struct owned *o, const struct state_head *head)
{
	struct complete_report r = o->complete;

	if (o->phase != STATE_COMPLETING)
		return json_null();
	if (!o->completes)
		r = (struct complete_report){
			.pages = head->count.completed, .bytes = head->count.completed_bytes,
			.zero = head->graduation.zero, .ns = head->graduation.ns,
		};
	return json_pack("{s:I, s:I, s:I, s:o, s:f, s:f, s:o}", "pages", (json_int_t)r.pages,
			 "bytes", (json_int_t)r.bytes, "zero_pages", (json_int_t)r.zero,
			 "position_bytes", o->completes ? integer(r.at) : json_null(), "seconds",
			 seconds(r.ns), "bytes_per_second",
			 r.ns ? (double)r.bytes / seconds(r.ns) : 0.0, "held",
			 o->completes ? json_boolean(r.held) : json_null());
}

static json_t *graduation(const struct state_head *head, uint32_t phase)
{
	const struct state_graduation *g = &head->graduation;

	if (phase != STATE_GRADUATED)
		return json_null();
	return json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:b}", "pages", (json_int_t)g->pages,
			 "bytes", (json_int_t)g->bytes, "zero_pages", (json_int_t)g->zero,
			 "hole_pages", (json_int_t)g->holes, "seconds", seconds(g->ns),
			 "unregister_seconds", seconds(g->unregister_ns), "durable",
			 (int)g->durable);
}

static int put_owned(json_t *json, const struct owned *o, const struct state_head *head)
{
	int rc = put(json, "pid", o->pid ? json_integer(o->pid) : json_null());

	rc |= put(json, "hung_up", o->known ? json_boolean(o->hung_up) : json_null());
	rc |= put(json, "stopped", o->known ? json_boolean(o->stopped) : json_null());
	rc |= put(json, "waiting_pages", o->known ? integer(o->waiting) : json_null());
	rc |= put(json, "window", window(o, &head->count));
	rc |= put(json, "replay", replay(o));
	rc |= put(json, "completion", completion(o, head));
	return rc | put(json, "graduation", graduation(head, o->phase));
}

/* ---- the whole ---- */

static int put_setup(json_t *json, const struct setup *setup)
{
	json_t *given = setup_to_json(setup);
	int rc = given ? json_object_update(json, given) : -1;

	json_decref(given);
	if (!setup->trace)
		rc |= put(json, "trace", json_null());
	if (!setup->record)
		rc |= put(json, "record", json_null());
	return rc;
}

static int put_state(json_t *json, const struct session *s, uint32_t phase)
{
	const struct state_head *head = s->state->head;
	bool reason = is_end(phase) && *head->reason;
	int rc = put(json, "id", json_string(s->state->head->id));

	rc |= put(json, "number", integer(s->bag));
	rc |= put(json, "state", json_string(state_phase_name((enum state_phase)phase)));
	return rc | put(json, "reason", reason ? facts_sentence(head->reason) : json_null());
}

json_t *facts_json(struct session *s, const struct facts_want *want)
{
	const struct state_head *head = s->state->head;
	json_t *json = json_object();
	struct owned owned;
	int rc;

	look(s, &want->until, &owned);
	rc = put_state(json, s, owned.phase);
	rc |= put_times(json, head);
	rc |= put_owned(json, &owned, head);
	rc |= put_pages(json, head);
	rc |= put_counters(json, head);
	rc |= put_latency(json, &head->latency);
	rc |= put_setup(json, &s->setup);
	if (want->regions)
		rc |= put_regions(json, head, owned.phase);
	if (want->histogram)
		rc |= put_histogram(json, &head->latency);
	if (rc == 0)
		return json;
	json_decref(json);
	return NULL;
}
