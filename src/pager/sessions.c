/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An array in order of bags, which are numbered as sessions are made and never
 * used twice.  `lock` guards the array and nothing that is in a session; it is not
 * held while a session's lock is taken, nor while one is made: its id is reserved by
 * `creating`, so that two requests for one id do not both succeed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/pager/care.h"
#include "src/pager/complete.h"
#include "src/pager/graduated.h"
#include "src/pager/sessions.h"
#include "src/pager/tally.h"
#include "src/pager/trouble.h"
#include "store/base/log.h"
#include "store/base/vec.h"

#define BUSY_MS 10		/* until a session that has an owner is cared for */

struct making {
	const char *id;
	const char *record;		/* or NULL */
};

struct sessions {
	const struct session_env *env;
	bool tally_kept;		/* by the keeper */
	pthread_mutex_t lock;
	/* Under lock. */
	struct tally *tally;		/* itself from the start; numbers are those of bags */
	VEC(struct session *) all;
	VEC(struct making) creating;
};

struct sessions *sessions_new(const struct session_env *env)
{
	struct sessions *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	if (tally_new(&t->tally, NULL) < 0) {
		free(t);
		return NULL;
	}
	t->env = env;
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

void sessions_free(struct sessions *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->all.n; i++)
		session_unref(t->all.v[i]);
	vec_fini(&t->all);
	vec_fini(&t->creating);
	tally_close(t->tally);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- under lock ---- */

static bool is_over(const struct session *s)
{
	uint32_t phase = s->state->head->phase;

	return phase != STATE_WAITING && phase != STATE_SERVING && phase != STATE_COMPLETING;
}

static size_t count_live(const struct sessions *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->all.n; i++)
		n += !is_over(t->all.v[i]);
	return n;
}

/* One that was added by a worker that was killed before the keeper dropped it is not again. */
static struct session *take_out(struct sessions *t, size_t i)
{
	struct session *s = t->all.v[i];

	memmove(&t->all.v[i], &t->all.v[i + 1], (t->all.n - i - 1) * sizeof(s));
	t->all.n--;
	if (!tally_is_last(t->tally, s->bag))
		tally_add(t->tally, s->bag, s->state->head);
	return s;
}

/* The youngest: of those before it nobody may ask any more. */
static int find_id(const struct sessions *t, const char *id)
{
	for (size_t i = t->all.n; i-- > 0;)
		if (!strcmp(t->all.v[i]->state->head->id, id))
			return (int)i;
	return -ENOENT;
}

static bool is_creating(const struct sessions *t, const char *id)
{
	for (size_t i = 0; i < t->creating.n; i++)
		if (!strcmp(t->creating.v[i].id, id))
			return true;
	return false;
}

/* The id of the session that writes into the file `record`; NULL: none does. */
static const char *find_writer(const struct sessions *t, const char *record)
{
	for (size_t i = 0; i < t->all.n; i++) {
		const char *other = t->all.v[i]->setup.record;

		if (other && !is_over(t->all.v[i]) && !strcmp(other, record))
			return t->all.v[i]->setup.id;
	}
	for (size_t i = 0; i < t->creating.n; i++)
		if (t->creating.v[i].record && !strcmp(t->creating.v[i].record, record))
			return t->creating.v[i].id;
	return NULL;
}

static void end_creating(struct sessions *t, const char *id)
{
	for (size_t i = 0; i < t->creating.n; i++) {
		if (t->creating.v[i].id != id)
			continue;
		t->creating.v[i] = t->creating.v[--t->creating.n];
		return;
	}
}

static int reserve(struct sessions *t, const struct making *making, uint32_t *ret_bag,
		   struct err *err)
{
	const char *id = making->id, *writer;
	int at = find_id(t, id);

