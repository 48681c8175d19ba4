/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread decides.  A round is: take the completions that have ended, look at all
 * pagers, decide, start.  What is taken changes the memory, and that happens only at
 * the beginning of a round: a completion that ends while the pagers are being asked
 * still counts as running when it is decided, so that a session which a list still shows
 * is neither graduated again nor counted among those that stay.
 *
 * Rounds are scan_interval apart; one more follows the end of a completion if
 * somebody waited for that.  Of a pager nothing is remembered but what was logged of
 * it.  After a crash nothing is to be repaired: the pagers' sessions serve on, as the
 * connections are closed.
 */
#include "src/graduate/control.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "src/graduate/scan.h"
#include "src/graduate/show.h"
#include "store/base/log.h"

#define MS UINT64_C(1000000)

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static double wall_seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/*
 * What failed is not tried again before the next scan_interval, even without a
 * backoff: the round that follows its end is for the others.
 */
struct rules_limits control_limits(const struct settings *s)
{
	uint64_t backoff_ms = s->failure_backoff_ms;

	if (backoff_ms < s->scan_interval_ms)
		backoff_ms = s->scan_interval_ms;
	return (struct rules_limits){
		.min_age_ns = s->min_session_age_ms * MS,
		.backoff_ns = backoff_ms * MS,
		.max_concurrent = s->max_concurrent,
		.max_active = s->max_active_sessions,
	};
}

/*
 * control_once() takes those only that were old enough when it began, and each but
 * once: so it comes to an end.
 */
static struct rules_limits limits_now(const struct control *c, uint64_t now)
{
	struct rules_limits limits = control_limits(&c->settings);

	if (c->began_ns) {
		limits.min_age_ns += now - c->began_ns;
		limits.backoff_ns = UINT64_MAX;
	}
	return limits;
}

/* ---- what has ended ---- */

static void log_result(const struct work_result *r)
{
	bool done = r->outcome == WORK_GRADUATED || r->outcome == WORK_ALREADY;

	log_event(work_is_over(r->outcome) ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
		  done ? "graduated" : "not_graduated",
		  (struct log_field[]){
			  LOG_STR("pager", r->pager),
			  LOG_STR("version", r->version),
			  LOG_STR("session", r->id),
			  LOG_INT("number", r->number),
			  LOG_STR("result", work_word(r->outcome)),
			  LOG_REAL("seconds", r->seconds),
			  LOG_INT("pages", r->pages),
			  LOG_INT("bytes", r->bytes),
			  LOG_STR("error", done ? NULL : r->err.text),
			  {0},
		  });
}

static void take_result(struct control *c, const struct work_result *r)
{
	const struct memory_key key = {r->pager, r->id, r->number};

	memory_end(&c->memory, &key, now_ns());
	c->failures += !work_is_over(r->outcome);
	if (c->more)
		c->next_ns = 0;
	log_result(r);
	tally_result(board_lock(c->board), r);
	c->board->tally.running = work_running(c->work);
	board_unlock(c->board);
}

static void collect(struct control *c)
{
	struct work_result result;

	while (work_take(c->work, &result)) {
		take_result(c, &result);
		work_result_fini(&result);
	}
}

/* ---- what there is ---- */

/* Whether it was told by us to end with its last session, in the version that was seen last. */
static bool was_drained(const struct control *c, const char *socket)
{
	const char *seen = watch_last(&c->pagers, socket), *told = watch_last(&c->others, socket);

	return seen && told && strcmp(seen, told) == 0;
}

static void log_absent(const struct scan_pager *p, bool drained)
{
	bool ended = scan_has_ended(p);

	log_event(ended && drained ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
		  ended ? "pager_ended" : "pager_silent",
		  (struct log_field[]){LOG_STR("pager", p->socket),
				       LOG_STR("error", p->err.text), {0}});
}

