/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/live-layer.h"

#include "src/cli/cli.h"
#include "src/cli/committed.h"
#include "store/live.h"

#define COMMIT_TRIES 10

/* live_commit() has images in the order of the row's, too. */
static struct committed committed_of(const struct live_layer *l)
{
	const struct live_row *row = &l->taken.row;
	struct committed done = {
		.result = &l->result, .parent = row->has_base ? &row->base : NULL,
		.tag = l->o.tag, .live = row->name, .dry_run = l->o.dry_run,
		.moment_unknown = l->taken.moment_unknown,
	};

	for (unsigned i = 0; i < row->nimages; i++) {
		done.names[i] = row->image[i];
		done.size[i] = l->taken.size[i];
	}
	return done;
}

int live_layer_tell(struct cli *cli, const struct live_layer *layer)
{
	struct committed done = committed_of(layer);

	committed_note(cli, &done);
	return committed_print(cli, &done);
}

json_t *live_layer_json(const struct live_layer *layer)
{
	struct committed done = committed_of(layer);

	return committed_json(&done);
}

static int seal(struct cli *cli, struct live_layer *l)
{
	int rc = sealing_begin(cli, l->o.name, l->o.lock_wait_ms, &l->sealing);

	l->o.upto = l->sealing.upto;
	return rc;
}

/* `all`: no part of what was there at the seal is left to the next layer. */
static int commit_sealed(struct cli *cli, struct live_layer *l, bool all)
{
	struct live_commit_opts o = l->o;
	int rc;

	o.progress = cli_progress(cli);
	o.one_moment = all && o.one_moment;
	rc = live_commit(cli->store, &o, &l->result, &l->taken, &cli->err);
	meter_end(&cli->meter);
	sealing_end(cli, l->o.name, l->o.lock_wait_ms, rc == 0 || rc == -EALREADY, &l->sealing);
	return rc;
}

int live_layer_commit_sealed(struct cli *cli, struct live_layer *l)
{
	return commit_sealed(cli, l, true);
}

void live_layer_end(struct live_layer *l)
{
	aside_end(&l->sealing.ask);
}

/* Above LIVE_DEPTH_MAX nothing more is sealed: 1. */
static int is_full(struct cli *cli, const struct live_layer *l)
{
	struct live_row row;
	int rc = live_row_get(cli->store, l->o.name, &row, &cli->err);

	return rc < 0 ? rc : l->o.upto >= row.first + LIVE_DEPTH_MAX;
}

/* Those are committed first. */
int live_layer_seal(struct cli *cli, struct live_layer *l)
{
	int rc = seal(cli, l);

	if (rc < 0 || l->o.dry_run)
		return rc;
	rc = is_full(cli, l);
	if (rc <= 0)
		return rc;
	rc = commit_sealed(cli, l, false);
	return rc == 0 || rc == -EALREADY ? seal(cli, l) : rc;
}

static int commit_once(struct cli *cli, struct live_layer *l)
{
	int rc = seal(cli, l);

	if (rc == 0)
		rc = is_full(cli, l);
	return rc < 0 ? rc : commit_sealed(cli, l, rc == 0);
}

/* Who commits at the same time may take what we sealed; our tag is for a layer of ours. */
static int commit_until_ours(struct cli *cli, struct live_layer *l)
{
	int rc = commit_once(cli, l);

	for (int i = 1; rc == -EALREADY && i < COMMIT_TRIES; i++)
		rc = commit_once(cli, l);
	return rc;
}

/* Above LIVE_DEPTH_MAX nothing more is sealed: what was written since comes with the next one. */
int live_layer_commit(struct cli *cli, struct live_layer *l)
{
	int rc = commit_until_ours(cli, l);

	if (rc == 0 && !l->o.dry_run && l->o.upto >= l->taken.row.first + LIVE_DEPTH_MAX)
		rc = commit_until_ours(cli, l);
	return rc;
}
