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
#include "src/rpc/pagers.h"

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
	/* graduate */
	bool all;
	const char *rate;
	const char *min_available;
	const char *max_pressure;
	const char *timeout;
	/* drain */
	bool exit;
	/* top */
	const char *interval;
	const char *count;
	/* upgrade */
	bool takeover;
	const char *program;

	struct pagers found;	/* of pager_found() */
};

#define PAGER_FIND_MS 3000	/* that a pager has to say that it is one */
#define PAGER_READ_MS 10000	/* and to answer what changes nothing; http.h's for the rest */

/* Below which directory pagers are looked for. */
int pager_root(struct cli *cli, const char **ret);
/*
 * The pager of --socket or of `socket` in lamina.conf, alone and not asked; else all below the
 * runtime root (pagers.h), and if there are none, the place of one.  So there is at least
 * one.  They are looked for once; pager_forget() looks again.
 */
int pager_found(struct cli *cli, const struct pagers **ret);
void pager_forget(struct cli *cli);
/* How many have answered: the first ones. */
size_t pager_answering(const struct pagers *pagers);
/* Of several, one that lives and did not answer, or NULL. */
const struct pagers_entry *pager_silent(const struct pagers *pagers);
/* The error of one that did not answer. */
int pager_silence(struct cli *cli, const struct pagers_entry *pager);

/*
 * Which of several pagers has a session at `path` ("/sessions/ID", and what may follow) that
 * has not ended; NULL: none, or there is but one pager.  -EEXIST, with a sentence: more than one
 * have.
 */
int pager_owner(struct cli *cli, const struct pagers *pagers, const char *path,
		const struct pagers_entry **ret);

/*
 * Asks the pager.  0 and its answer (the caller's); or what went wrong, its own
 * sentence in cli->err: -ENOENT for 404, -EBUSY for 409, ...  `ret_status` may be NULL.
 *
 * Of several pagers below the root that one which has the session when the path names one
 * (pager_owner()), else the newest that knows it; and the newest for a session that is to be
 * made.  Other requests want --socket then.
 */
struct pager_request {
	const char *method;
	const char *path;	/* percent-encoded */
	const json_t *body;	/* or NULL */
};
int pager_ask(struct cli *cli, const struct pager_request *request, json_t **ret, int *ret_status);
/* The same of the one at `socket`. */
int pager_ask_at(struct cli *cli, const char *socket, const struct pager_request *request,
		 json_t **ret, int *ret_status);
/* "/sessions/ID" and what follows, the id percent-encoded; to be freed, NULL: no memory. */
char *pager_path(const char *id, const char *rest);

/*
 * All sessions, in order of their numbers: an array.  `query` begins with '&', or is "".
 * Of several pagers those that answer, the newest first, and each session says its
 * pager's "version" and, as "pager", its socket.
 */
int pager_list(struct cli *cli, const char *query, json_t **ret);
int pager_list_at(struct cli *cli, const char *socket, const char *query, json_t **ret);

/* A member of a member: pager_at(session, "pages.total"); NULL if it is not there. */
json_t *pager_at(const json_t *json, const char *path);
/* Its value as a number; 0 if it is none. */
double pager_number(const json_t *json, const char *path);
/* Its text, "-" if it is none. */
const char *pager_text(const json_t *json, const char *path);

#define PAGER_CELL 32

/* "7.7 us", "12 ms", "-" when there is none (null, or not above 0). */
char *pager_micros(char out[PAGER_CELL], double us);
/* Its state; "completing 43 %" while it graduates. */
char *pager_state(char out[PAGER_CELL], const json_t *session);

/* `lamina pager upgrade --takeover` of what answers; adds an object a pager to `report`. */
int pager_takeover(struct cli *cli, const struct pagers *pagers, json_t *report);
/*
 * What upgrades share.  A failure is told, and the others go on; what is returned is the last
 * one's.  `text` is printed, `item` (taken) goes to the report.
 */
int pager_failed(struct cli *cli, int before, int rc);
int pager_report(struct cli *cli, json_t *report, json_t *item, const char *text);

/* The verbs; operands are argv[0..argc-1]. */
int pager_ls(struct cli *cli, int argc, char **argv);
int pager_show(struct cli *cli, int argc, char **argv);
int pager_create(struct cli *cli, int argc, char **argv);
/* --peer-uid: a number, or the name of a user here.  CLI_USAGE. */
int pager_create_peer(struct cli *cli, const char *user, int64_t *ret);
int pager_graduate(struct cli *cli, int argc, char **argv);
int pager_top(struct cli *cli, int argc, char **argv);
int pager_upgrade(struct cli *cli, int argc, char **argv);

#endif
