/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * metrics: what all sessions of a pager come to, for Prometheus.
 *
 * There are no series of single sessions: their number has no bound, and their
 * names come and go.  GET /sessions tells of each.
 */
#ifndef LAMINA_PAGER_METRICS_H
#define LAMINA_PAGER_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "src/pager/hist.h"
#include "src/pager/state.h"
#include "store/base/buf.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Of struct state_counters, in its order; ends with a NULL name. */
struct metrics_counter {
	const char *name;	/* in the API's JSON */
	size_t at;		/* in struct state_counters */
	const char *series;	/* for Prometheus, without prefix; NULL: no series of its own */
	const char *help;
};

#define METRICS_COUNTERS 20

extern const struct metrics_counter metrics_counters[METRICS_COUNTERS + 1];

uint64_t metrics_value(const struct state_counters *count, const struct metrics_counter *which);

/* Of one session, from its counters. */
struct metrics_pages {
	uint64_t total;
	uint64_t present;	/* installed, and not removed since */
	uint64_t zero;		/* of these, zeros; at most, once some were removed */
	uint64_t removed;	/* by the guest */
	uint64_t missing;	/* the others */
	uint64_t bytes;		/* of all of them */
	uint64_t present_bytes;
};

/* All zeros before the handoff.  Any thread. */
struct metrics_pages metrics_pages(const struct state_head *head);

/* What requests to complete a session came to. */
enum metrics_result {
	METRICS_GRADUATED,
	METRICS_ALREADY,	/* it had graduated before */
	METRICS_WAITING,
	METRICS_GONE,
	METRICS_CANCELLED,
	METRICS_MEMORY,
	METRICS_UNREADABLE,
	METRICS_TIMEOUT,
	METRICS_UNKNOWN,
	METRICS_BUSY,		/* too many at once */
	METRICS_RESULTS
};

const char *metrics_result_name(enum metrics_result result);

/* {0} is empty. */
struct metrics {
	uint64_t sessions[STATE_NPHASES];
	uint64_t bytes;			/* of the guests that are served now */
	uint64_t present_bytes;
	uint64_t count[METRICS_COUNTERS];
	struct hist latency;
};

/* A session that there is.  Any thread may have it meanwhile. */
void metrics_add(struct metrics *m, const struct state_head *head);
/* One that is being forgotten: what it counted stays. */
void metrics_add_past(struct metrics *m, const struct state_head *head);
/* All of `from`. */
void metrics_merge(struct metrics *m, const struct metrics *from);

struct metrics_pager {
	const char *version;
	double started;		/* seconds since 1970 */
	bool draining;
	unsigned connections;	/* to the API */
	unsigned completing;	/* requests to complete a session under way */
	const uint64_t *completions;	/* METRICS_RESULTS of them; NULL: none at all */
};

/* Appends the text, in version 0.0.4 of the format.  buf_error() says -ENOMEM. */
void metrics_format(const struct metrics *m, const struct metrics_pager *pager, struct buf *out);

#endif