static void log_pager(struct control *c, const struct scan_pager *p)
{
	const char *text = p->version ? p->version : p->err.text;
	bool drained = was_drained(c, p->socket);

	if (!watch_changed(&c->pagers, p->socket, text))
		return;
	if (p->version)
		log_event(LOG_LEVEL_INFO, "pager_answers",
			  (struct log_field[]){LOG_STR("pager", p->socket),
					       LOG_STR("version", p->version),
					       LOG_INT("sessions", p->sessions), {0}});
	else
		log_absent(p, drained);
}

static void log_pagers(struct control *c, const struct scan *scan)
{
	char *gone;

	watch_begin(&c->pagers);
	for (size_t i = 0; i < scan->npagers; i++)
		log_pager(c, &scan->pagers[i]);
	while ((gone = watch_next_old(&c->pagers))) {
		log_event(LOG_LEVEL_INFO, "pager_gone",
			  (struct log_field[]){LOG_STR("pager", gone), {0}});
		free(gone);
	}
}

/* One that says that it drains, and was told so by us, is left alone. */
static void drain(struct control *c, const struct scan_pager *p)
{
	const char *last = watch_last(&c->others, p->socket);
	struct err err = {""};
	int rc;

	if (!p->replaced || (p->draining && last && strcmp(last, p->version) == 0))
		return;
	rc = work_drain(p->socket, CONTROL_ASK_MS, &err);
	if (!watch_changed(&c->others, p->socket, rc < 0 ? err.text : p->version))
		return;
	log_event(rc < 0 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, rc < 0 ? "drain_failed" : "drain",
		  (struct log_field[]){LOG_STR("pager", p->socket), LOG_STR("version", p->version),
				       LOG_STR("error", rc < 0 ? err.text : NULL), {0}});
}

/* ---- what is done ---- */

/* The rate is the host's: as many at once as there may be keep to it together. */
static uint64_t share_of(const struct settings *s)
{
	uint64_t n = s->max_concurrent > 0 ? (uint64_t)s->max_concurrent : 1;

	return s->rate ? (s->rate + n - 1) / n : 0;
}

static void start(struct control *c, const struct rules_session *s)
{
	const struct memory_key key = rules_key(s);
	const struct work_order order = {
		.pager = s->pager->socket,
		.version = s->pager->version,
		.id = s->id,
		.number = s->number,
		.timeout_ms = c->settings.completion_timeout_ms,
		.rate = share_of(&c->settings),
		.min_available = c->settings.min_available,
		.max_pressure = c->settings.max_pressure,
	};
	struct err err = {"out of memory"};
	int rc = memory_begin(&c->memory, &key, s->pid);

	if (rc == 0) {
		rc = work_start(c->work, &order, &err);
		if (rc < 0)
			memory_end(&c->memory, &key, now_ns());
	}
	c->failures += rc < 0;
	log_event(rc < 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, rc < 0 ? "not_started" : "graduating",
		  (struct log_field[]){LOG_STR("pager", s->pager->socket),
				       LOG_STR("version", s->pager->version),
				       LOG_STR("session", s->id), LOG_INT("number", s->number),
				       LOG_REAL("age_seconds", (double)s->age_ns / 1e9),
				       LOG_STR("error", rc < 0 ? err.text : NULL), {0}});
}

static void publish(struct control *c, const struct show *show, double seconds)
{
	size_t n = show->scan->sessions.n;
	struct tally *t;

	board_decisions(c->board, show_json(show));
	t = board_lock(c->board);
	tally_scan(t, show->scan);
	c->silent = t->silent;
	tally_decisions(t, show->decisions, n);
	t->last_scan = show->scanned;
	t->last_scan_seconds = seconds;
	c->board->error[0] = '\0';
	board_unlock(c->board);
}

