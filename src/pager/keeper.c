/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three processes, each a fork of the one before: the keeper, the *worker*, and
 * the *spare*, which is asleep and has one socket, whose other end the
 * worker has.  All descriptors that matter are in the keeper's table and, as
 * copies, in the worker's link; what counts as kept is in both.
 *
 * What dies, and what is left:
 *
 *   the worker		The keeper hears what the worker still said (a userfaultfd that it had
 *			put, for one), then forks another with all bags.
 *   the keeper		The worker's link calls the spare, which becomes the keeper and gets
 *			all from the link.  The worker serves on meanwhile.  The new keeper
 *			makes a new spare before it does anything else.
 *   the spare		The keeper makes another and gives its socket to the worker.
 *   worker and keeper	within the same few milliseconds, or a keeper while it has no worker
 *			(a restart, a takeover): the descriptors are lost to us.  The guests'
 *			memory is not: hypervisors have their userfaultfd too, so that
 *			pages do not turn to zeros; the guests hang.  What systemd stored comes
 *			back with the next start.
 *
 * Order, so that no single death loses anything:
 *   - a new worker gets the spare's socket before the first bag;
 *   - an old worker is dead (its pidfd says so; SIGKILL after KEEP_QUIT_MS)
 *     before another one, or a new keeper, gets what it had: no two processes ever
 *     read one userfaultfd;
 *   - at a takeover the bags stay open here until the new keeper has said YES,
 *     and are closed by our end, after OK.  Before that every failure of it
 *     ends in a worker of ours.
 *   - a PUT is answered when it is in the table, and systemd is told then (told.h), for
 *     which nobody waits; a keeper that dies before it has said all leaves that to
 *     the next one, which says all of it again.
 *
 * The phases are in keeper-private.h.  PAUSED -> STARTING -> SERVING, from any of
 * them by the worker's death to PAUSED, or by QUIT to QUITTING; from there by its
 * death to HANDING (somebody takes over), to LEAVING (we end), or to STARTING.
 *   HANDING -> LEAVING with YES.  LEAVING -> DONE when systemd has been told.
 *
 * Nothing here waits without an end, but poll(): sends have timeouts.
 */
#include "src/pager/keeper.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "src/pager/keeper-private.h"
#include "src/pager/notify.h"
#include "src/pager/signpost.h"
#include "src/pager/takeover.h"
#include "store/base/clock.h"
#include "store/base/log.h"

#define INHERIT_MS 5000
#define LEAVE_MS 2000

/* ---- guests ---- */

static bool polls(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & (events | POLLHUP | POLLERR));
}

/* Whether somebody's memory hangs on this bag. */
static bool bag_serves(const struct keep_bag *bag)
{
	int pidfd = keep_bag_fd(bag, KEEP_PIDFD);

	if (keep_bag_fd(bag, KEEP_UFFD) < 0)
		return false;
	if (pidfd >= 0)
		return !polls(pidfd, POLLIN);
	return !polls(keep_bag_fd(bag, KEEP_CONN), POLLRDHUP);
}

static size_t count_guests(const struct keeper *k)
{
	size_t n = 0;

	for (size_t i = 0; i < k->bags.n; i++)
		n += bag_serves(&k->bags.v[i]);
	return n;
}

static void on_link(struct keeper *k)
{
	struct keep_msg msg;
	int rc = keep_recv(k->link, &msg);

	if (rc > 0) {
		keeper_hear(k, &msg);
		return;
	}
	/* Without a link it is of no use: it is about to end, or will be. */
	close(k->link);
	k->link = -1;
	k->wake_ms = clock_ms() + (rc < 0 ? 0 : KEEP_QUIT_MS);
	if (rc < 0)
		log_error("cannot hear the worker: %s", strerror(-rc));
}

/* ---- the end ---- */

/* What systemd has not taken yet is offered for LEAVE_MS; nobody serves meanwhile. */
static void leave(struct keeper *k)
{
	k->phase = KEEPER_LEAVING;
	k->wake_ms = clock_ms() + LEAVE_MS;
}

