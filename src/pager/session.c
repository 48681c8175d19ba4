/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session is made in one of two ways and ends in one.
 *
 * New: memfile and holds are opened, the state is made, the socket listens; then all
 * that is put into the keeper's bag, and only then does anybody hear of it.
 * A kill before that leaves a socket's name, which the next session of that name
 * replaces.
 *
 * Adopted: everything comes from the bag.  A memfile that cannot be opened now
 * is a memfile that cannot be read now, which is trouble.c's business.
 *
 * Ended: what is watched is unwatched and closed, the page bytes are given back.
 * The bag then holds the state alone, so that a later worker can still say what
 * became of the session.  The memfile is closed by the last thread that reads it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/pager/complete.h"
#include "src/pager/hold.h"
#include "src/pager/replay.h"
#include "src/pager/session.h"
#include "src/pager/touch.h"
#include "src/pager/uffd.h"
#include "src/pager/unixsock.h"
#include "src/rpc/address.h"
#include "store/base/log.h"

static const enum keep_role roles[SESSION_NFDS] = {
	[SESSION_LISTEN] = KEEP_LISTEN,
	[SESSION_CONN] = KEEP_CONN,
	[SESSION_UFFD] = KEEP_UFFD,
	[SESSION_PIDFD] = KEEP_PIDFD,
};

/* ---- ownership ---- */

void session_enter(struct session *s)
{
	pthread_mutex_lock(&s->lock);
}

bool session_try_enter(struct session *s)
{
	return pthread_mutex_trylock(&s->lock) == 0;
}

/*
 * The note is left before the lock is tried, and looked at after the lock was
 * given up: one of the two threads sees to it.
 */
bool session_enter_told(struct session *s)
{
	atomic_store(&s->told, true);
	if (pthread_mutex_trylock(&s->lock) != 0)
		return false;
	if (!atomic_exchange(&s->told, false)) {
		pthread_mutex_unlock(&s->lock);
		return false;
	}
	s->armed = false;
	return true;
}

void session_arm(struct session *s)
{
	if (s->armed || s->ended || s->fd[SESSION_UFFD] < 0)
		return;
	s->armed = true;
	session_rewatch(s, SESSION_UFFD, EPOLLIN);
}

void session_leave(struct session *s)
{
	pthread_mutex_unlock(&s->lock);
	while (atomic_load(&s->told) && pthread_mutex_trylock(&s->lock) == 0) {
		if (atomic_exchange(&s->told, false)) {
			s->armed = false;
			session_arm(s);
		}
		pthread_mutex_unlock(&s->lock);
	}
}

/* What threads that are away use is freed by the last of them. */
static void free_work(struct session *s)
{
	source_close(s->source);
	s->source = NULL;
	replay_free(s->replay);
	s->replay = NULL;
}

struct source *session_away(struct session *s)
{
	struct source *source = s->source;

	s->away++;
	session_arm(s);
	session_leave(s);
	loop_away(s->env->loop);
	return source;
}

static void free_work_of_ended(struct session *s)
{
	if (s->ended && !s->away && !s->lent)
		free_work(s);
}

void session_back(struct session *s)
{
	loop_back(s->env->loop);
	session_enter(s);
	s->away--;
	free_work_of_ended(s);
}

struct source *session_lend(struct session *s)
{
	s->lent++;
	return s->source;
}

void session_return(struct session *s)
{
	s->lent--;
	free_work_of_ended(s);
}

static void push(struct session *s, struct loop_job *job)
{
	session_ref(s);
	if (!loop_push(s->env->loop, job))
		session_unref(s);
}

void session_work_later(struct session *s)
{
	push(s, &s->work);
}

void session_rescue(struct session *s)
{
	push(s, &s->rescue);
}

/* ---- references ---- */

static struct session *alloc(const struct session_env *env, uint32_t bag)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->env = env;
	s->bag = bag;
	atomic_init(&s->refs, 1);
	pthread_mutex_init(&s->lock, NULL);
	for (int i = 0; i < SESSION_NFDS; i++)
		s->fd[i] = -1;
	for (int i = 0; i < SETUP_HOLDS_MAX; i++)
		s->hold[i] = -1;
	s->rescue.urgent = true;
	return s;
}