	if (sessions_draining(t))
		return err_set(err, -ESHUTDOWN, "this pager takes no new sessions");
	if (is_creating(t, id) || (at >= 0 && !is_over(t->all.v[at])))
		return err_set(err, -EEXIST, "session '%s' exists", id);
	if (count_live(t) + t->creating.n >= SESSIONS_MAX)
		return err_set(err, -EUSERS, "more than %d sessions", SESSIONS_MAX);
	writer = making->record ? find_writer(t, making->record) : NULL;
	if (writer)
		return err_set(err, -ETXTBSY, "session '%s' records to '%s'", writer,
			       making->record);
	if (vec_push(&t->creating, *making) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	*ret_bag = tally_number(t->tally);
	return 0;
}

/* In order of bags: sessions are made one beside the other. */
static int insert(struct sessions *t, struct session *s)
{
	size_t i;

	if (vec_push(&t->all, s) < 0)
		return -ENOMEM;
	for (i = t->all.n - 1; i && t->all.v[i - 1]->bag > s->bag; i--)
		t->all.v[i] = t->all.v[i - 1];
	t->all.v[i] = s;
	return 0;
}

/* The ended one of that id, or the oldest of too many; NULL: none has to go. */
static struct session *take_superfluous(struct sessions *t, const struct session *news)
{
	size_t over = t->all.n - count_live(t);

	for (size_t i = 0; i < t->all.n; i++) {
		struct session *s = t->all.v[i];

		if (s == news || !is_over(s))
			continue;
		if (over > SESSIONS_ENDED_MAX || !strcmp(s->state->head->id, news->state->head->id))
			return take_out(t, i);
	}
	return NULL;
}

/* ---- */

/* A session of that id is not the one that has graduated once, and need not be remembered. */
static void forget_graduated(struct sessions *t, const char *id)
{
	struct session *s = sessions_by_id(t, id);
	struct err err;

	if (s) {
		session_enter(s);
		complete_forget(s);
		session_leave(s);
		session_unref(s);
	}
	if (graduated_forget(t->env->runtime_dir, id, &err) < 0)
		log_warn("%s", err.text);
}

/* Nobody may ask for it any more. */
static void forget(struct sessions *t, struct session *s)
{
	if (t->env->link)
		(void)keep_drop(t->env->link, s->bag, KEEP_NONE);
	session_unref(s);
}

static void forget_superfluous(struct sessions *t, const struct session *news)
{
	struct session *s;

	do {
		pthread_mutex_lock(&t->lock);
		s = take_superfluous(t, news);
		pthread_mutex_unlock(&t->lock);
		if (s)
			forget(t, s);
	} while (s);
}

static int start(struct sessions *t, struct session *s, struct err *err)
{
	int rc;

	pthread_mutex_lock(&t->lock);
	rc = insert(t, session_ref(s));
	pthread_mutex_unlock(&t->lock);
	if (rc < 0) {
		session_unref(s);
		return err_set(err, rc, "out of memory");
	}
	session_enter(s);
	rc = session_start(s, err);
	if (rc < 0)
		session_end(s, STATE_FAILED, "cannot be watched");
	session_leave(s);
	return rc;
}

int sessions_create(struct sessions *t, struct setup *setup, struct session **ret,
		    struct err *err)
{
	const struct making making = {setup->id, setup->record};
	struct session *s = NULL;
	uint32_t bag = 0;
	int rc;