static void finish(struct keeper *k)
{
	bool kept = notify_keeps() && count_guests(k) > 0;

	if (!kept)
		told_none(&k->told, &k->bags);
	takeover_unlink(k->config->runtime_dir);
	if (k->config->socket) {
		signpost_remove(k->config->runtime_dir, k->config->socket);
		(void)unlink(k->config->socket);
	}
	leave(k);
}

static void begin_to_end(struct keeper *k)
{
	k->ending = true;
	told_stopping(&k->told);
	if (k->phase == KEEPER_PAUSED)
		finish(k);
	else
		keeper_quit_worker(k);
}

static void on_end_signal(struct keeper *k)
{
	size_t guests = count_guests(k);

	if (k->taker_heard) {
		log_warn("not ending: another pager is taking over");
		return;
	}
	if (k->ending)
		return;
	if (guests > 0 && notify_keeps()) {
		log_info("ending; systemd keeps the descriptors of %zu guest%s", guests,
			 guests == 1 ? "" : "s");
	} else if (guests > 0 && !k->refused) {
		k->refused = true;
		log_warn("not ending: %zu guest%s would hang for want of their memory; start a "
			 "pager with --takeover, or signal once more", guests,
			 guests == 1 ? "" : "s");
		return;
	} else if (guests > 0) {
		log_warn("ending; %zu guest%s from now on", guests,
			 guests == 1 ? " hangs" : "s hang");
	}
	begin_to_end(k);
}

void keeper_end(struct keeper *k)
{
	size_t guests = count_guests(k);

	if (k->phase != KEEPER_SERVING || k->ending || k->taker_heard)
		return;
	if (guests > 0) {
		if (!k->contradicted)
			log_warn("not ending: the worker has no sessions left, "
				 "but %zu guests depend on us", guests);
		k->contradicted = true;
		return;
	}
	log_info("ending: the last session has ended");
	begin_to_end(k);
}

/* ---- takeover ---- */

static void send_taker_off(struct keeper *k)
{
	close(k->taker);
	k->taker = -1;
	k->taker_heard = false;
}

static void hand_over(struct keeper *k)
{
	int rc = keep_timeout(k->taker, TAKEOVER_SILENCE_MS);

	if (rc == 0)
		rc = keep_table_send(&k->bags, k->taker);
	if (rc < 0) {
		log_warn("cannot hand over to another pager: %s; going on", strerror(-rc));
		send_taker_off(k);
		keeper_start_worker(k);
		return;
	}
	k->phase = KEEPER_HANDING;
	k->wake_ms = clock_ms() + TAKEOVER_SILENCE_MS;
}

static void go_on(struct keeper *k, const char *why)
{
	log_warn("another pager did not take over: %s; going on", why);
	send_taker_off(k);
	keeper_start_worker(k);
}

/* Systemd forgets what it has of us before the new keeper, perhaps of the same unit, stores it. */
static void leave_it_to(struct keeper *k)
{
	told_none(&k->told, &k->bags);
	leave(k);
}

static void stay(struct keeper *k)
{
	told_all(&k->told, &k->bags);
	go_on(k, "it has ended");
}

static void on_left(struct keeper *k)
{
	char count[KEEP_COUNT_LEN];

	if (k->told.n)
		log_warn("systemd does not listen: it was not told all");
	if (k->ending) {
		k->phase = KEEPER_DONE;
		return;
	}
	if (keep_say(k->taker, KEEP_OK, 0) < 0) {
		stay(k);
		return;
	}
	log_info("another pager has taken over %s", keep_count(&k->bags, count));
	k->phase = KEEPER_DONE;
}

static void take_over_begins(struct keeper *k)
{
	log_info("another pager is taking over");
	k->taker_heard = true;
	if (k->phase == KEEPER_PAUSED)
		hand_over(k);
	else
		keeper_quit_worker(k);
}

/* Its first message. */
static void hear_taker(struct keeper *k, const struct keep_msg *msg)
{
	struct err err = {""};
	int rc = k->ending ? err_set(&err, -EBUSY, "this one is ending")
			   : takeover_check(msg, &err);

	if (rc == 0) {
		take_over_begins(k);
		return;
	}
	log_warn("another pager may not take over: %s", err.text);
	(void)keep_say(k->taker, KEEP_NO, -rc);
	send_taker_off(k);
}

