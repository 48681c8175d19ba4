/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session has at most one completion.  It has callers, who wait without
 * owning the session, and is freed by the last who has a reference: the session (as
 * long as it is under way) and each caller.
 *
 *	serving -> completing		the first caller
 *	completing -> serving		it failed, or the last caller has gone
 *	completing -> graduated		all is populated and unregistered
 *
 * Every page is either populated, or removed, or known to be zeros, before the first
 * region is unregistered; the memfile is read in order, and nothing makes a page that
 * was passed missing again.  What somebody waits for is installed before, too.
 *
 * A worker that takes a session over in which unregistering had begun goes on
 * from there (unregister.h).
 */
#include "src/pager/complete.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/pager/bulk.h"
#include "src/pager/graduated.h"
#include "src/pager/huge.h"
#include "src/pager/install.h"
#include "src/pager/metrics.h"
#include "src/pager/session.h"
#include "src/pager/trouble.h"
#include "src/pager/unregister.h"
#include "store/base/fmt.h"
#include "store/base/log.h"
#include "store/base/thread.h"

#define PIECE_LEN (UINT64_C(16) << 10)
#define PIECE_QUIET_LEN (UINT64_C(128) << 10)	/* when no fault has come for a while */
#define LOOK_MS 50		/* how soon a caller sees that it was cancelled */

struct complete {
	/* The owner's. */
	struct bulk *bulk;
	unsigned callers;
	uint64_t begin_ns;
	uint64_t past_ns;		/* that earlier attempts have taken */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under lock. */
	unsigned refs;
	bool over;
	int code;
	struct err err;
	struct complete_report report;
};

