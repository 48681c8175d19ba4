/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * committed: what a commit did, for people, in JSON, or only its id.
 */
#ifndef LAMINA_CLI_COMMITTED_H
#define LAMINA_CLI_COMMITTED_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/commit.h"

struct cli;

struct committed {
	const struct commit_result *result;
	const char *names[IMAGES_MAX];	/* as result->image */
	uint64_t size[IMAGES_MAX];	/* bytes */
	const struct digest *parent;	/* or NULL */
	const char *tag;		/* or NULL */
	const char *live;		/* the live image that it was, or NULL */
	bool moment_unknown;		/* of a live one: moment.h */
	bool dry_run;
};

/* That it is done, even if nothing can be printed. */
void committed_note(struct cli *cli, const struct committed *c);
/* What it prints as JSON; NULL: out of memory. */
json_t *committed_json(const struct committed *c);
int committed_print(struct cli *cli, const struct committed *c);

#endif
