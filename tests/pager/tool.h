/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tool: what the guests of tests/pager share: the end of a program, a clock,
 * random numbers that a seed repeats, latencies as JSON.
 *
 * Exit statuses: 0 good, 1 a wrong byte or a broken expectation, 2 usage or a
 * system call that failed, 3 an unexpected SIGBUS, 4 a timeout, 77 this
 * machine cannot.
 */
#ifndef LAMINA_TESTS_PAGER_TOOL_H
#define LAMINA_TESTS_PAGER_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tool_status {
	TOOL_WRONG = 1,
	TOOL_FAILED = 2,
	TOOL_BUS = 3,
	TOOL_TIMEOUT = 4,
	TOOL_SKIP = 77
};

/* Said before every message: the program's name, and (may be NULL) where in it. */
extern const char *tool_name;
extern const char *_Atomic tool_where;

/* Ends the process at once, whatever its other threads do. */
_Noreturn void tool_exit(int status);
/* The same with a message. */
_Noreturn void tool_die(enum tool_status status, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The same with TOOL_FAILED and errno's text behind it. */
_Noreturn void tool_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void *tool_alloc(size_t n, size_t size);	/* zeroed; or dies */

/* Ends the process with TOOL_TIMEOUT unless it has ended before. */
void tool_watchdog(unsigned seconds);

uint64_t tool_now_ns(void);
uint64_t tool_random(uint64_t *state);
void tool_shuffle(uint64_t *a, size_t n, uint64_t *state);

/* "4096", "0x1000", "64K", "2M", "3G"; -EINVAL. */
int tool_size(const char *text, uint64_t *ret);
/* The same for an argument of the program; dies. */
uint64_t tool_number(const char *text);

/* This thread, and those it starts, real-time; dies when it may not be. */
void tool_fifo(void);

/* Sorts; prints {HEAD"n":…,"p50_ns":…,"p99_ns":…,"max_ns":…} and a newline. */
void tool_latency(const char *head, uint64_t *ns, size_t n);

#endif