	pthread_mutex_lock(&t->lock);
	rc = reserve(t, &making, &bag, err);
	pthread_mutex_unlock(&t->lock);
	if (rc < 0)
		return rc;
	rc = session_new(t->env, bag, setup, &s, err);
	if (rc == 0) {
		forget_graduated(t, making.id);
		rc = start(t, s, err);
	}
	pthread_mutex_lock(&t->lock);
	end_creating(t, making.id);
	pthread_mutex_unlock(&t->lock);
	if (rc < 0) {
		session_unref(s);
		return rc;
	}
	forget_superfluous(t, s);
	*ret = s;
	return 0;
}

int sessions_adopt(struct sessions *t, struct keep_msg *msg, struct err *err)
{
	struct session *s;
	int rc = session_adopt(t->env, msg, &s, err);

	pthread_mutex_lock(&t->lock);
	tally_number_seen(t->tally, msg->bag);	/* also if it is of no use: the keeper has it */
	pthread_mutex_unlock(&t->lock);
	if (rc < 0) {
		keep_msg_close(msg);
		return rc;
	}
	if (s->state->head->phase != STATE_GRADUATED)
		forget_graduated(t, s->state->head->id);
	pthread_mutex_lock(&t->lock);
	rc = insert(t, s);
	pthread_mutex_unlock(&t->lock);
	if (rc < 0)
		session_unref(s);
	return rc;
}

int sessions_adopt_tally(struct sessions *t, int fd, struct err *err)
{
	struct tally *kept;
	int rc = tally_adopt(fd, &kept, err);

	if (rc < 0)
		return rc;
	tally_close(t->tally);
	t->tally = kept;
	t->tally_kept = true;
	return 0;
}

struct session *sessions_by_bag(struct sessions *t, uint32_t bag)
{
	size_t lo = 0, hi;
	struct session *s = NULL;

	pthread_mutex_lock(&t->lock);
	hi = t->all.n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->all.v[mid]->bag < bag)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < t->all.n && t->all.v[lo]->bag == bag)
		s = session_ref(t->all.v[lo]);
	pthread_mutex_unlock(&t->lock);
	return s;
}

struct session *sessions_by_id(struct sessions *t, const char *id)
{
	struct session *s = NULL;
	int at;

	pthread_mutex_lock(&t->lock);
	at = find_id(t, id);
	if (at >= 0)
		s = session_ref(t->all.v[at]);
	pthread_mutex_unlock(&t->lock);
	return s;
}

/* Those of `past` at the same moment, unless it is NULL. */
static struct session **all_and_past(struct sessions *t, size_t *ret_n, struct metrics *past)
{
	struct session **v;

	pthread_mutex_lock(&t->lock);
	v = calloc(t->all.n + 1, sizeof(struct session *));
	for (size_t i = 0; v && i < t->all.n; i++)
		v[i] = session_ref(t->all.v[i]);
	*ret_n = t->all.n;
	if (past)
		metrics_merge(past, tally_past(t->tally));
	pthread_mutex_unlock(&t->lock);
	return v;
}

struct session **sessions_all(struct sessions *t, size_t *ret_n)
{
	return all_and_past(t, ret_n, NULL);
}

int sessions_measure(struct sessions *t, struct metrics *ret)
{
	size_t n = 0;
	struct session **v;

	*ret = (struct metrics){0};
	v = all_and_past(t, &n, ret);
	for (size_t i = 0; v && i < n; i++) {
		metrics_add(ret, v[i]->state->head);
		session_unref(v[i]);
	}
	free(v);
	return v ? 0 : -ENOMEM;
}

static void each(struct sessions *t, void (*fn)(struct session *s))
{
	size_t n = 0;
	struct session **v = sessions_all(t, &n);

	for (size_t i = 0; v && i < n; i++) {
		session_enter(v[i]);
		fn(v[i]);
		session_leave(v[i]);
		session_unref(v[i]);
	}
	free(v);
}

static void start_one(struct session *s)
{
	struct err err;

	if (session_start(s, &err) < 0)
		session_end(s, STATE_FAILED, err.text);
}

static void keep_tally(struct sessions *t)
{
	int rc = 0;

	if (t->env->link && !t->tally_kept)
		rc = keep_put(t->env->link, KEEP_BAG_PAGER, KEEP_TALLY, tally_fd(t->tally));
	if (rc < 0)
		log_error("a drain and sums of counters end with this worker: %s", strerror(-rc));
	t->tally_kept = t->env->link && rc == 0;
}

