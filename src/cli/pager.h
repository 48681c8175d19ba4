/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pager: what the verbs of `lamina pager` share: its options, how the pager is
 * asked, and what its answers look like to people.
 */
#ifndef LAMINA_CLI_PAGER_H
#define LAMINA_CLI_PAGER_H

#include <jansson.h>
#include <stdbool.h>

#include "src/cli/cli.h"

struct pager_args {
	const char *socket;
	bool force;
	/* create */
	const char *memfile;
	const char *listen;
	const char *prefetch;
	const char *trace;
	const char *record;
	const char *on_error;
	bool detachable;
	struct opt_words holds;
	const char *peer_uid;
	const char *handoff_timeout;
	/* top */
	const char *interval;
	unsigned count;
};

/*
 * Asks the pager.  0 and its answer (the caller's); or what went wrong, its own
 * sentence in cli->err: -ENOENT for 404, -EBUSY for 409, ...  `ret_status` may be NULL.
 */
struct pager_request {
	const char *method;
	const char *path;	/* percent-encoded */
	const json_t *body;	/* or NULL */
};
int pager_ask(struct cli *cli, const struct pager_request *request, json_t **ret, int *ret_status);
/* "/sessions/ID" and what follows, the id percent-encoded; to be freed, NULL: no memory. */
char *pager_path(const char *id, const char *rest);

/* All sessions, in order of their numbers: an array.  `query` begins with '&', or is "". */
int pager_list(struct cli *cli, const char *query, json_t **ret);

/* A member of a member: pager_at(session, "pages.total"); NULL if it is not there. */
json_t *pager_at(const json_t *json, const char *path);
/* Its value as a number; 0 if it is none. */
double pager_number(const json_t *json, const char *path);
/* Its text, "-" if it is none. */
const char *pager_text(const json_t *json, const char *path);

#define PAGER_CELL 32

/* "7.7 us", "12 ms", "-" when there is none (null, or not above 0). */
char *pager_micros(char out[PAGER_CELL], double us);

/* The verbs; operands are argv[0..argc-1]. */
int pager_ls(struct cli *cli, int argc, char **argv);
int pager_show(struct cli *cli, int argc, char **argv);
int pager_create(struct cli *cli, int argc, char **argv);
int pager_top(struct cli *cli, int argc, char **argv);

#endif
