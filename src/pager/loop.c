/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads sleep in epoll_wait().  Three descriptors of the loop's own are in
 * the epoll: `bell` (an eventfd in semaphore mode, one count for each job that
 * wants a sleeping thread), `clock` (a timerfd) and `bye` (readable for ever
 * once the loop is to end).
 *
 * A thread looks for events first and takes a job only when there are none; but
 * after an event an urgent job that waits goes before the next one.
 * While jobs wait it does not sleep in epoll_wait(), unless as many threads
 * as may work on jobs do: then the one that ends a job takes the next.
 *
 * When half of the threads of the start are away, one more is started for each that
 * leaves; one that finds more than at the start present ends.
 *
 * Who is away from a job keeps its place among the bounded number at first: more reads at
 * once would only be in the way of those that somebody waits for.  After STRAY_MS it
 * seems to hang: the job is a *stray* until it ends, and the bell rings for the one that
 * gets its place.  The clock says when to look.  When LOOP_STRAYS_MAX have gone astray no other job
 * should leave (loop_thin()), so that threads are left for what is urgent.
 *
 * Lock: `lock` guards the queue, the counts, the places and the next tick's time.  No
 * callback runs under it.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "src/pager/loop.h"

#define THREADS_MIN 8
#define THREADS_MAX 256		/* at the start */
#define STRAY_MS 50

/* Tags of our own; the callers' have their top byte below this. */
#define TAG_BELL (UINT64_C(0xff) << 56)
#define TAG_CLOCK (TAG_BELL + 1)
#define TAG_BYE (TAG_BELL + 2)

struct queue {
	struct loop_job *first;
	struct loop_job **last;
};

enum place_state { PLACE_FREE, PLACE_TAKEN, PLACE_LEFT /* to be joined */ };

/* What its thread is at. */
enum duty { DUTY_OTHER, DUTY_JOB /* one of the bounded number */, DUTY_STRAY };

struct place {
	struct hand hand;
	pthread_t thread;
	/* Under the loop's lock. */
	enum place_state state;
	enum duty duty;
	uint64_t away_ns;		/* since when it is away; 0: it is not */
};

static _Thread_local struct place *mine;	/* NULL: a thread that is none of a loop's */

struct loop {
	const struct loop_ops *ops;
	void *ctx;
	int epoll;
	int bell;
	int clock;
	int bye;
	unsigned nstart;		/* threads at the start */
	_Atomic unsigned nthreads;	/* now; changed under lock */
	unsigned working_max;
	struct place *places;		/* LOOP_THREADS_MAX */
	_Atomic bool ending;
	_Atomic unsigned sleeping;
	_Atomic unsigned waiting;	/* jobs in the queue */
	pthread_mutex_t lock;
	struct queue urgent;		/* under lock */
	struct queue others;		/* under lock */
	unsigned working;		/* under lock: places that have DUTY_JOB */
	unsigned strays;		/* under lock: and DUTY_STRAY */
	unsigned away;			/* under lock */
	uint64_t tick_ns;		/* under lock; 0: none */
};

uint64_t loop_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Under lock. */
static struct queue *next_queue(struct loop *l)
{
	if (l->urgent.first)
		return &l->urgent;
	return l->others.first && l->working < l->working_max ? &l->others : NULL;
}

static struct loop_job *take_job(struct loop *l, bool any)
{
	struct loop_job *job = NULL;
	struct queue *q;

	if (!atomic_load(&l->waiting))
		return NULL;
	pthread_mutex_lock(&l->lock);
	q = next_queue(l);
	if (q && (any || q == &l->urgent)) {
		job = q->first;
		q->first = job->next;
		if (!q->first)
			q->last = &q->first;
		job->next = NULL;
		job->queued = false;
		atomic_fetch_sub(&l->waiting, 1);
		if (!job->urgent) {
			mine->duty = DUTY_JOB;
			l->working++;
		}
	}
	pthread_mutex_unlock(&l->lock);
	return job;
}

