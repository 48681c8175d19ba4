/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent: asks lamina-agent in a guest, over one connection that is kept.
 *
 *	agent_open(&to, &a, &err)	asks GET /version
 *	agent_has(a, "collapse")	whether that one has it: an old one is not asked for it
 *	agent_post(a, &ask, &json, &err)
 *
 * Blocks.  One thread.  Errors are those of http.h and address.h, and for an answer that is none
 * of 200: -EREMOTEIO with the agent's sentence, -ENOTSUP for 404 of a path, -EACCES for 401,
 * -EBUSY for 409 and 503; -EPROTO: what answers is no agent.  After a failure the next one
 * connects anew: the agent ends what it did for a caller that hung up.
 */
#ifndef LAMINA_HOST_AGENT_H
#define LAMINA_HOST_AGENT_H

#include <jansson.h>
#include <stdbool.h>

#include "store/base/err.h"

#define AGENT_TOKEN_MAX 4096u		/* bytes of the file */

struct agent_target {
	const char *address;		/* address.h */
	const char *token_file;		/* or NULL; one that others may read is refused */
	int timeout_ms;			/* for connecting, and for the version */
	bool (*stopped)(void);		/* or NULL; asked ten times a second: -ECANCELED */
};

/* That a token's file is there, a regular one, and nobody else's to read: -EPERM. */
int agent_check_token(const char *path, struct err *err);

struct agent;

int agent_open(const struct agent_target *to, struct agent **ret, struct err *err);
void agent_close(struct agent *a);	/* NULL is fine */
/* Ends the connection: a snapshot had it in it otherwise. */
void agent_hang_up(struct agent *a);

/* What GET /version said; borrowed. */
const json_t *agent_version(const struct agent *a);
/* Whether its list of features has that word. */
bool agent_has(const struct agent *a, const char *feature);

struct agent_ask {
	const char *path;
	const json_t *body;
	int timeout_ms;
};
/* *ret, an object, is the caller's. */
int agent_post(struct agent *a, const struct agent_ask *ask, json_t **ret, struct err *err);

/*
 * After every resume: POST /resumed with the time of day, which thaws and sets the clock.  *ret is
 * the caller's.  -ENOTSUP: it is too old.
 */
int agent_resumed(struct agent *a, int timeout_ms, json_t **ret, struct err *err);

#endif
