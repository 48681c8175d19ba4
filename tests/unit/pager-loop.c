/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/loop.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "tests/tap.h"

#define THREADS 4

static struct loop *loop;
static struct err err;
static _Atomic unsigned events, jobs, urgent_jobs, ticks, at_once, most_at_once, away;
static _Atomic unsigned refused, went;
static _Atomic bool hold;
static struct loop_job hanging[LOOP_STRAYS_MAX + 20];
static int fds[64];

static void pause_ms(unsigned ms)
{
	(void)poll(NULL, 0, (int)ms);
}

#define NHANGING (sizeof(hanging) / sizeof(hanging[0]))

/* Until it is so, or for long. */
#define wait_until(cond)					\
	({							\
		for (int i_ = 0; i_ < 20000 && !(cond); i_++)	\
			pause_ms(1);				\
		(cond);						\
	})

static void enter(void)
{
	unsigned n = atomic_fetch_add(&at_once, 1) + 1, most = most_at_once;

	while (n > most && !atomic_compare_exchange_weak(&most_at_once, &most, n))
		;
}

/* A callback that hangs, and says so. */
static void go_away(void)
{
	away++;
	loop_away(loop);
	while (hold)
		pause_ms(1);
	loop_back(loop);
	away--;
	went++;
}

static void ready(void *ctx, struct hand *hand, uint64_t tag, uint32_t what)
{
	(void)ctx;
	(void)hand;
	(void)what;
	events++;
	if (tag >= 64)
		go_away();
}

static void work(void *ctx, struct hand *hand, struct loop_job *job)
{
	(void)ctx;
	(void)hand;
	if (job->urgent) {
		urgent_jobs++;
		return;
	}
	if (job >= hanging && job < hanging + NHANGING) {
		if (loop_thin(loop))
			refused++;
		else
			go_away();
		return;
	}
	enter();
	while (hold && !away)
		pause_ms(1);
	jobs++;
	at_once--;
}

static void tick(void *ctx, struct hand *hand)
{
	(void)ctx;
	(void)hand;
	ticks++;
}

static const struct loop_ops ops = {ready, work, tick};

static void test_events(void)
{
	is_int(loop_watch(loop, fds[0], 1, EPOLLIN), 0, "a descriptor is watched");
	eventfd_write(fds[0], 1);
	ok(wait_until(events == 1), "it is told of");
	pause_ms(20);
	is_int(events, 1, "once");
	is_int(loop_rearm(loop, fds[0], 1, EPOLLIN), 0, "armed again");
	ok(wait_until(events == 2), "it is told of again");
	loop_unwatch(loop, fds[0]);
	is_int(loop_rearm(loop, fds[0], 1, EPOLLIN), -ENOENT, "watched no more");
}

static void test_jobs(void)
{
	static struct loop_job many[32], urgent = {.urgent = true};

	hold = true;
	for (int i = 0; i < 32; i++)
		ok(loop_push(loop, &many[i]), "a job is queued");
	ok(!loop_push(loop, &many[31]), "but once");
	ok(wait_until(at_once > 0), "they begin");
	ok(loop_push(loop, &urgent), "one more, that is urgent");
	ok(wait_until(urgent_jobs == 1), "is done while they go on");
	eventfd_write(fds[1], 1);
	events = 0;
	is_int(loop_watch(loop, fds[1], 1, EPOLLIN), 0, "and there is a thread left");
	ok(wait_until(events == 1), "for the next event");
	hold = false;
	ok(wait_until(jobs == 32), "all are done");
	ok(most_at_once < THREADS, "never by all threads at once");
	for (int i = 0; i < 2000; i++) {
		(void)loop_push(loop, &urgent);
		if (!wait_until(urgent_jobs == (unsigned)i + 2))
			break;
	}
	is_int(urgent_jobs, 2001, "none is lost");
}

static void test_tick(void)
{
	loop_tick_in(loop, 100000);
	loop_tick_in(loop, 1);
	loop_tick_in(loop, 100000);
	ok(wait_until(ticks == 1), "the earliest time counts");
	pause_ms(20);
	is_int(ticks, 1, "once");
}

/* As many as may be hang; there is always somebody for the next event. */
static void test_away(void)
{
	hold = true;
	for (unsigned i = 2; i < 34; i++) {
		eventfd_write(fds[i], 1);
		(void)loop_watch(loop, fds[i], 64 + i, EPOLLIN);
		if (!ok(wait_until(away == i - 1), "%u threads hang", i - 1))
			break;
	}
	ok(!loop_thin(loop), "others have taken their places");
	events = 0;
	eventfd_write(fds[40], 1);
	(void)loop_watch(loop, fds[40], 1, EPOLLIN);
	ok(wait_until(events == 1), "an event is seen to");
	hold = false;
	ok(wait_until(away == 0), "they go on");
	ok(wait_until(loop_alone(loop)), "and sleep");
	hold = true;
	for (unsigned i = 41; i < 60; i++) {
		eventfd_write(fds[i], 1);
		(void)loop_watch(loop, fds[i], 64 + i, EPOLLIN);
	}
	ok(wait_until(away == 19), "all that once more");
	hold = false;
	ok(wait_until(away == 0), "they go on");
}

/* Jobs that hang are none of the bounded number after a while, until too many do. */
static void test_strays(void)
{
	static struct loop_job plain, many[32];
	unsigned did = jobs;

	hold = true;
	for (unsigned i = 0; i < NHANGING; i++) {
		(void)loop_push(loop, &hanging[i]);
		if (i != 9)
			continue;
		ok(wait_until(away == 10), "ten jobs hang");
		(void)loop_push(loop, &plain);
		ok(wait_until(jobs == did + 1), "another one is done");
	}
	ok(wait_until(away + refused == NHANGING), "many more hang");
	ok(away >= LOOP_STRAYS_MAX && away < LOOP_STRAYS_MAX + THREADS, "until they are too many");
	ok(refused > 0, "which jobs are told");
	(void)loop_push(loop, &plain);
	ok(wait_until(jobs == did + 2), "what needs not leave is done all the same");
	hold = false;
	ok(wait_until(away == 0), "they go on");
	most_at_once = 0;
	for (int i = 0; i < 32; i++)
		(void)loop_push(loop, &many[i]);
	ok(wait_until(jobs == did + 34), "jobs are done as before");
	ok(most_at_once < THREADS, "never by all threads at once");
	ok(wait_until(loop_alone(loop)), "and all sleep");
	refused = went = 0;
	for (unsigned i = 0; i < NHANGING; i++)
		(void)loop_push(loop, &hanging[i]);
	ok(wait_until(went == NHANGING), "so do those that hung, and no place is missing");
	is_int(refused, 0, "nor any thread");
}

int main(void)
{
	for (int i = 0; i < 64; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	is_int(loop_new(THREADS, &ops, NULL, &loop, &err), 0, "a loop");
	test_events();
	test_jobs();
	test_tick();
	test_away();
	test_strays();
	loop_free(loop);
	loop_free(NULL);
	return tap_done();
}