static void on_taker(struct keeper *k)
{
	struct keep_msg msg = {0};
	bool said = keep_recv(k->taker, &msg) > 0;

	keep_msg_close(&msg);
	if (!k->taker_heard && said)
		hear_taker(k, &msg);
	else if (!k->taker_heard)
		send_taker_off(k);	/* it only looked */
	else if (k->phase == KEEPER_HANDING && said && msg.word == KEEP_YES)
		leave_it_to(k);
	else if (k->phase == KEEPER_HANDING)
		go_on(k, said ? strerror((int)msg.arg) : "it has ended");
	else if (k->phase == KEEPER_LEAVING)
		stay(k);
	else
		send_taker_off(k);	/* QUITTING: a worker is started when the old one is gone */
}

static void on_listening(struct keeper *k)
{
	struct err err = {""};
	int conn = takeover_accept(k->listening, &err);

	if (conn < 0) {
		if (conn != -EAGAIN)
			log_warn("%s", err.text);
		return;
	}
	if (k->taker >= 0 && !k->taker_heard && polls(k->taker, POLLIN))
		on_taker(k);
	if (k->taker_heard) {
		(void)keep_say(conn, KEEP_NO, EBUSY);
		close(conn);
		return;
	}
	if (k->taker >= 0)
		send_taker_off(k);	/* it has not said a word yet */
	(void)keep_timeout(conn, TAKEOVER_SILENCE_MS);
	k->taker = conn;
}

/* ---- children and time ---- */

static void on_worker_dead(struct keeper *k)
{
	bool quitting;

	keeper_bury_worker(k);	/* its last word may have been END */
	quitting = k->phase == KEEPER_QUITTING;
	if (quitting && k->taker_heard)
		hand_over(k);
	else if (quitting && k->ending)
		finish(k);
	else if (quitting)
		keeper_start_worker(k);
}

static void on_child(struct keeper *k, pid_t pid, int status)
{
	if (pid == k->pid) {
		k->reaped = true;
		k->status = status;
	} else if (pid == k->spare) {
		k->spare = 0;
		if (k->link >= 0 && !k->reaped && k->phase != KEEPER_QUITTING)
			keeper_start_spare(k);
	} else {
		(void)stopper_reaped(&k->stopper, pid, status);
	}
}

static void on_signal(struct keeper *k)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	if (read(k->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo != SIGCHLD) {
		on_end_signal(k);
		return;
	}
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		on_child(k, pid, status);
}

static void on_time(struct keeper *k)
{
	if (clock_ms() < k->wake_ms)
		return;
	k->wake_ms = UINT64_MAX;
	if (k->phase == KEEPER_PAUSED)
		keeper_start_worker(k);
	else if (k->phase == KEEPER_HANDING)
		go_on(k, "it is silent");
	else if (k->phase == KEEPER_LEAVING)
		on_left(k);
	else
		keeper_kill_worker(k);
}

/* When there is something to do even if nobody says anything. */
static uint64_t next_time(struct keeper *k, uint64_t now)
{
	uint64_t next = stopper_tick(&k->stopper, now), say = told_say(&k->told, &k->bags, now);

	if (k->phase == KEEPER_LEAVING && say == UINT64_MAX)
		k->wake_ms = now;
	if (say < next)
		next = say;
	return k->wake_ms < next ? k->wake_ms : next;
}

static int poll_timeout(struct keeper *k)
{
	uint64_t now = clock_ms(), next = next_time(k, now);

	if (next == UINT64_MAX)
		return -1;
	return next > now ? (int)(next - now) : 0;
}

/* ---- the loop ---- */

/* The order matters: what the worker said before it died, what has become of it, the rest. */
static void turn(struct keeper *k)
{
	enum { SIGNALS, LINK, PIDFD, LISTENING, TAKER, N };
	struct pollfd p[N] = {
		[SIGNALS] = {.fd = k->signals, .events = POLLIN},
		[LINK] = {.fd = k->link, .events = POLLIN},
		[PIDFD] = {.fd = k->pidfd, .events = POLLIN},
		[LISTENING] = {.fd = k->listening, .events = POLLIN},
		[TAKER] = {.fd = k->taker, .events = POLLIN},
	};

	if (poll(p, N, poll_timeout(k)) > 0) {
		if (p[SIGNALS].revents)
			on_signal(k);
		if (p[LINK].revents && k->link == p[LINK].fd)
			on_link(k);
		if (p[PIDFD].revents && k->pidfd == p[PIDFD].fd)
			on_worker_dead(k);
		if (p[TAKER].revents && k->taker == p[TAKER].fd && k->phase != KEEPER_DONE)
			on_taker(k);
		if (p[LISTENING].revents && k->phase != KEEPER_DONE)
			on_listening(k);
	}
	if (k->phase != KEEPER_DONE)
		on_time(k);
}

