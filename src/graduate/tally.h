/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tally: what the controller has seen and done, for Prometheus.
 *
 * Pagers name their versions themselves: what is beyond TALLY_VERSIONS of them
 * counts for the version "other".
 */
#ifndef LAMINA_GRADUATE_TALLY_H
#define LAMINA_GRADUATE_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "src/graduate/rules.h"
#include "src/graduate/scan.h"
#include "src/graduate/work.h"
#include "store/base/buf.h"

#define TALLY_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define TALLY_VERSIONS 32
#define TALLY_VERSION_LEN 64
#define TALLY_BUCKETS 14

struct tally_version {
	char name[TALLY_VERSION_LEN];	/* "": a free place */
	uint64_t pagers;		/* at the last scan */
	uint64_t sessions;
	uint64_t outcome[WORK_NOUTCOMES];
	uint64_t pages;
	uint64_t bytes;
};

/* {0} has seen nothing. */
struct tally {
	bool enabled;
	uint64_t running;
	uint64_t scans;
	uint64_t failed_scans;
	double last_scan;		/* when, in seconds since 1970; 0: never */
	double last_scan_seconds;	/* how long it took */
	uint64_t silent;		/* pagers, at the last scan */
	uint64_t ended;			/* sockets at which nobody listens, at the last scan */
	uint64_t decisions[RULES_NREASONS];
	uint64_t bucket[TALLY_BUCKETS];	/* of completions, by how long they took */
	uint64_t completions;
	double seconds;			/* of all of them */
	uint64_t reloads;
	uint64_t failed_reloads;
	bool reload_failed;		/* the last one */
	struct tally_version versions[TALLY_VERSIONS + 1];	/* the last is "other" */
};

void tally_scan(struct tally *t, const struct scan *scan);
void tally_decisions(struct tally *t, const struct rules_decision *v, size_t n);
void tally_result(struct tally *t, const struct work_result *result);

/* Appends the text, in version 0.0.4 of the format.  buf_error() says -ENOMEM. */
void tally_format(const struct tally *t, const char *version, struct buf *out);

#endif
