/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker's threads: the main one serves the API (httpd), the loop's serve
 * faults, the link's listens to the keeper.
 *
 * At the start the order is: the loop, so that there is somebody to serve; the link,
 * whose bags become sessions; then these are watched, each is first brought up
 * to date by the thread that gets it (serve_recover()); then the API.
 *
 * On `quit` the process ends in the middle of whatever it does: that is
 * allowed at any time, and the state says how far it came.  Only recordings are written
 * before, as far as nobody is at their sessions.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/pager/api.h"
#include "src/pager/care.h"
#include "src/pager/handoff.h"
#include "src/pager/keep.h"
#include "src/pager/loop.h"
#include "src/pager/serve.h"
#include "src/pager/sessions.h"
#include "src/pager/touch.h"
#include "src/pager/worker.h"
#include "src/rpc/httpd.h"
#include "store/base/log.h"

#define PATIENCE_MS 5000	/* of an unreadable page, before the session's policy */

struct worker {
	struct session_env env;
	struct sessions *sessions;
	struct httpd *httpd;
	int api_fd;
};

/* ---- what the loop calls ---- */

static void on_uffd(struct session *s, struct hand *hand)
{
	if (!session_enter_told(s))
		return;
	if (!s->ended)
		serve_turn(s, hand);
	session_leave(s);
}

static void on_other(struct session *s, enum session_fd which)
{
	session_enter(s);
	if (s->ended)
		;
	else if (which == SESSION_LISTEN)
		handoff_accept(s);
	else if (which == SESSION_CONN && !session_serves(s))
		handoff_receive(s);
	else
		care_hang_up(s);
	session_leave(s);
}

static void on_ready(void *ctx, struct hand *hand, uint64_t tag, uint32_t events)
{
	struct worker *w = ctx;
	struct session *s = sessions_by_bag(w->sessions, session_tag_bag(tag));

	(void)events;
	if (!s)
		return;
	if (session_tag_fd(tag) == SESSION_UFFD)
		on_uffd(s, hand);
	else
		on_other(s, session_tag_fd(tag));
	session_unref(s);
}

static struct session *session_of(struct loop_job *job)
{
	size_t at = job->urgent ? offsetof(struct session, rescue) : offsetof(struct session, work);

	return (struct session *)((char *)job - at);
}

static void on_work(void *ctx, struct hand *hand, struct loop_job *job)
{
	struct session *s = session_of(job);
	bool urgent = job->urgent;

	(void)ctx;
	session_enter(s);
	if (!s->ended && session_serves(s)) {
		if (urgent)
			serve_turn(s, hand);
		else
			serve_work(s, hand);
	}
	session_leave(s);
	session_unref(s);
}

static void on_tick(void *ctx, struct hand *hand)
{
	struct worker *w = ctx;
	unsigned ms = sessions_tick(w->sessions);

	(void)hand;
	if (ms)
		loop_tick_in(w->env.loop, ms);
}

static const struct loop_ops ops = {on_ready, on_work, on_tick};

/* ---- what the link calls ---- */

static int on_bag(void *ctx, struct keep_msg *bag)
{
	struct worker *w = ctx;
	struct err err;

	if (bag->bag == KEEP_BAG_PAGER) {
		for (unsigned i = 0; i < bag->n; i++) {
			if (bag->role[i] == KEEP_API && w->api_fd < 0)
				w->api_fd = bag->fd[i];
			else
				(void)close(bag->fd[i]);
		}
		return 0;
	}
	/* One that cannot be taken up must not cost the others. */
	if (sessions_adopt(w->sessions, bag, &err) < 0)
		log_error("a session cannot be taken up: %s", err.text);
	return 0;
}

static void on_quit(void *ctx)
{
	struct worker *w = ctx;
	size_t n = 0;
	struct session **v = sessions_all(w->sessions, &n);

	for (size_t i = 0; v && i < n; i++)
		if (pthread_mutex_trylock(&v[i]->lock) == 0)
			(void)touch_flush(v[i]->touch);
	_exit(0);
}

static void on_end(void *ctx)
{
	(void)ctx;
	log_error("the keeper is gone and no other could be started: sessions end with this process");
}

/* ---- */

/* Five descriptors a session, some of them twice. */
static void raise_limits(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int open_all(struct worker *w, const struct worker_args *args, struct err *err)
{
	struct keep_hooks hooks = {w, on_bag, on_quit, on_end};
	int rc;

	w->sessions = sessions_new(&w->env);
	if (!w->sessions)
		return err_set(err, -ENOMEM, "out of memory");
	rc = loop_new(args->threads, &ops, w, &w->env.loop, err);
	if (rc == 0)
		rc = keep_link_new(args->link, &hooks, &w->env.link, err);
	if (rc == 0 && w->api_fd < 0)
		rc = err_set(err, -EINVAL, "the keeper has no socket for the API");
	return rc;
}

static int serve_api(struct worker *w, struct err *err)
{
	struct api *api = NULL;
	int rc = api_new(w->sessions, w->env.runtime_dir, &api, err);

	if (rc == 0)
		rc = httpd_new(w->api_fd, api_routes, api, &w->httpd, err);
	if (rc == 0)
		rc = keep_serving(w->env.link);
	if (rc == 0)
		rc = httpd_run(w->httpd, err);
	api_free(api);
	httpd_free(w->httpd);
	return rc;
}

int worker_main(const struct worker_args *args)
{
	struct worker w = {
		.env = {.runtime_dir = args->runtime_dir, .patience_ms = PATIENCE_MS},
		.api_fd = -1,
	};
	struct err err = {""};
	int rc;

	raise_limits();
	rc = open_all(&w, args, &err);
	if (rc == 0) {
		sessions_start(w.sessions);
		rc = serve_api(&w, &err);
	}
	if (rc < 0)
		log_error("%s", err.text);
	return rc < 0;
}