static void end_duty(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->working -= mine->duty == DUTY_JOB;
	l->strays -= mine->duty == DUTY_STRAY;
	mine->duty = DUTY_OTHER;
	pthread_mutex_unlock(&l->lock);
}

static void ring(struct loop *l)
{
	uint64_t one = 1;

	(void)!write(l->bell, &one, sizeof(one));
}

bool loop_push(struct loop *l, struct loop_job *job)
{
	struct queue *q = job->urgent ? &l->urgent : &l->others;
	bool was, wake;

	pthread_mutex_lock(&l->lock);
	was = job->queued;
	if (!was) {
		job->queued = true;
		job->next = NULL;
		*q->last = job;
		q->last = &job->next;
		atomic_fetch_add(&l->waiting, 1);
	}
	wake = !was && next_queue(l);
	pthread_mutex_unlock(&l->lock);
	/* In the order of wait_event(), the other way round: one of the two sees the other. */
	if (wake && atomic_load(&l->sleeping))
		ring(l);
	return !was;
}

static bool jobs_wait(struct loop *l)
{
	bool wait;

	if (!atomic_load(&l->waiting))
		return false;
	pthread_mutex_lock(&l->lock);
	wait = next_queue(l);
	pthread_mutex_unlock(&l->lock);
	return wait;
}

/* One event, or none: at once when jobs wait. */
static int wait_event(struct loop *l, struct epoll_event *e)
{
	int n;

	/* Counted as asleep before the queue is looked at: a push in between rings. */
	atomic_fetch_add(&l->sleeping, 1);
	n = epoll_wait(l->epoll, e, 1, jobs_wait(l) ? 0 : -1);
	atomic_fetch_sub(&l->sleeping, 1);
	return n;
}

static int set_clock(struct loop *l, uint64_t ns)
{
	struct itimerspec t = {
		.it_value = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)},
	};

	return timerfd_settime(l->clock, TFD_TIMER_ABSTIME, &t, NULL);
}

void loop_tick_in(struct loop *l, unsigned ms)
{
	uint64_t at = loop_now_ns() + (uint64_t)ms * 1000000;

	pthread_mutex_lock(&l->lock);
	if (!l->tick_ns || at < l->tick_ns) {
		l->tick_ns = at;
		(void)set_clock(l, at);
	}
	pthread_mutex_unlock(&l->lock);
}

/* Under lock.  Whether somebody is away from a job who is no stray yet. */
static bool find_strays(struct loop *l)
{
	uint64_t now = loop_now_ns();
	bool more = false;

	for (unsigned i = 0; l->working && i < LOOP_THREADS_MAX; i++) {
		struct place *place = &l->places[i];

		if (place->duty != DUTY_JOB || !place->away_ns)
			continue;
		if (now - place->away_ns < UINT64_C(1000000) * STRAY_MS) {
			more = true;
			continue;
		}
		place->duty = DUTY_STRAY;
		l->working--;
		l->strays++;
		if (l->others.first)
			ring(l);
	}
	return more;
}

static void tick(struct loop *l, struct hand *hand)
{
	uint64_t n;
	bool more;

	pthread_mutex_lock(&l->lock);
	l->tick_ns = 0;
	(void)!read(l->clock, &n, sizeof(n));
	more = find_strays(l);
	pthread_mutex_unlock(&l->lock);
	(void)loop_rearm(l, l->clock, TAG_CLOCK, EPOLLIN);
	if (more)
		loop_tick_in(l, STRAY_MS);
	l->ops->tick(l->ctx, hand);
}

static void dispatch(struct loop *l, struct hand *hand, const struct epoll_event *e)
{
	uint64_t n;

	/* An event may keep this thread for long: the jobs are somebody else's. */
	if (e->data.u64 != TAG_BELL && atomic_load(&l->sleeping) && jobs_wait(l))
		ring(l);
	if (e->data.u64 == TAG_BELL)
		(void)!read(l->bell, &n, sizeof(n));
	else if (e->data.u64 == TAG_CLOCK)
		tick(l, hand);
	else if (e->data.u64 != TAG_BYE)
		l->ops->ready(l->ctx, hand, e->data.u64, e->events);
}