struct session *session_ref(struct session *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void session_free(struct session *s)
{
	for (int i = 0; i < SESSION_NFDS; i++)
		close_fd(&s->fd[i]);
	for (int i = 0; i < SETUP_HOLDS_MAX; i++)
		close_fd(&s->hold[i]);
	source_close(s->source);
	touch_free(s->touch);
	replay_free(s->replay);
	state_close(s->state);
	wants_fini(&s->wants);
	setup_fini(&s->setup);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void session_unref(struct session *s)
{
	if (s && atomic_fetch_sub(&s->refs, 1) == 1)
		session_free(s);
}

/* ---- a new one ---- */

static int lock_holds(struct session *s, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < s->setup.nholds && rc >= 0; i++)
		s->hold[i] = rc = hold_lock(s->setup.hold[i], err);
	return rc < 0 ? rc : 0;
}

/* Whoever may connect is asked who he is: the mode need not be narrower than that. */
static int listen_here(struct session *s, struct err *err)
{
	mode_t mode = s->setup.peer_uid >= 0 ? 0666 : 0600;
	int fd = unixsock_claim(s->setup.socket, SOCK_STREAM | SOCK_NONBLOCK, mode, err);

	if (fd < 0)
		return fd;
	s->fd[SESSION_LISTEN] = fd;
	return 0;
}

static int keep_new(struct session *s, struct err *err)
{
	struct keep_msg msg = {.word = KEEP_PUT, .bag = s->bag};
	int rc;

	if (!s->env->link)
		return 0;
	msg.role[0] = KEEP_STATE;
	msg.fd[0] = s->state->fd;
	msg.role[1] = KEEP_LISTEN;
	msg.fd[1] = s->fd[SESSION_LISTEN];
	msg.n = 2;
	for (unsigned i = 0; i < s->setup.nholds; i++) {
		msg.role[msg.n] = KEEP_HOLD;
		msg.fd[msg.n++] = s->hold[i];
	}
	rc = keep_ask(s->env->link, &msg);
	return rc < 0 ? err_sys(err, rc, "the keeper does not take the session") : 0;
}

static void set_memfile(struct state_head *head, const struct source *source)
{
	head->memfile_size = source_size(source);
	head->memfile_id = *source_id(source);
	(void)snprintf(head->memfile, sizeof(head->memfile), "%s", source_path(source));
}

static int make_state(struct session *s, struct err *err)
{
	json_t *json = setup_to_json(&s->setup);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int rc = text ? state_new(s->setup.id, text, &s->state, err) :
			err_set(err, -ENOMEM, "out of memory");

	if (rc == 0)
		set_memfile(s->state->head, s->source);
	free(text);
	json_decref(json);
	return rc;
}

static int open_all(struct session *s, struct err *err)
{
	int rc = source_open(s->setup.memfile, &s->source, err);

	if (rc == 0)
		rc = lock_holds(s, err);
	if (rc == 0)
		rc = make_state(s, err);
	if (rc == 0 && s->setup.record)
		rc = touch_open(s->setup.record, s->state, &s->touch, err);
	if (rc == 0 && s->setup.trace)
		rc = replay_open(s->setup.trace, &s->replay, err);
	if (rc == 0)
		rc = listen_here(s, err);
	if (rc < 0)
		return rc;
	rc = keep_new(s, err);
	if (rc < 0)
		(void)unlink(s->setup.socket);
	return rc;
}

int session_new(const struct session_env *env, uint32_t bag, struct setup *setup,
		struct session **ret, struct err *err)
{
	struct session *s = alloc(env, bag);
	int rc;

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->setup = *setup;
	rc = open_all(s, err);
	if (rc < 0) {
		memset(&s->setup, 0, sizeof(s->setup));		/* stays the caller's */
		session_free(s);
		return rc;
	}
	memset(setup, 0, sizeof(*setup));
	window_init(&s->window, s->setup.prefetch, s->setup.prefetch_len, s->bag);
	*ret = s;
	return 0;
}

/* ---- one that was kept ---- */

static int take_fd(struct session *s, enum keep_role role, int fd)
{
	for (int i = 0; i < SESSION_NFDS; i++) {
		if (roles[i] != role || s->fd[i] >= 0)
			continue;
		s->fd[i] = fd;
		return 0;
	}
	for (int i = 0; role == KEEP_HOLD && i < SETUP_HOLDS_MAX; i++) {
		if (s->hold[i] >= 0)
			continue;
		s->hold[i] = fd;
		return 0;
	}
	return -EINVAL;
}

static int read_setup(struct session *s, struct err *err)
{
	json_t *json = json_loads(s->state->head->config, JSON_REJECT_DUPLICATES, NULL);
	int rc = json ? setup_from_json(json, s->env->runtime_dir, &s->setup, err) :
			err_set(err, -EBADMSG, "the kept configuration is no JSON");

	json_decref(json);
	return rc;
}

static int find_state(const struct keep_msg *msg)
{
	for (unsigned i = 0; i < msg->n; i++)
		if (msg->role[i] == KEEP_STATE)
			return (int)i;
	return -ENOENT;
}

/*
 * A hypervisor that had connected; the userfaultfd of a message that was not yet taken
 * off the socket comes again with it.  Of a guest that is served the keeper has the
 * listening socket still, whose name may be another session's now.
 */
static void adopt_peer(struct session *s)
{
	struct ucred who;

	if (s->fd[SESSION_CONN] >= 0 && address_peer(s->fd[SESSION_CONN], &who) == 0)
		s->pid = who.pid;
	s->conn_ns = loop_now_ns();
	close_fd(&s->fd[session_serves(s) ? SESSION_LISTEN : SESSION_UFFD]);
}

static void begin_again(struct session *s)
{
	const struct state_head *head = s->state->head;

	if (!session_serves(s))
		return;
	s->fresh = true;
	atomic_store(&s->state->head->phase, STATE_SERVING);	/* who completed it is gone */
	state_add(&s->state->head->count.workers, 1);
	session_look_at_regions(s);
	touch_begin(s->touch, head->regions[0].page_size, head->memfile_size);
	touch_catch_up(s);
}

/*
 * What it needs to serve on; the state says whether it does.  The memfile and the trace
 * may lie behind a daemon that hangs, which must not keep the other sessions
 * waiting: they are opened by the threads that serve this one.
 */
static int reopen_all(struct session *s, struct err *err)
{
	const struct state_head *head = s->state->head;
	uint32_t phase = head->phase;
	int rc = 0;

	if (phase != STATE_WAITING && phase != STATE_SERVING && phase != STATE_COMPLETING) {
		s->ended = true;
		return 0;
	}
	if (session_serves(s) && s->fd[SESSION_UFFD] < 0)
		return err_set(err, -ENOENT, "its userfaultfd was lost");
	if (phase == STATE_WAITING && s->fd[SESSION_LISTEN] < 0 && s->fd[SESSION_CONN] < 0)
		return err_set(err, -ENOENT, "its socket was lost");
	rc = source_open_later(head->memfile, head->memfile_size, &head->memfile_id, &s->source,
			       err);
	if (rc == 0 && s->setup.record)
		rc = touch_reopen(s->setup.record, s->state, &s->touch, err);
	return rc;
}

/* What it still has, session_start() lets go: here nobody hears the keeper's answers yet. */
static void fail_adopted(struct session *s, const char *reason)
{
	log_error("%s: %s", s->state->head->id, reason);
	state_end(s->state, STATE_FAILED, reason);
	s->ended = true;
	touch_free(s->touch);
	s->touch = NULL;
	free_work_of_ended(s);
}

int session_adopt(const struct session_env *env, const struct keep_msg *msg,
		  struct session **ret, struct err *err)
{
	struct session *s = alloc(env, msg->bag);
	int at = find_state(msg);
	int rc;

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	rc = at < 0 ? err_set(err, at, "bag %u has no state", msg->bag) :
		      state_adopt(msg->fd[at], &s->state, err);
	if (rc < 0) {
		session_free(s);
		return rc;
	}
	for (unsigned i = 0; i < msg->n; i++)
		if ((int)i != at && take_fd(s, msg->role[i], msg->fd[i]) < 0)
			(void)close(msg->fd[i]);
	rc = read_setup(s, err);
	if (rc == 0)
		rc = reopen_all(s, err);
	if (rc < 0)
		fail_adopted(s, err ? err->text : "cannot be taken up again");
	window_init(&s->window, s->setup.prefetch, s->setup.prefetch_len, s->bag);
	if (!s->ended) {
		adopt_peer(s);
		begin_again(s);
	}
	*ret = s;
	return 0;
}

/* ---- watching ---- */

/* All but the state, here and in the bag. */
static void let_go(struct session *s)
{
	if (s->fd[SESSION_LISTEN] >= 0 && s->setup.socket)
		(void)unlink(s->setup.socket);
	for (int i = 0; i < SESSION_NFDS; i++)
		session_close_fd(s, (enum session_fd)i);
	for (int i = 0; i < SETUP_HOLDS_MAX; i++)
		close_fd(&s->hold[i]);
	if (s->env->link)
		(void)keep_drop(s->env->link, s->bag, KEEP_STATE);
	state_give_back(s->state);
}

static uint32_t events_of(enum session_fd which, uint32_t phase)
{
	if (which == SESSION_CONN)
		return phase == STATE_WAITING ? EPOLLIN | EPOLLRDHUP : EPOLLRDHUP;
	return EPOLLIN;
}

/* Its end was cut short by that of a worker. */
static void end_again(struct session *s)
{
	bool any = false;

	for (int i = 0; i < SESSION_NFDS; i++)
		any |= s->fd[i] >= 0;
	for (int i = 0; i < SETUP_HOLDS_MAX; i++)
		any |= s->hold[i] >= 0;
	if (any)
		let_go(s);
}

int session_start(struct session *s, struct err *err)
{
	uint32_t phase = s->state->head->phase;
	int rc = 0;

	if (s->ended) {
		end_again(s);
		if (complete_remember(s))
			loop_tick_in(s->env->loop, COMPLETE_REMEMBER_MS);
		return 0;
	}
	/* While it waits its end is what the connection says: a message may be there still. */
	for (enum session_fd i = 0; i < SESSION_NFDS && rc == 0; i++)
		if (s->fd[i] >= 0 && !(i == SESSION_PIDFD && phase == STATE_WAITING))
			rc = session_watch(s, i, events_of(i, phase));
	if (rc == 0 && s->fresh)
		session_rescue(s);
	if (phase == STATE_WAITING && s->fd[SESSION_CONN] >= 0)
		loop_tick_in(s->env->loop, s->setup.handoff_timeout_ms);
	return rc < 0 ? err_sys(err, rc, "cannot watch session '%s'", s->setup.id) : 0;
}

int session_watch(struct session *s, enum session_fd which, uint32_t events)
{
	if (which == SESSION_UFFD)
		s->armed = true;
	return loop_watch(s->env->loop, s->fd[which], session_tag(s, which), events);
}

void session_rewatch(struct session *s, enum session_fd which, uint32_t events)
{
	(void)loop_rearm(s->env->loop, s->fd[which], session_tag(s, which), events);
}

int session_keep(struct session *s, enum keep_role role, int fd)
{
	return s->env->link ? keep_put(s->env->link, s->bag, role, fd) : 0;
}

void session_close_fd(struct session *s, enum session_fd which)
{
	if (s->fd[which] < 0)
		return;
	loop_unwatch(s->env->loop, s->fd[which]);
	close_fd(&s->fd[which]);
}

_Static_assert(REGIONS_MAX <= 64, "a bit for each");

void session_look_at_regions(struct session *s)
{
	const struct state_head *head = s->state->head;

	s->anonymous = 0;
	for (uint32_t i = 0; i < head->nregions; i++)
		if (head->regions[i].page_size == 4096 &&
		    uffd_is_anonymous(s->fd[SESSION_UFFD], head->regions[i].addr))
			s->anonymous |= UINT64_C(1) << i;
}

/* ---- its end ---- */

bool session_serves(const struct session *s)
{
	uint32_t phase = s->state->head->phase;

	return phase == STATE_SERVING || phase == STATE_COMPLETING;
}

bool session_guest_lives(struct session *s)
{
	const struct state_head *head = s->state->head;

	return s->fd[SESSION_UFFD] >= 0 && !uffd_gone(s->fd[SESSION_UFFD], head->regions[0].addr);
}

void session_end(struct session *s, enum state_phase phase, const char *reason)
{
	int rc;

	if (s->ended)
		return;
	s->ended = true;
	rc = touch_flush(s->touch);
	if (rc < 0)
		log_warn("%s: cannot write '%s': %s", s->setup.id, s->setup.record, strerror(-rc));
	touch_free(s->touch);
	s->touch = NULL;
	state_end(s->state, phase, reason);
	let_go(s);
	wants_fini(&s->wants);
	memset(&s->fill, 0, sizeof(s->fill));
	complete_over(s);
	free_work_of_ended(s);
}
