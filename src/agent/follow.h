/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* follow: GET /logs: the lines of logs.h, to those who ask for them.  For the loop's thread. */
#ifndef LAMINA_AGENT_FOLLOW_H
#define LAMINA_AGENT_FOLLOW_H

#include "src/rpc/httpd.h"

#define FOLLOW_MAX 8		/* that follow at a time */
#define FOLLOW_TYPE "text/x-ndjson"

struct follow;

/* Before httpd_run().  One at a time. */
int follow_new(struct httpd *h, struct follow **ret, struct err *err);

/* Before or after the server is freed, but not while its loop runs.  NULL is fine. */
void follow_free(struct follow *f);

/* Answers the call: with the lines behind `seq`, and with those to come if it is to follow. */
void follow_start(struct follow *f, struct httpd_call *call, uint64_t seq, bool follow);

#endif