static void act(struct control *c, const struct rules_decision *v, size_t n)
{
	c->more = false;
	for (size_t i = 0; i < n; i++) {
		if (v[i].reason == RULES_GRADUATE)
			start(c, v[i].session);
		c->more |= v[i].reason == RULES_MAX_CONCURRENT || v[i].reason == RULES_SAME_GUEST;
	}
	board_lock(c->board)->running = work_running(c->work);
	board_unlock(c->board);
}

static struct rules_decision *decide(const struct control *c, const struct scan *scan)
{
	uint64_t now = now_ns();
	const struct rules_limits limits = limits_now(c, now);
	const struct rules_world world = {scan->sessions.v, scan->sessions.n, &c->memory, now};
	struct rules_decision *v = calloc(world.n + 1, sizeof(*v));

	if (v)
		rules_decide(&limits, &world, v);
	return v;
}

static int look_and_act(struct control *c, const struct scan *scan, struct show *show,
			struct err *err)
{
	struct rules_decision *v;

	log_pagers(c, scan);
	memory_expire(&c->memory, now_ns(), limits_now(c, now_ns()).backoff_ns);
	v = decide(c, scan);
	if (!v)
		return err_set(err, -ENOMEM, "out of memory");
	show->scan = scan;
	show->decisions = v;
	publish(c, show, wall_seconds() - show->scanned);
	for (size_t i = 0; i < scan->npagers; i++)
		drain(c, &scan->pagers[i]);
	act(c, v, scan->sessions.n);
	free(v);
	return 0;
}

static int look(struct control *c, struct err *err)
{
	struct show show = {.enabled = true, .scanned = wall_seconds()};
	struct scan scan;
	int rc = scan_take(c->settings.runtime_dir, CONTROL_ASK_MS, &scan, err);

	if (rc < 0)
		return rc;
	rc = look_and_act(c, &scan, &show, err);
	scan_fini(&scan);
	return rc;
}

static int round_of(struct control *c, struct err *err)
{
	int rc;

	c->next_ns = now_ns() + c->settings.scan_interval_ms * MS;
	rc = look(c, err);
	if (rc < 0) {
		board_lock(c->board)->failed_scans++;
		(void)snprintf(c->board->error, sizeof(c->board->error), "%s", err->text);
		board_unlock(c->board);
	}
	if (watch_changed(&c->others, "scan", rc < 0 ? err->text : "") && rc < 0)
		log_event(LOG_LEVEL_ERROR, "scan_failed",
			  (struct log_field[]){LOG_STR("error", err->text), {0}});
	return rc;
}

/* ---- settings ---- */

static void log_settings(const struct settings *s, const char *event)
{
	char *socket = settings_socket(s);

	log_event(LOG_LEVEL_INFO, event, (struct log_field[]){
		LOG_BOOL("enabled", s->enabled),
		LOG_STR("runtime_dir", s->runtime_dir),
		LOG_STR("metrics_socket", socket),
		LOG_REAL("min_session_age_seconds", (double)s->min_session_age_ms / 1e3),
		LOG_INT("max_concurrent", s->max_concurrent),
		LOG_INT("max_active_sessions", s->max_active_sessions),
		LOG_REAL("scan_interval_seconds", (double)s->scan_interval_ms / 1e3),
		LOG_REAL("completion_timeout_seconds", (double)s->completion_timeout_ms / 1e3),
		LOG_REAL("failure_backoff_seconds", (double)s->failure_backoff_ms / 1e3),
		LOG_INT("rate", s->rate),
		LOG_INT("min_available", s->min_available),
		LOG_REAL("max_pressure", s->max_pressure),
		{0},
	});
	free(socket);
}

