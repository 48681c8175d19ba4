/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live-layer: what a live image has become, as a layer: sealed by whoever has it open
 * (sealing.h), then committed (store/live-commit.h).
 */
#ifndef LAMINA_CLI_LIVE_LAYER_H
#define LAMINA_CLI_LIVE_LAYER_H

#include <jansson.h>

#include "src/cli/sealing.h"
#include "store/live-commit.h"

struct cli;

struct live_layer {
	struct live_commit_opts o;	/* the caller's, but for upto and progress */
	struct sealing sealing;		/* ours */
	struct live_taken taken;	/* out */
	struct commit_result result;	/* out */
};

/*
 * The store is open.  Where signals are caught (cli_catch_all()) one ends the wait for another
 * writer, too.  As live_commit(), sealing_begin().
 */
int live_layer_commit(struct cli *cli, struct live_layer *layer);

/*
 * The same in two steps: what is written after the first is not in the layer.  The second is for
 * what was sealed, once; live_layer_end() for what was not committed.  -EALREADY: somebody else
 * has committed that.
 */
int live_layer_seal(struct cli *cli, struct live_layer *layer);
int live_layer_commit_sealed(struct cli *cli, struct live_layer *layer);
void live_layer_end(struct live_layer *layer);

/* Prints it, and notes that it is done. */
int live_layer_tell(struct cli *cli, const struct live_layer *layer);
/* What it prints as JSON; NULL: out of memory. */
json_t *live_layer_json(const struct live_layer *layer);

#endif
