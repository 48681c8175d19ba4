/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/thread.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/tap.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static pthread_t who;
static int got;

static void *take(void *arg)
{
	pthread_mutex_lock(&lock);
	who = pthread_self();
	got = *(int *)arg;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static struct timespec monotonic_in(long seconds)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += seconds;
	return t;
}

static void test_detached(void)
{
	struct timespec until = monotonic_in(60);
	int seven = 7, rc = 0;

	is_int(thread_detached(take, &seven), 0, "a thread");
	pthread_mutex_lock(&lock);
	while (!got && rc == 0)
		rc = pthread_cond_timedwait(&changed, &lock, &until);
	ok(got == 7 && !pthread_equal(who, pthread_self()), "runs beside this one");
	pthread_mutex_unlock(&lock);
}

/* By another clock the time would have passed long ago, or be far away. */
static void test_clock(void)
{
	struct timespec past = monotonic_in(-1), now;

	pthread_mutex_lock(&lock);
	is_int(pthread_cond_timedwait(&changed, &lock, &past), ETIMEDOUT, "a time that is over");
	pthread_mutex_unlock(&lock);
	past = monotonic_in(0);
	past.tv_nsec += 20000000;
	past.tv_sec += past.tv_nsec / 1000000000;
	past.tv_nsec %= 1000000000;
	pthread_mutex_lock(&lock);
	while (pthread_cond_timedwait(&changed, &lock, &past) == 0)
		;
	pthread_mutex_unlock(&lock);
	clock_gettime(CLOCK_MONOTONIC, &now);
	ok(now.tv_sec > past.tv_sec || (now.tv_sec == past.tv_sec && now.tv_nsec >= past.tv_nsec),
	   "a time to come is waited for, by the monotonic clock");
}

static void *nothing(void *arg)
{
	return arg;
}

/* More than there are addresses, so that it fails for whoever runs this. */
static void test_none(void)
{
	pthread_attr_t old, large;

	pthread_getattr_default_np(&old);
	pthread_attr_init(&large);
	pthread_attr_setstacksize(&large, (size_t)1 << 47);
	is_int(pthread_setattr_default_np(&large), 0, "threads with stacks that do not fit");
	is_int(thread_detached(nothing, NULL), -EAGAIN, "cannot be made");
	pthread_setattr_default_np(&old);
	is_int(thread_detached(nothing, NULL), 0, "others can");
}

/* What the kernel made of it is seen in tests/fuse/prompt.sh. */
static void *be_prompt(void *arg)
{
	struct sched_param none = {0};
	int *policy = arg;

	if (*policy != SCHED_OTHER && sched_setscheduler(0, *policy, &none) < 0)
		bail("sched_setscheduler");
	if (setpriority(PRIO_PROCESS, 0, 3) < 0)
		bail("setpriority");
	thread_be_prompt();
	*policy = sched_getscheduler(0);
	is_int(getpriority(PRIO_PROCESS, 0), 3, "niceness is as it was");
	return NULL;
}

static void test_prompt(void)
{
	static const int policies[] = {SCHED_OTHER, SCHED_BATCH};

	for (unsigned i = 0; i < 2; i++) {
		int policy = policies[i];
		pthread_t thread;

		if (pthread_create(&thread, NULL, be_prompt, &policy))
			bail("pthread_create");
		pthread_join(thread, NULL);
		is_int(policy, policies[i], "the policy, too");
	}
}

int main(void)
{
	thread_cond_init(&changed);
	test_detached();
	test_clock();
	test_none();
	test_prompt();
	return tap_done();
}