/* The first worker did not come up, and nobody would hang without it. */
static bool is_hopeless(const struct keeper *k)
{
	return !k->served && k->phase == KEEPER_PAUSED && count_guests(k) == 0;
}

static int serve(struct keeper *k, struct err *err)
{
	int rc = 0;

	while (k->phase != KEEPER_DONE) {
		turn(k);
		if (!is_hopeless(k))
			continue;
		rc = err_set(err, -ECHILD, "the worker ended before it served");
		k->ending = true;
		finish(k);
	}
	return rc;
}

static int watch_signals(sigset_t *ret_old, struct err *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, ret_old);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? err_sys(err, -errno, "cannot watch signals") : fd;
}

static void init(struct keeper *k, const struct keeper_config *config, const struct told *heir)
{
	*k = (struct keeper){
		.config = config,
		.stopper = {.command = config->stop_command, .signal = config->stop_signal},
		.phase = KEEPER_PAUSED,
		.listening = -1,
		.signals = -1,
		.ready_fd = -1,
		.link = -1,
		.pidfd = -1,
		.pid = -1,
		.taker = -1,
		.wake_ms = UINT64_MAX,
	};
	told_init(&k->told, heir);
}

static void fini(struct keeper *k)
{
	int *const fds[] = {&k->listening, &k->signals, &k->ready_fd, &k->link, &k->pidfd,
			    &k->taker};

	told_fini(&k->told);
	keep_table_fini(&k->bags);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
}

int keeper_run(const struct keeper_config *config, struct keep_table *bags, int listening,
	       struct err *err)
{
	struct keeper k;
	sigset_t old;
	int rc;

	init(&k, config, NULL);
	k.bags = *bags;
	*bags = (struct keep_table){0};
	k.listening = listening;
	k.ready_fd = config->ready_fd;
	k.signals = rc = watch_signals(&old, err);
	if (rc >= 0) {
		if (config->stored)
			told_put(&k.told, KEEP_BAG_PAGER, KEEP_API, true);
		else
			told_all(&k.told, &k.bags);
		keeper_start_worker(&k);
		rc = serve(&k, err);
	}
	fini(&k);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return rc;
}

/* What the worker still knows; and if it dies meanwhile, what it had said until then. */
static void learn(struct keeper *k)
{
	char count[KEEP_COUNT_LEN];
	int rc;

	(void)keep_timeout(k->link, INHERIT_MS);
	keeper_start_spare(k);
	rc = keep_table_recv(&k->bags, k->link);
	if (rc < 0)
		log_error("cannot learn all sessions of the worker: %s", strerror(-rc));
	log_warn("the keeper has died; this one keeps %s", keep_count(&k->bags, count));
}

int keeper_inherit(const struct keeper *dead, int link, int pidfd)
{
	const struct keeper_config *config = dead->config;
	struct err err = {""};
	struct keeper k;
	sigset_t old;

	(void)prctl(PR_SET_NAME, "lamina-pager");
	init(&k, config, &dead->told);
	k.link = link;
	k.pidfd = pidfd;
	k.phase = KEEPER_STARTING;
	k.served = true;
	k.started_ms = clock_ms();
	k.signals = watch_signals(&old, &err);
	learn(&k);
	k.listening = takeover_listen(config->runtime_dir, &err);
	if (k.listening < 0 || k.signals < 0)
		log_error("%s", err.text);
	if (told_was_cut_short(&k.told))
		told_all(&k.told, &k.bags);
	told_ready(&k.told);
	(void)serve(&k, &err);
	fini(&k);
	return EXIT_SUCCESS;
}
