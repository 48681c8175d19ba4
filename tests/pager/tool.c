/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/pager/tool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const char *tool_name = "tool";
const char *_Atomic tool_where;

static void say(const char *fmt, va_list ap, int saved)
{
	const char *where = tool_where;
	char text[1024];

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	fflush(stdout);
	fprintf(stderr, "%s: %s%s%s%s%s\n", tool_name, where ? where : "", where ? ": " : "", text,
		saved ? ": " : "", saved ? strerror(saved) : "");
}

/* Not _exit: ThreadSanitizer would complain there of threads that are left. */
_Noreturn void tool_exit(int status)
{
	for (;;)
		syscall(SYS_exit_group, status);
}

void tool_die(enum tool_status status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap, 0);
	va_end(ap);
	tool_exit(status);
}

void tool_fail(const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap, saved);
	va_end(ap);
	tool_exit(TOOL_FAILED);
}

void *tool_alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		tool_fail("%zu bytes", n * size);
	return p;
}

/* A thread, not a signal: the others may be inside faults that nobody answers. */
static void *watch(void *arg)
{
	sleep(*(unsigned *)arg);
	tool_die(TOOL_TIMEOUT, "out of time");
}

void tool_watchdog(unsigned seconds)
{
	static unsigned left;
	pthread_t thread;

	left = seconds;
	if (pthread_create(&thread, NULL, watch, &left))
		tool_die(TOOL_FAILED, "no thread");
	pthread_detach(thread);
}

uint64_t tool_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t tool_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void tool_shuffle(uint64_t *a, size_t n, uint64_t *state)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = tool_random(state) % i;
		uint64_t t = a[i - 1];

		a[i - 1] = a[j];
		a[j] = t;
	}
}

int tool_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	const char *unit;
	uint64_t value;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno)
		return -EINVAL;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1])
			return -EINVAL;
		if (__builtin_mul_overflow(value, UINT64_C(1) << 10 * (unit - units + 1), &value))
			return -EINVAL;
	}
	*ret = value;
	return 0;
}

uint64_t tool_number(const char *text)
{
	uint64_t value;

	if (tool_size(text, &value) < 0)
		tool_die(TOOL_FAILED, "'%s' is no number", text);
	return value;
}

void tool_fifo(void)
{
	struct sched_param param = {.sched_priority = 1};

	if (sched_setscheduler(0, SCHED_FIFO, &param) < 0)
		tool_fail("SCHED_FIFO");
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void tool_latency(const char *head, uint64_t *ns, size_t n)
{
	if (!n)
		tool_die(TOOL_FAILED, "nothing was measured");
	qsort(ns, n, sizeof(*ns), compare);
	printf("{%s\"n\":%zu,\"p50_ns\":%llu,\"p99_ns\":%llu,\"max_ns\":%llu}\n", head, n,
	       (unsigned long long)ns[(n - 1) / 2], (unsigned long long)ns[(n - 1) * 99 / 100],
	       (unsigned long long)ns[n - 1]);
}
