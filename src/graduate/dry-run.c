/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/dry-run.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "src/graduate/control.h"
#include "src/graduate/peer.h"
#include "src/graduate/scan.h"
#include "src/graduate/show.h"

struct dry_run {
	const struct settings *settings;
	struct scan scan;
	struct memory memory;		/* what one that runs has under way */
	bool runs;
	bool tells;			/* it has answered */
	struct rules_decision *decisions;
};

static double wall_seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- looking ---- */

static int look_at_peer(struct dry_run *d, struct err *err)
{
	char *socket;
	int rc;

	d->runs = peer_runs(d->settings->runtime_dir);
	if (!d->runs)
		return 0;
	socket = settings_socket(d->settings);
	if (!socket)
		return err_set(err, -ENOMEM, "out of memory");
	rc = peer_ask(socket, CONTROL_ASK_MS, &d->scan, &d->memory, err);
	d->tells = rc == 0;
	free(socket);
	return rc == -ENOMEM ? rc : 0;
}

/* Of what is on its way nobody knows whose it is, if one runs and does not tell. */
static void leave_open(const struct dry_run *d)
{
	for (size_t i = 0; d->runs && !d->tells && i < d->scan.sessions.n; i++)
		if (d->decisions[i].reason == RULES_IS_COMPLETING)
			(void)snprintf(d->decisions[i].why, sizeof(d->decisions[i].why),
				       "it is being graduated, by the lamina-graduator that runs "
				       "or at somebody else's request");
}

static int decide(struct dry_run *d, struct err *err)
{
	const struct rules_limits limits = control_limits(d->settings);
	const struct rules_world world = {d->scan.sessions.v, d->scan.sessions.n, &d->memory, 0};

	d->decisions = calloc(world.n + 1, sizeof(*d->decisions));
	if (!d->decisions)
		return err_set(err, -ENOMEM, "out of memory");
	rules_decide(&limits, &world, d->decisions);
	leave_open(d);
	return 0;
}

/* ---- printing ---- */

static int print_json(const struct show *show, struct err *err)
{
	json_t *json = show_json(show);
	int rc;

	if (!json)
		return err_set(err, -ENOMEM, "out of memory");
	rc = json_dumpf(json, stdout, JSON_INDENT(2));
	json_decref(json);
	if (rc < 0 || putchar('\n') == EOF)
		return err_set(err, -EIO, "cannot write");
	return 0;
}

static void print_notes(const struct dry_run *d)
{
	const struct scan *scan = &d->scan;
	const char *dir = d->settings->runtime_dir;

	for (size_t i = 0; i < scan->npagers; i++)
		if (!scan->pagers[i].version)
			fprintf(stderr, "lamina-graduator: %s\n", scan->pagers[i].err.text);
	if (scan->npagers == 0)
		fprintf(stderr, "lamina-graduator: there is no pager below '%s'\n", dir);
	if (d->runs)
		fprintf(stderr, "lamina-graduator: another one runs for '%s'%s\n", dir, d->tells ?
			"; what it has under way is running" :
			", and does not tell what it has under way");
	if (!d->settings->enabled)
		fputs("lamina-graduator: graduation is not enabled; if it were:\n", stderr);
}

static int print(const struct dry_run *d, double scanned, bool json, struct err *err)
{
	const struct show show = {
		.enabled = d->settings->enabled,
		.scanned = scanned,
		.scan = &d->scan,
		.decisions = d->decisions,
	};

	if (json)
		return print_json(&show, err);
	print_notes(d);
	show_table(&show, stdout);
	return 0;
}

int dry_run(const struct settings *settings, bool json, struct err *err)
{
	struct dry_run d = {.settings = settings};
	double scanned = wall_seconds();
	int rc = scan_take(settings->runtime_dir, CONTROL_ASK_MS, &d.scan, err);

	if (rc < 0)
		return rc;
	rc = look_at_peer(&d, err);
	if (rc == 0)
		rc = decide(&d, err);
	if (rc == 0)
		rc = print(&d, scanned, json, err);
	free(d.decisions);
	memory_fini(&d.memory);
	scan_fini(&d.scan);
	return rc;
}