static void complete_unref(struct complete *c)
{
	bool last;

	pthread_mutex_lock(&c->lock);
	last = --c->refs == 0;
	pthread_mutex_unlock(&c->lock);
	if (!last)
		return;
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ---- what it has done ---- */

/* Pages that are not in the guest's memory, as far as counters tell. */
static uint64_t holes_of(const struct state_head *head)
{
	struct metrics_pages p = metrics_pages(head);

	return p.missing + p.removed;
}

static uint64_t time_taken(const struct complete *c)
{
	return c->past_ns + (loop_now_ns() - c->begin_ns);
}

static void report(const struct session *s, struct complete_report *ret)
{
	const struct state_head *head = s->state->head;

	*ret = (struct complete_report){
		.pages = head->count.completed,
		.bytes = head->count.completed_bytes,
		.zero = head->graduation.zero,
		.holes = holes_of(head),
		.ns = time_taken(s->complete),
	};
	ret->at = bulk_at(s->complete->bulk, &ret->held);
}

static void report_done(const struct session *s, struct complete_report *ret)
{
	const struct state_graduation *g = &s->state->head->graduation;

	*ret = (struct complete_report){
		.pages = g->pages, .bytes = g->bytes, .zero = g->zero, .holes = g->holes,
		.at = metrics_pages(s->state->head).bytes, .ns = g->ns,
		.unregister_ns = g->unregister_ns, .durable = g->durable,
	};
}

bool complete_progress(const struct session *s, struct complete_report *ret)
{
	if (s->complete)
		report(s, ret);
	return s->complete;
}

/* ---- its end ---- */

/* Tells the callers; `s` does not know it any more. */
static void end(struct session *s, int code, const struct err *err)
{
	struct complete *c = s->complete;
	struct complete_report last;

	if (code == 0) {
		report_done(s, &last);
	} else {
		report(s, &last);
		s->state->head->graduation.ns = last.ns;
		huge_drop(s);
	}
	bulk_free(c->bulk);
	s->complete = NULL;
	pthread_mutex_lock(&c->lock);
	c->over = true;
	c->code = code;
	c->report = last;
	if (err)
		c->err = *err;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	complete_unref(c);
}

/* The session serves on, as it did before. */
static void give_up(struct session *s, int code, const struct err *err)
{
	log_warn("%s: not graduated: %s", s->setup.id, err->text);
	atomic_store(&s->state->head->phase, STATE_SERVING);
	end(s, code, err);
}

static int has_ended(const struct state_head *head, struct err *err)
{
	return err_set(err, -ESRCH, "session '%s' is %s%s%s", head->id,
		       state_phase_name((enum state_phase)head->phase),
		       *head->reason ? ": " : "", head->reason);
}

void complete_over(struct session *s)
{
	const struct state_head *head = s->state->head;
	struct err err;
	int rc = 0;

	if (!s->complete)
		return;
	if (head->phase != STATE_GRADUATED)
		rc = has_ended(head, &err);
	end(s, rc, rc < 0 ? &err : NULL);
}

/* ---- graduated ---- */

/* Beyond the pager's life. */
static int write_down(struct session *s, struct err *err)
{
	struct complete_report done;
	int rc;

	s->remember_ns = loop_now_ns();
	report_done(s, &done);
	rc = graduated_put(s->env->runtime_dir, s->setup.id, &done, err);
	if (rc == 0)
		s->state->head->graduation.durable = 1;
	return rc;
}

unsigned complete_remember(struct session *s)
{
	const struct state_head *head = s->state->head;
	uint64_t pause = UINT64_C(1000000) * COMPLETE_REMEMBER_MS;
	struct err err;

	if (head->phase != STATE_GRADUATED || head->graduation.durable)
		return 0;
	if (loop_now_ns() - s->remember_ns < pause)
		return COMPLETE_REMEMBER_MS;
	if (write_down(s, &err) < 0)
		return COMPLETE_REMEMBER_MS;
	log_info("%s: that it has graduated is written down now", s->setup.id);
	return 0;
}

void complete_forget(struct session *s)
{
	s->state->head->graduation.durable = 1;
}

static void graduated(struct session *s)
{
	const struct state_graduation *g = &s->state->head->graduation;
	char size[FMT_SIZE_LEN], time[FMT_SIZE_LEN];
	struct err err;

	if (write_down(s, &err) < 0) {
		log_warn("%s: that it has graduated ends with this pager: %s", s->setup.id,
			 err.text);
		loop_tick_in(s->env->loop, COMPLETE_REMEMBER_MS);
	}
	log_info("%s: graduated: %s populated in %s, %" PRIu64 " pages stay away", s->setup.id,
		 fmt_size(size, g->bytes), fmt_duration(time, (double)g->ns / 1e9), g->holes);
	session_end(s, STATE_GRADUATED, "");
}

/* 0 and -ESRCH: the session has ended. */
static int let_go(struct session *s, struct err *err)
{
	int rc = unregister_memory(s, err);

	if (rc == 0)
		graduated(s);
	else if (rc == -ESRCH)
		trouble_uffd(s, rc);
	return rc;
}

void complete_resume(struct session *s)
{
	struct err err;
	int rc = -ECANCELED;

	if (s->state->head->graduation.unregistering) {
		rc = let_go(s, &err);
		if (rc < 0 && rc != -ESRCH)
			log_warn("%s: not graduated: %s", s->setup.id, err.text);
	}
	if (rc < 0)
		huge_drop(s);
}

/* ---- when all is populated ---- */

static void note(struct session *s)
{
	struct state_graduation *g = &s->state->head->graduation;
	struct complete_report r;

	report(s, &r);
	g->pages = r.pages;
	g->bytes = r.bytes;
	g->zero = r.zero;
	g->holes = r.holes;
	g->ns = r.ns;
}

static enum fill_step finish(struct session *s)
{
	struct err err;
	int rc;

	if (s->wants.n)
		return FILL_DONE;
	rc = huge_finish(s, &err);
	if (rc == 0) {
		note(s);
		rc = let_go(s, &err);
	}
	if (rc < 0 && rc != -ESRCH)
		give_up(s, rc, &err);
	return FILL_DONE;
}

/* ---- installing ---- */

static bool is_missing(const struct session *s, uint64_t page)
{
	return state_is_missing(state_get(s->state, page));
}

/* The next pages of one kind that are still missing, at most `max`; 0: none, it is done. */
static uint64_t next_run(struct session *s, struct bulk_block *b, uint64_t max)
{
	uint64_t n = 0;

	while (b->at < b->n && (b->what[b->at] == BULK_SKIP || !is_missing(s, b->page + b->at)))
		b->at++;
	while (n < max && b->at + n < b->n && b->what[b->at + n] == b->what[b->at] &&
	       is_missing(s, b->page + b->at + n))
		n++;
	return n;
}

static uint64_t piece_pages(const struct session *s, const struct region *r)
{
	uint64_t len = fill_is_quiet(s) ? PIECE_QUIET_LEN : PIECE_LEN;

	return len > r->page_size ? len / r->page_size : 1;
}

/* What cannot be installed. */
static enum fill_step stuck(struct session *s, struct bulk_block *b, int rc)
{
	struct err err;

	switch (rc) {
	case -EAGAIN:
		return FILL_MORE;
	case -ENOENT:		/* unmapped: nobody will come for it */
		while (b->at < b->n && !is_missing(s, b->page + b->at))
			b->at++;
		b->at++;
		return FILL_MORE;
	case -ESRCH:
		trouble_uffd(s, rc);
		return FILL_DONE;
	case -ENOMEM:
		err_set(&err, rc, "the guest gets no more memory: %s",
			session_region(s, b->page)->page_size > 4096 ? "no huge page is free" :
			"it is at its limit, or the host has none");
		break;
	default:
		err_set(&err, rc, "the page at 0x%" PRIx64 " cannot be populated: %s",
			region_addr(session_region(s, b->page + b->at), b->page + b->at),
			strerror(-rc));
	}
	give_up(s, rc, &err);
	return FILL_DONE;
}

static enum fill_step install_some(struct session *s, struct bulk_block *b)
{
	const struct region *r = session_region(s, b->page);
	uint64_t n = next_run(s, b, piece_pages(s, r));
	struct install in = {b->page + b->at, n, b->buf + b->at * r->page_size, INSTALL_COMPLETE};
	int rc;

	if (!n) {
		bulk_done(s->complete->bulk, b);
		return FILL_MORE;
	}
	if (b->what[b->at] == BULK_ZERO)
		in.data = NULL;
	rc = install_pages(s, &in);
	if (rc < 0)
		return stuck(s, b, rc);
	if (!in.data)
		s->state->head->graduation.zero += n;
	b->at += n;
	s->state->head->graduation.ns = time_taken(s->complete);
	return FILL_MORE;
}

enum fill_step complete_piece(struct session *s)
{
	struct bulk_block *block;
	struct err err;
	int rc;

	if (!s->complete)
		return FILL_DONE;
	switch (bulk_next(s->complete->bulk, &block)) {
	case BULK_READY:
		return install_some(s, block);
	case BULK_READING:
		return FILL_DONE;
	case BULK_OVER:
		return finish(s);
	default:
		rc = bulk_error(s->complete->bulk, &err);
		give_up(s, rc, &err);
		return FILL_DONE;
	}
}

/* ---- callers ---- */

static int make(struct session *s, const struct complete_want *want, struct err *err)
{
	struct bulk_limits limits = {want->rate, want->guard};
	struct complete *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	rc = bulk_new(s, &limits, &c->bulk, err);
	if (rc < 0) {
		free(c);
		return rc;
	}
	pthread_mutex_init(&c->lock, NULL);
	thread_cond_init(&c->changed);
	c->past_ns = s->state->head->graduation.ns;
	c->refs = 1;
	c->begin_ns = loop_now_ns();
	s->complete = c;
	return 0;
}

static int begin(struct session *s, const struct complete_want *want, struct err *err)
{
	int rc;

	if (s->lent)
		return err_set(err, -EIO, "'%s' does not answer: an earlier try still waits for it",
			       s->setup.memfile);
	rc = huge_begin(s, err);
	if (rc < 0)
		return rc;
	rc = make(s, want, err);
	if (rc < 0) {
		huge_drop(s);
		return rc;
	}
	log_info("%s: graduation begins", s->setup.id);
	atomic_store(&s->state->head->phase, STATE_COMPLETING);
	session_work_later(s);
	return 0;
}

/* 0: its completion has one more caller; 1: it has graduated before; -errno. */
static int join(struct session *s, const struct complete_want *want, struct err *err)
{
	const struct state_head *head = s->state->head;
	uint32_t phase = head->phase;
	int rc = 0;

	if (phase == STATE_GRADUATED)
		return 1;
	if (phase == STATE_WAITING)
		return err_set(err, -EBUSY, "session '%s' still waits for its hypervisor",
			       head->id);
	if (s->ended)
		return has_ended(head, err);
	if (!s->complete)
		rc = begin(s, want, err);
	if (rc < 0)
		return rc;
	s->complete->callers++;
	pthread_mutex_lock(&s->complete->lock);
	s->complete->refs++;
	pthread_mutex_unlock(&s->complete->lock);
	return 0;
}

/* 1: it is over; else why the caller does not wait any longer. */
static int wait_for(struct complete *c, struct complete_call *call)
{
	uint64_t end_ns = call->want.timeout_ms ?
			  loop_now_ns() + call->want.timeout_ms * 1000000 : UINT64_MAX;
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	while (!(rc = c->over)) {
		uint64_t now = loop_now_ns(), until = now + UINT64_C(1000000) * LOOK_MS;
		struct timespec t;

		rc = atomic_load(&call->cancelled) ? -ECANCELED : now >= end_ns ? -ETIMEDOUT : 0;
		if (rc < 0)
			break;
		until = until < end_ns ? until : end_ns;
		t = (struct timespec){(time_t)(until / 1000000000), (long)(until % 1000000000)};
		(void)pthread_cond_timedwait(&c->changed, &c->lock, &t);
	}
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* The caller goes, before it was over; unless that has come in between. */
static int leave(struct session *s, struct complete *c, int code, struct err *err)
{
	const char *id = s->setup.id;
	struct err held;

	session_enter(s);
	if (s->complete != c) {
		session_leave(s);
		return 1;
	}
	if (code == -ETIMEDOUT && bulk_is_held(c->bulk, &held))
		err_set(err, code, "session '%s' did not graduate in time: %s; it serves on", id,
			held.text);
	else if (code == -ETIMEDOUT)
		err_set(err, code, "session '%s' did not graduate in time; it serves on", id);
	else
		err_set(err, code, "session '%s': graduation was cancelled; it serves on", id);
	if (--c->callers == 0) {
		give_up(s, code, err);
	} else {
		pthread_mutex_lock(&c->lock);
		report(s, &c->report);
		pthread_mutex_unlock(&c->lock);
	}
	session_leave(s);
	return code;
}

static int result_of(struct complete *c, struct complete_report *ret, struct err *err)
{
	int code;

	pthread_mutex_lock(&c->lock);
	code = c->code;
	*ret = c->report;
	if (code < 0)
		*err = c->err;
	pthread_mutex_unlock(&c->lock);
	return code;
}

int complete_session(struct session *s, struct complete_call *call, struct complete_report *ret,
		     struct err *err)
{
	struct complete *c;
	int rc;

	*ret = (struct complete_report){0};
	session_enter(s);
	rc = join(s, &call->want, err);
	c = s->complete;
	if (rc > 0)
		report_done(s, ret);
	session_leave(s);
	if (rc) {
		ret->already = rc > 0;
		return rc < 0 ? rc : 0;
	}
	rc = wait_for(c, call);
	if (rc < 0)
		rc = leave(s, c, rc, err);
	if (rc > 0) {
		rc = result_of(c, ret, err);
	} else {
		pthread_mutex_lock(&c->lock);
		*ret = c->report;
		pthread_mutex_unlock(&c->lock);
	}
	complete_unref(c);
	return rc;
}

void complete_cancel(struct complete_call *call)
{
	atomic_store(&call->cancelled, true);
}

int complete_stop(struct session *s, const char *why)
{
	struct err err;
	int rc = -ENOENT;

	session_enter(s);
	if (s->complete) {
		rc = 0;
		err_set(&err, -ECANCELED, "session '%s': %s; it serves on", s->setup.id, why);
		give_up(s, -ECANCELED, &err);
	}
	session_leave(s);
	return rc;
}
