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
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/pager/api.h"
#include "src/pager/dispatch.h"
#include "src/pager/keep.h"
#include "src/pager/loop.h"
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

/* ---- what the link calls ---- */

/* Takes `fd`.  A tally that cannot be read costs no guest anything: another one is begun. */
static void take_own(struct worker *w, enum keep_role role, int fd)
{
	struct err err;

	if (role == KEEP_API && w->api_fd < 0) {
		w->api_fd = fd;
		return;
	}
	if (role == KEEP_TALLY) {
		if (sessions_adopt_tally(w->sessions, fd, &err) == 0)
			return;
		log_error("%s: a drain is forgotten, and counters begin anew", err.text);
	}
	(void)close(fd);
}

static int on_bag(void *ctx, struct keep_msg *bag)
{
	struct worker *w = ctx;
	struct err err;

	if (bag->bag == KEEP_BAG_PAGER) {
		for (unsigned i = 0; i < bag->n; i++)
			take_own(w, (enum keep_role)bag->role[i], bag->fd[i]);
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
	log_error("the keeper is gone and no other could be started: "
		  "sessions end with this process");
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
	rc = loop_new(args->threads, &dispatch_ops, w->sessions, &w->env.loop, err);
	if (rc == 0)
		rc = keep_link_new(args->link, &hooks, &w->env.link, err);
	if (rc == 0 && w->api_fd < 0)
		rc = err_set(err, -EINVAL, "the keeper has no socket for the API");
	return rc;
}

static int serve_api(struct worker *w, struct err *err)
{
	struct api *api = NULL;
	int rc = api_new(w->sessions, &w->env, &api, err);

	if (rc == 0)
		rc = httpd_new(w->api_fd, api_routes, api, &w->httpd, err);
	if (rc == 0)
		rc = api_begin(api, w->httpd, err);
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