/* The last one in the tally is here only if a worker was killed before it was dropped. */
static void forget_last(struct sessions *t)
{
	struct session *s = NULL;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->all.n && !s; i++)
		if (tally_is_last(t->tally, t->all.v[i]->bag) && is_over(t->all.v[i]))
			s = take_out(t, i);
	pthread_mutex_unlock(&t->lock);
	if (s)
		forget(t, s);
}

void sessions_start(struct sessions *t)
{
	keep_tally(t);
	each(t, start_one);
	forget_last(t);
}

/* ---- closing ---- */

/* By the owner.  1: when the guest has ended; 0: at once. */
static int close_one(struct session *s, bool force, struct err *err)
{
	int rc;

	if (s->ended || !session_serves(s)) {
		session_end(s, STATE_GONE, "closed");
		return 0;
	}
	if (!session_guest_lives(s)) {
		care_gone(s, CARE_ENDED);
		return 0;
	}
	if (!force)
		return err_set(err, -EBUSY, "session '%s' serves a guest that lives", s->setup.id);
	rc = trouble_stop_guest(s, "stopped by force");
	if (rc < 0)
		return err_sys(err, rc, "cannot stop the guest of session '%s'", s->setup.id);
	log_info("%s: closed by force: the guest is stopped", s->setup.id);
	loop_tick_in(s->env->loop, 100);
	return 1;
}

static void take_session(struct sessions *t, struct session *s)
{
	struct session *mine = NULL;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->all.n && !mine; i++)
		if (t->all.v[i] == s)
			mine = take_out(t, i);
	pthread_mutex_unlock(&t->lock);
	if (mine)
		forget(t, mine);
}

/* There is no such session; one of that id may have graduated once. */
static int close_graduated(const struct sessions *t, const char *id, struct err *err)
{
	struct complete_report report;
	int rc = graduated_get(t->env->runtime_dir, id, &report, err);

	if (rc == 0)
		return graduated_forget(t->env->runtime_dir, id, err);
	if (rc != -ENOENT)
		log_warn("%s", err->text);
	return err_set(err, -ENOENT, "there is no session '%.*s'", SETUP_ID_MAX, id);
}

int sessions_close(struct sessions *t, const char *id, bool force, struct err *err)
{
	struct session *s = sessions_by_id(t, id);
	int rc;

	if (!s)
		return close_graduated(t, id, err);
	session_enter(s);
	rc = close_one(s, force, err);
	session_leave(s);
	if (rc == 0) {
		forget_graduated(t, id);
		take_session(t, s);
	}
	session_unref(s);
	return rc;
}

size_t sessions_count(struct sessions *t)
{
	size_t n;

	pthread_mutex_lock(&t->lock);
	n = count_live(t) + t->creating.n;
	pthread_mutex_unlock(&t->lock);
	return n;
}

/* Under lock: whoever reserved an id before counts. */
size_t sessions_drain(struct sessions *t, bool exit)
{
	pthread_mutex_lock(&t->lock);
	tally_drain(t->tally, exit);
	pthread_mutex_unlock(&t->lock);
	return sessions_count(t);
}

bool sessions_draining(const struct sessions *t)
{
	return tally_draining(t->tally);
}

bool sessions_exiting(const struct sessions *t)
{
	return tally_exiting(t->tally);
}

unsigned sessions_tick(struct sessions *t)
{
	size_t n = 0;
	struct session **v = sessions_all(t, &n);
	uint64_t now = loop_now_ns();
	unsigned next = 0;

	for (size_t i = 0; v && i < n; i++) {
		unsigned ms = BUSY_MS;

		/* An owner that hangs must not take the threads of all ticks with it. */
		if (session_try_enter(v[i])) {
			ms = care_tick(v[i], now);
			session_leave(v[i]);
		}
		session_unref(v[i]);
		if (ms && (!next || ms < next))
			next = ms;
	}
	free(v);
	return v ? next : 100;
}