/* Under lock. */
static unsigned present(const struct loop *l)
{
	return l->nthreads - l->away;
}

/* There are more than needed: it gives up its place.  The bell may have been for it. */
static bool leaves(struct loop *l, struct place *place)
{
	bool leave;

	if (l->nthreads <= l->nstart)
		return false;
	pthread_mutex_lock(&l->lock);
	leave = present(l) > l->nstart;
	if (leave) {
		place->state = PLACE_LEFT;
		l->nthreads--;
		if (next_queue(l))
			ring(l);
	}
	pthread_mutex_unlock(&l->lock);
	return leave;
}

static void *serve(void *arg)
{
	struct place *place = arg;
	struct hand *hand = &place->hand;
	struct loop *l = hand->loop;
	uint8_t *buf = hand->buf;
	struct epoll_event e;
	struct loop_job *job;
	bool urgent;

	mine = place;
	while (!atomic_load(&l->ending) && !leaves(l, place)) {
		int n = wait_event(l, &e);

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			dispatch(l, hand, &e);
		job = take_job(l, n <= 0);
		if (!job)
			continue;
		urgent = job->urgent;		/* it may be gone afterwards */
		l->ops->work(l->ctx, hand, job);
		if (!urgent)
			end_duty(l);
	}
	(void)munmap(buf, LOOP_BUF_LEN);
	return NULL;
}

bool loop_busy(const struct loop *l)
{
	return !atomic_load_explicit(&((struct loop *)l)->sleeping, memory_order_relaxed);
}

bool loop_alone(const struct loop *l)
{
	return atomic_load_explicit(&((struct loop *)l)->sleeping, memory_order_relaxed) + 1 >=
	       l->nthreads;
}

int loop_watch(struct loop *l, int fd, uint64_t tag, uint32_t events)
{
	struct epoll_event e = {.events = events | EPOLLONESHOT, .data.u64 = tag};

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

int loop_rearm(struct loop *l, int fd, uint64_t tag, uint32_t events)
{
	struct epoll_event e = {.events = events | EPOLLONESHOT, .data.u64 = tag};

	return epoll_ctl(l->epoll, EPOLL_CTL_MOD, fd, &e) < 0 ? -errno : 0;
}

void loop_unwatch(struct loop *l, int fd)
{
	(void)epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
}

static int watch_always(struct loop *l, int fd, uint64_t tag)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = tag};

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int open_all(struct loop *l)
{
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	l->bye = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->epoll < 0 || l->bell < 0 || l->bye < 0 || l->clock < 0)
		return -errno;
	if (watch_always(l, l->bell, TAG_BELL) < 0 || watch_always(l, l->bye, TAG_BYE) < 0)
		return -errno;
	return loop_watch(l, l->clock, TAG_CLOCK, EPOLLIN);
}

static unsigned cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
}

