/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ring is the queue of all of them: each has the number of the line that was sent last, and
 * at most one batch of lines that it has not yet taken, whatever it is too slow for.  When it has
 * taken that it is sent what is behind, and may have lost lines by then, which it is told.  Who
 * does not follow has a line at which it ends, and is one of these until then.
 */
#include "src/agent/follow.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "src/agent/logs.h"
#include "store/base/buf.h"

#define BATCH 8192u		/* bytes; no line begins behind it */
#define LIMIT (BATCH * 4)	/* more than the headers and one batch */

struct follower {
	LIST_ENTRY(follower) link;
	struct follow *all;
	struct httpd_call *call;
	uint64_t seq;
	uint64_t until;		/* UINT64_MAX: without end */
	bool waits;		/* for the batch to be taken */
};

struct follow {
	struct httpd *h;
	LIST_HEAD(, follower) list;
	unsigned n, n_ending;	/* without end, and not */
	atomic_bool posted;
};

/* ---- lines ---- */

static void put(struct buf *batch, json_t *takes)
{
	char *text = takes ? json_dumps(takes, JSON_COMPACT) : NULL;

	json_decref(takes);
	if (text)
		buf_printf(batch, "%s\n", text);
	else
		batch->error = -ENOMEM;
	free(text);
}

static bool has_all(const struct follower *f)
{
	return f->seq >= f->until;
}

static bool put_next(struct follower *f, struct buf *batch)
{
	struct logs_line line;
	uint64_t lost;

	if (has_all(f) || !logs_next(f->seq, &line, &lost))
		return false;
	if (lost)
		put(batch, json_pack("{s:I}", "lost", (json_int_t)lost));
	put(batch, logs_json(&line));
	f->seq = line.seq;
	return true;
}

/* -ENOBUFS, -EPIPE, -ENOMEM: it cannot go on. */
static int flush(struct follower *f)
{
	struct buf batch = {0};
	int rc;

	while (!f->waits && batch.len < BATCH && put_next(f, &batch))
		;
	rc = buf_error(&batch);
	if (rc == 0 && batch.len) {
		rc = httpd_stream_send(f->call, (const char *)batch.data, batch.len);
		f->waits = true;
	}
	buf_fini(&batch);
	return rc;
}

/* ---- those who follow ---- */

static unsigned *count_of(struct follow *all, uint64_t until)
{
	return until == UINT64_MAX ? &all->n : &all->n_ending;
}

static void end(struct follower *f)
{
	LIST_REMOVE(f, link);
	--*count_of(f->all, f->until);
	httpd_on_hangup(f->call, NULL, NULL);
	httpd_stream_on_taken(f->call, NULL, NULL);
	httpd_stream_end(f->call);
	free(f);
}

static void go_on(struct follower *f)
{
	if (httpd_gone(f->call) || flush(f) < 0 || has_all(f))
		end(f);
}

static void flush_all(void *arg)
{
	struct follow *all = arg;
	struct follower *f, *next;

	atomic_store(&all->posted, false);
	for (f = LIST_FIRST(&all->list); f; f = next) {
		next = LIST_NEXT(f, link);
		go_on(f);
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
	struct follower *f = arg;

	f->waits = false;
	go_on(f);
}

/* The call may not be ended in here. */
static void on_hangup(void *arg)
{
	on_added(((struct follower *)arg)->all);
}

static void keep(const struct follower *first)
{
	struct follower *f = malloc(sizeof(*f));

	if (!f) {
		httpd_stream_end(first->call);
		return;
	}
	*f = *first;
	LIST_INSERT_HEAD(&f->all->list, f, link);
	++*count_of(f->all, f->until);
	httpd_on_hangup(f->call, on_hangup, f);
	httpd_stream_on_taken(f->call, on_taken, f);
}

void follow_start(struct follow *all, struct httpd_call *call, uint64_t seq, bool follow)
{
	uint64_t last = logs_last();
	struct follower f = {.all = all, .call = call, .seq = seq > last ? 0 : seq};
	bool body = strcmp(httpd_method(call), "HEAD") != 0;

	f.until = follow ? UINT64_MAX : last;
	if (*count_of(all, f.until) == FOLLOW_MAX) {
		httpd_fail(call, 503, "%d %s the log: no more at a time", FOLLOW_MAX,
			   follow ? "follow" : "read");
		return;
	}
	if (httpd_stream_begin(call, FOLLOW_TYPE, LIMIT) < 0) {
		httpd_fail(call, 500, "out of memory");
		return;
	}
	if (!body || flush(&f) < 0 || has_all(&f))
		httpd_stream_end(call);
	else
		keep(&f);
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
