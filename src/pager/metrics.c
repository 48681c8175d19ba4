/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/metrics.h"

#include <inttypes.h>
#include <stddef.h>

#define PREFIX "lamina_pager_"

/* Buckets of the latency that are shown: 2^n ns from about a microsecond to 17 s. */
#define BUCKET_FIRST 10
#define BUCKET_LAST 34

#define COUNTER(name, series, help) \
	{#name, offsetof(struct state_counters, name), series, help}

const struct metrics_counter metrics_counters[METRICS_COUNTERS + 1] = {
	COUNTER(faults, "faults_total", "Page faults of guests."),
	COUNTER(write_faults, "write_faults_total", "Page faults that wanted to write."),
	COUNTER(unanswered, "unanswered_faults_total", "Faults that cannot be answered here."),
	COUNTER(removes, "removes_total", "Messages that a guest removed memory."),
	COUNTER(present, "data_pages_total", "Pages installed with the memfile's bytes."),
	COUNTER(zeroed, "zero_pages_total", "Pages installed as zeros."),
	COUNTER(removed, "removed_pages_total", "Pages that guests removed for the first time."),
	COUNTER(dropped, "dropped_pages_total", "Of the removed pages, those once installed."),
	COUNTER(demand, "demand_pages_total", "Pages installed because of a fault."),
	COUNTER(ahead, "ahead_pages_total", "Pages installed by a prefetch window."),
	COUNTER(replayed, "replayed_pages_total", "Pages installed by the replay of a trace."),
	COUNTER(completed, "graduated_pages_total", "Pages installed by graduation."),
	COUNTER(completed_bytes, "graduated_bytes_total", "Bytes of these."),
	COUNTER(ahead_used, "ahead_samples_used_total",
		"Pages left out of a prefetch window as a sample that the guest came for."),
	COUNTER(ahead_unused, "ahead_samples_unused_total",
		"Pages left out of a prefetch window as a sample that it did not come for."),
	COUNTER(retries, "read_errors_total", "Reads of a memfile that failed."),
	COUNTER(poisoned, "poisoned_pages_total", "Pages whose readers get SIGBUS."),
	COUNTER(copied_bytes, "copied_bytes_total", "Bytes copied into guests."),
	COUNTER(read_bytes, "read_bytes_total", "Bytes read from memfiles."),
	COUNTER(workers, NULL, NULL),
	{NULL, 0, NULL, NULL},
};

uint64_t metrics_value(const struct state_counters *count, const struct metrics_counter *which)
{
	const void *at = (const char *)count + which->at;

	return atomic_load_explicit((const _Atomic uint64_t *)at, memory_order_relaxed);
}

const char *metrics_result_name(enum metrics_result result)
{
	static const char *const names[METRICS_RESULTS] = {
		[METRICS_GRADUATED] = "graduated",
		[METRICS_ALREADY] = "already",
		[METRICS_WAITING] = "waiting",
		[METRICS_GONE] = "gone",
		[METRICS_CANCELLED] = "cancelled",
		[METRICS_MEMORY] = "memory",
		[METRICS_UNREADABLE] = "unreadable",
		[METRICS_TIMEOUT] = "timeout",
		[METRICS_UNKNOWN] = "unknown",
		[METRICS_BUSY] = "busy",
	};

	return names[result];
}

/* ---- of a session ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * The regions are stored before the phase that says that they are there; one that
 * failed at its handoff has none, whatever stands in its head.  The counters
 * are read one after the other while they go up, so that what they come to is bounded.
 */
struct metrics_pages metrics_pages(const struct state_head *head)
{
	const struct state_counters *c = &head->count;
	struct metrics_pages p = {0};
	uint64_t installed, dropped;

	if (!head->handoff_ms || atomic_load(&head->phase) == STATE_WAITING)
		return p;
	for (uint32_t i = 0; i < head->nregions; i++)
		p.bytes += head->regions[i].size;
	p.total = head->npages;
	p.removed = least(c->removed, p.total);
	dropped = c->dropped;
	installed = c->demand + c->ahead + c->replayed + c->completed;
	p.present = least(installed - least(dropped, installed), p.total - p.removed);
	p.zero = least(installed - least(c->present, installed), p.present);
	p.missing = p.total - p.removed - p.present;
	if (p.total)
		p.present_bytes = p.present * (p.bytes / p.total);
	return p;
}

static void add_counts(struct metrics *m, const struct state_head *head)
{
	for (size_t i = 0; i < METRICS_COUNTERS; i++)
		m->count[i] += metrics_value(&head->count, &metrics_counters[i]);
	hist_merge(&m->latency, &head->latency, NULL);
}

void metrics_add(struct metrics *m, const struct state_head *head)
{
	uint32_t phase = atomic_load(&head->phase);

	if (phase < STATE_NPHASES)
		m->sessions[phase]++;
	if (phase == STATE_SERVING || phase == STATE_COMPLETING) {
		struct metrics_pages p = metrics_pages(head);

		m->bytes += p.bytes;
		m->present_bytes += p.present_bytes;
	}
	add_counts(m, head);
}

void metrics_add_past(struct metrics *m, const struct state_head *head)
{
	add_counts(m, head);
}

void metrics_merge(struct metrics *m, const struct metrics *from)
{
	for (size_t i = 0; i < STATE_NPHASES; i++)
		m->sessions[i] += from->sessions[i];
	for (size_t i = 0; i < METRICS_COUNTERS; i++)
		m->count[i] += from->count[i];
	m->bytes += from->bytes;
	m->present_bytes += from->present_bytes;
	hist_merge(&m->latency, &from->latency, NULL);
}

/* ---- the text ---- */

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

static void gauge(struct buf *out, const char *name, double value, const char *help)
{
	head(out, name, "gauge", help);
	buf_printf(out, PREFIX "%s %.15g\n", name, value);
}

static void put_pager(const struct metrics_pager *pager, struct buf *out)
{
	head(out, "info", "gauge", "Always 1; the version is a label.");
	buf_printf(out, PREFIX "info{version=\"%s\"} 1\n", pager->version);
	gauge(out, "start_time_seconds", pager->started,
	      "When this worker began, since 1970.");
	gauge(out, "draining", pager->draining, "1 if no new sessions are taken.");
	gauge(out, "api_connections", pager->connections, "Connections to the API.");
}

static void put_sessions(const struct metrics *m, struct buf *out)
{
	head(out, "sessions", "gauge", "Sessions by state.");
	for (int i = 0; i < STATE_NPHASES; i++)
		buf_printf(out, PREFIX "sessions{state=\"%s\"} %" PRIu64 "\n",
			   state_phase_name((enum state_phase)i), m->sessions[i]);
	gauge(out, "memory_bytes", (double)m->bytes, "Memory of the guests that are served.");
	gauge(out, "present_bytes", (double)m->present_bytes,
	      "What of it is installed and was not removed.");
}

static void put_counters(const struct metrics *m, struct buf *out)
{
	for (size_t i = 0; i < METRICS_COUNTERS; i++) {
		const struct metrics_counter *c = &metrics_counters[i];

		if (!c->series)
			continue;
		head(out, c->series, "counter", c->help);
		buf_printf(out, PREFIX "%s %" PRIu64 "\n", c->series, m->count[i]);
	}
}

static void put_completions(const struct metrics_pager *pager, struct buf *out)
{
	gauge(out, "completing", pager->completing, "Requests to graduate a session under way.");
	head(out, "completions_total", "counter", "Requests to graduate a session, by result.");
	for (int i = 0; i < METRICS_RESULTS; i++)
		buf_printf(out, PREFIX "completions_total{result=\"%s\"} %" PRIu64 "\n",
			   metrics_result_name((enum metrics_result)i),
			   pager->completions ? pager->completions[i] : 0);
}

static void put_latency(const struct metrics *m, struct buf *out)
{
	uint64_t all = hist_at_most(&m->latency, UINT64_MAX);

	head(out, "fault_seconds", "histogram",
	     "From reading a fault to waking the thread that waits.");
	for (unsigned bit = BUCKET_FIRST; bit <= BUCKET_LAST; bit++)
		buf_printf(out, PREFIX "fault_seconds_bucket{le=\"%.9f\"} %" PRIu64 "\n",
			   (double)(UINT64_C(1) << bit) / 1e9,
			   least(hist_at_most(&m->latency, UINT64_C(1) << bit), all));
	buf_printf(out, PREFIX "fault_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", all);
	buf_printf(out, PREFIX "fault_seconds_sum %.9f\n", (double)m->latency.sum_ns / 1e9);
	buf_printf(out, PREFIX "fault_seconds_count %" PRIu64 "\n", all);
}

void metrics_format(const struct metrics *m, const struct metrics_pager *pager, struct buf *out)
{
	put_pager(pager, out);
	put_sessions(m, out);
	put_counters(m, out);
	put_completions(pager, out);
	put_latency(m, out);
}
