/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pause-settings: what a pause is to do: [pause] and [reclaim] of lamina.conf(5), over which
 * the sections [guest GLOB] win that fit the guest, over which what was asked for wins.
 */
#ifndef LAMINA_HOST_PAUSE_SETTINGS_H
#define LAMINA_HOST_PAUSE_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>

#include "store/base/err.h"

#define PAUSE_DRAIN_MAX_MS 1500
#define PAUSE_RECLAIM_MAX_MS 600000	/* of one step */

struct conf;

/* What was asked for; NULL and false: nothing was said. */
struct pause_wishes {
	bool bare;		/* no step before the pause, whatever lamina.conf says */
	const char *reclaim;	/* JSON: POST /reclaim's body */
	bool collapse;
	const char *freeze;	/* a cgroup; "": none */
	const char *drain;	/* ms */
	bool leave;
	const char *metrics_file;	/* "": none */
};

struct pause_settings {
	json_t *reclaim;	/* what the agent is asked for; NULL: nothing is to be done */
	int reclaim_ms;		/* the sum of its caps */
	bool compacts;		/* compact_memory is among them */
	bool no_compaction;	/* lamina.conf says so: compact_memory = 0 */
	bool collapse;
	char *freeze;		/* or NULL */
	int drain_ms;		/* 0: none */
	bool leave;
	char *metrics_file;	/* or NULL */
	int agent_timeout_ms;
	int collapse_timeout_ms;
	int freeze_timeout_ms;
	int snapshot_timeout_ms;	/* 0: without end */
};

/*
 * -EINVAL: with file, line and key, or with the option, of what cannot be.  `conf` may be NULL.
 * pause_settings_fini() after success.
 */
int pause_settings_load(const struct conf *conf, const char *guest,
			const struct pause_wishes *wishes, struct pause_settings *ret,
			struct err *err);
void pause_settings_fini(struct pause_settings *s);

/*
 * Of what was asked for that which is to be done: steps whose value is a number of at least 1, at
 * most PAUSE_RECLAIM_MAX_MS, and the order.  0 and NULL: nothing is.  -EINVAL: it is no object,
 * or has a member that is not known, or an order as reclaim-order.h refuses it.
 */
int pause_settings_reclaim(const json_t *asked, json_t **ret, struct err *err);

#endif
