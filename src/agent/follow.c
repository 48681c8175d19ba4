/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whoever follows has the number of the line that was sent last.  After a line was added, by
 * any thread, all of them are sent what is behind theirs; one for whom there is no room stays
 * where it is until it has taken what waits, and may have lost lines by then, which it is told.
 */
#include "src/agent/follow.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "src/agent/logs.h"

#define LIMIT (128u << 10)	/* bytes that one may leave waiting */

struct follower {
	LIST_ENTRY(follower) link;
	struct follow *all;
	struct httpd_call *call;
	uint64_t seq;
};

struct follow {
	struct httpd *h;
	LIST_HEAD(, follower) list;
	unsigned n;
	atomic_bool posted;
};

/* ---- lines ---- */

/* -ENOBUFS, -EPIPE, -ENOMEM. */
static int send_json(struct httpd_call *call, json_t *takes)
{
	char *text = takes ? json_dumps(takes, JSON_COMPACT) : NULL, *line = NULL;
	int rc = -ENOMEM, n;

	json_decref(takes);
	if (text && (n = asprintf(&line, "%s\n", text)) >= 0) {
		rc = httpd_stream_send(call, line, (size_t)n);
		free(line);
	}
	free(text);
	return rc;
}

/* What was lost is told with the line behind it, or not yet. */
static int send_next(struct follower *f, const struct logs_line *line, uint64_t lost)
{
	int rc;

	if (lost) {
		rc = send_json(f->call, json_pack("{s:I}", "lost", (json_int_t)lost));
		if (rc < 0)
			return rc;
		f->seq = line->seq - 1;
	}
	rc = send_json(f->call, logs_json(line));
	if (rc == 0)
		f->seq = line->seq;
	return rc;
}

static int flush(struct follower *f)
{
	struct logs_line line;
	uint64_t lost;
	int rc = 0;

	while (rc == 0 && logs_next(f->seq, &line, &lost))
		rc = send_next(f, &line, lost);
	return rc;
}

/* ---- those who follow ---- */

static void end(struct follower *f)
{
	LIST_REMOVE(f, link);
	f->all->n--;
	httpd_on_hangup(f->call, NULL, NULL);
	httpd_stream_on_taken(f->call, NULL, NULL);
	httpd_stream_end(f->call);
	free(f);
}

static void flush_all(void *arg)
{
	struct follow *all = arg;
	struct follower *f, *next;

	atomic_store(&all->posted, false);
	for (f = LIST_FIRST(&all->list); f; f = next) {
		next = LIST_NEXT(f, link);
		if (httpd_gone(f->call) || flush(f) == -EPIPE)
			end(f);
	}
}

/* By any thread.  If there is no memory for a post the next line brings this one along. */
static void on_added(void *arg)
{
	struct follow *all = arg;

	if (!atomic_exchange(&all->posted, true) && httpd_post(all->h, flush_all, all) < 0)
		atomic_store(&all->posted, false);
}

static void on_taken(void *arg)
{
	(void)flush(arg);
}

/* The call may not be ended in here. */
static void on_hangup(void *arg)
{
	on_added(((struct follower *)arg)->all);
}

static void go_on_with(struct follow *all, const struct follower *first)
{
	struct follower *f = malloc(sizeof(*f));

	if (!f) {
		httpd_stream_end(first->call);
		return;
	}
	*f = *first;
	LIST_INSERT_HEAD(&all->list, f, link);
	all->n++;
	httpd_on_hangup(f->call, on_hangup, f);
	httpd_stream_on_taken(f->call, on_taken, f);
}

/* All that there is: LOGS_LINES, each as long as it can be. */
static size_t whole_limit(void)
{
	return (size_t)LOGS_LINES * (LOGS_TEXT * 6 + 128);
}

void follow_start(struct follow *all, struct httpd_call *call, uint64_t seq, bool go_on)
{
	struct follower f = {.all = all, .call = call, .seq = seq};

	if (go_on && all->n == FOLLOW_MAX) {
		httpd_fail(call, 503, "%d follow the log: no more at a time", FOLLOW_MAX);
		return;
	}
	if (httpd_stream_begin(call, FOLLOW_TYPE, go_on ? LIMIT : whole_limit()) < 0) {
		httpd_fail(call, 500, "out of memory");
		return;
	}
	(void)flush(&f);
	if (go_on)
		go_on_with(all, &f);
	else
		httpd_stream_end(call);
}

int follow_new(struct httpd *h, struct follow **ret, struct err *err)
{
	struct follow *f = calloc(1, sizeof(*f));

	if (!f)
		return err_set(err, -ENOMEM, "out of memory");
	f->h = h;
	logs_on_added(on_added, f);
	*ret = f;
	return 0;
}

void follow_free(struct follow *f)
{
	struct follower *one;

	if (!f)
		return;
	logs_on_added(NULL, NULL);
	while ((one = LIST_FIRST(&f->list))) {
		LIST_REMOVE(one, link);
		free(one);
	}
	free(f);
}
