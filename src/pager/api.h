/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * api: what lamina-pager answers over HTTP; lamina-pager-api(7) is its manual.
 * Handlers run on the httpd's thread and do not block: what may (a memfile behind
 * a daemon) is done on a thread of the api's own, which posts the answer.
 */
#ifndef LAMINA_PAGER_API_H
#define LAMINA_PAGER_API_H

#include "src/pager/sessions.h"
#include "src/rpc/httpd.h"

struct api;

/* Everything is borrowed. */
int api_new(struct sessions *sessions, const struct session_env *env, struct api **ret,
	    struct err *err);
/* Before httpd_run(): looks for the end of a pager that is to exit. */
int api_begin(struct api *api, struct httpd *httpd, struct err *err);
/*
 * Between httpd_run() and httpd_free().  Does not wait for threads that are
 * under way: they go on using `sessions` and `env`, and their answers
 * go nowhere.
 */
void api_free(struct api *api);

/* Their context is the api; ends with {0}. */
extern const struct httpd_route api_routes[];

#endif