static uint8_t *buf_new(void)
{
	void *p = mmap(NULL, 2 * LOOP_BUF_LEN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t at = ((uintptr_t)p + LOOP_BUF_LEN - 1) & ~(uintptr_t)(LOOP_BUF_LEN - 1);

	if (p == MAP_FAILED)
		return NULL;
	if (at > (uintptr_t)p)
		(void)munmap(p, at - (uintptr_t)p);
	(void)munmap((void *)(at + LOOP_BUF_LEN), (uintptr_t)p + LOOP_BUF_LEN - at);
	return (void *)at;
}

/* Under lock. */
static struct place *free_place(struct loop *l)
{
	for (unsigned i = 0; i < LOOP_THREADS_MAX; i++) {
		struct place *place = &l->places[i];

		if (place->state == PLACE_LEFT)
			(void)pthread_join(place->thread, NULL);
		if (place->state != PLACE_TAKEN) {
			place->state = PLACE_FREE;
			return place;
		}
	}
	return NULL;
}

/* Under lock. */
static int start_one(struct loop *l)
{
	struct place *place = free_place(l);
	int rc;

	if (!place)
		return -EAGAIN;
	place->hand = (struct hand){.loop = l, .buf = buf_new()};
	if (!place->hand.buf)
		return -ENOMEM;
	rc = -pthread_create(&place->thread, NULL, serve, place);
	if (rc < 0) {
		(void)munmap(place->hand.buf, LOOP_BUF_LEN);
		return rc;
	}
	place->state = PLACE_TAKEN;
	l->nthreads++;
	return 0;
}

static int start_all(struct loop *l)
{
	int rc = 0;

	l->places = calloc(LOOP_THREADS_MAX, sizeof(*l->places));
	if (!l->places)
		return -ENOMEM;
	pthread_mutex_lock(&l->lock);
	while (l->nthreads < l->nstart && rc == 0)
		rc = start_one(l);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

static bool has_duty(enum duty duty)
{
	return mine && mine->duty == duty;
}

void loop_away(struct loop *l)
{
	bool look;

	pthread_mutex_lock(&l->lock);
	l->away++;
	if (mine)
		mine->away_ns = loop_now_ns();
	look = has_duty(DUTY_JOB);
	if (present(l) <= l->nstart / 2 && !atomic_load(&l->ending))
		(void)start_one(l);
	pthread_mutex_unlock(&l->lock);
	if (look)
		loop_tick_in(l, STRAY_MS);
}

void loop_back(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->away--;
	if (mine)
		mine->away_ns = 0;
	pthread_mutex_unlock(&l->lock);
}

bool loop_thin(struct loop *l)
{
	bool thin;

	pthread_mutex_lock(&l->lock);
	thin = present(l) <= l->nstart / 4 ||
	       (has_duty(DUTY_JOB) && l->strays >= LOOP_STRAYS_MAX);
	pthread_mutex_unlock(&l->lock);
	return thin;
}

int loop_new(unsigned threads, const struct loop_ops *ops, void *ctx, struct loop **ret,
	     struct err *err)
{
	struct loop *l = calloc(1, sizeof(*l));
	unsigned ncores = cores();
	int rc;

	if (!l)
		return err_sys(err, -ENOMEM, "cannot start the serving threads");
	*l = (struct loop){.ops = ops, .ctx = ctx, .epoll = -1, .bell = -1, .clock = -1,
			   .bye = -1};
	l->urgent.last = &l->urgent.first;
	l->others.last = &l->others.first;
	pthread_mutex_init(&l->lock, NULL);
	if (!threads)
		threads = 4 * ncores < THREADS_MIN ? THREADS_MIN : 4 * ncores;
	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	l->nstart = threads;
	l->working_max = threads / 2 < ncores + 1 ? (threads + 1) / 2 : ncores + 1;
	rc = open_all(l);
	if (rc == 0)
		rc = start_all(l);
	if (rc < 0) {
		loop_free(l);
		return err_sys(err, rc, "cannot start the serving threads");
	}
	*ret = l;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

static bool is_used(struct loop *l, const struct place *place)
{
	bool used;

	pthread_mutex_lock(&l->lock);
	used = place->state != PLACE_FREE;
	pthread_mutex_unlock(&l->lock);
	return used;
}

void loop_free(struct loop *l)
{
	uint64_t one = 1;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	atomic_store(&l->ending, true);		/* nobody starts one more from now on */
	pthread_mutex_unlock(&l->lock);
	if (l->bye >= 0)
		(void)!write(l->bye, &one, sizeof(one));
	for (unsigned i = 0; l->places && i < LOOP_THREADS_MAX; i++)
		if (is_used(l, &l->places[i]))
			(void)pthread_join(l->places[i].thread, NULL);
	close_fd(l->epoll);
	close_fd(l->bell);
	close_fd(l->clock);
	close_fd(l->bye);
	pthread_mutex_destroy(&l->lock);
	free(l->places);
	free(l);
}