static void show_settings(struct control *c, const char *event)
{
	const struct settings *s = &c->settings;
	const struct show nothing = {.enabled = s->enabled};

	board_lock(c->board)->enabled = s->enabled;
	board_unlock(c->board);
	if (!s->enabled || !c->board->decisions)
		board_decisions(c->board, show_json(&nothing));
	log_settings(s, event);
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void swap(char **a, char **b)
{
	char *old = *a;

	*a = *b;
	*b = old;
}

/* The lock and the socket are where they are: these two keys need another start. */
static void keep_places(struct control *c, struct settings *fresh)
{
	bool dir = !c->runtime_dir && !same(c->settings.runtime_dir, fresh->runtime_dir);

	if (dir || !same(c->settings.metrics_socket, fresh->metrics_socket))
		log_warn("another runtime_dir or metrics_socket counts after a restart only");
	swap(&c->settings.runtime_dir, &fresh->runtime_dir);
	swap(&c->settings.metrics_socket, &fresh->metrics_socket);
}

static void reload(struct control *c)
{
	struct settings fresh;
	struct err err;
	int rc = settings_load(c->config, &fresh, &err);
	struct tally *t = board_lock(c->board);

	t->reloads++;
	t->failed_reloads += rc < 0;
	t->reload_failed = rc < 0;
	board_unlock(c->board);
	if (rc < 0) {
		log_event(LOG_LEVEL_ERROR, "config_refused",
			  (struct log_field[]){LOG_STR("error", err.text), {0}});
		return;
	}
	keep_places(c, &fresh);
	settings_fini(&c->settings);
	c->settings = fresh;
	c->next_ns = 0;
	show_settings(c, "config_loaded");
}

/* ---- signals, and the end of completions ---- */

static void take_signals(struct control *c)
{
	struct signalfd_siginfo info;

	while (read(c->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGHUP)
			c->stop = true;
		else if (!c->began_ns)
			reload(c);
	}
}

/* Until a signal, the end of a completion, or `until_ns`; 0: no time. */
static void wait_for(struct control *c, uint64_t until_ns)
{
	struct pollfd fds[] = {
		{.fd = c->signals, .events = POLLIN},
		{.fd = work_fd(c->work), .events = POLLIN},
	};
	uint64_t now = now_ns(), left = until_ns > now ? until_ns - now : 0;
	struct timespec timeout = {(time_t)(left / 1000000000), (long)(left % 1000000000)};

	(void)ppoll(fds, 2, until_ns ? &timeout : NULL, NULL);
	take_signals(c);
	collect(c);
}

/* ---- from outside ---- */

int control_init(struct control *c, struct settings *settings, struct board *board,
		 struct err *err)
{
	sigset_t set;
	int rc = work_new(&c->work, err);

	if (rc < 0)
		return rc;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	c->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (c->signals < 0) {
		rc = err_sys(err, -errno, "cannot make a signalfd");
		work_free(c->work);
		return rc;
	}
	c->board = board;
	c->settings = *settings;
	*settings = (struct settings){0};
	return 0;
}

void control_fini(struct control *c)
{
	work_free(c->work);
	close(c->signals);
	memory_fini(&c->memory);
	watch_fini(&c->pagers);
	watch_fini(&c->others);
	settings_fini(&c->settings);
}

static void end(struct control *c)
{
	size_t running = work_running(c->work);

	work_cancel(c->work);
	while (work_running(c->work) > 0) {
		struct pollfd fd = {.fd = work_fd(c->work), .events = POLLIN};

		(void)poll(&fd, 1, -1);
		collect(c);
	}
	log_event(LOG_LEVEL_INFO, "stop",
		  (struct log_field[]){LOG_INT("cancelled", running), {0}});
}

void control_run(struct control *c)
{
	struct err err;

	show_settings(c, "start");
	while (!c->stop) {
		if (c->settings.enabled && now_ns() >= c->next_ns)
			(void)round_of(c, &err);
		wait_for(c, c->settings.enabled ? c->next_ns : 0);
	}
	end(c);
}

int control_once(struct control *c, struct err *err)
{
	int rc;

	c->began_ns = now_ns();
	do {
		rc = round_of(c, err);
		if (work_running(c->work) == 0)
			return rc;
		wait_for(c, 0);
	} while (!c->stop);
	end(c);
	return err_set(err, -EINTR, "ended by a signal");
}
