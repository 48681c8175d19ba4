/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/tally.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tap.h"

#define CURRENT_AT 24		/* magic, layout, size, draining, given */
#define VERSION_AT 28

static struct err err;

static struct tally *new_tally(void)
{
	struct tally *t;

	if (tally_new(&t, &err) < 0)
		bail("%s", err.text);
	return t;
}

/* As the next worker gets it. */
static int copy_of(const struct tally *t)
{
	return fcntl(tally_fd(t), F_DUPFD_CLOEXEC, 3);
}

static struct tally *next_of(const struct tally *t)
{
	struct tally *next = NULL;

	is_int(tally_adopt(copy_of(t), &next, &err), 0, "a next worker");
	if (!next)
		bail("%s", err.text);
	return next;
}

static struct state_head *counted(uint64_t faults)
{
	struct state_head *head = calloc(1, sizeof(*head));

	head->count.faults = faults;
	hist_add(&head->latency, 5000);
	return head;
}

static void test_new(void)
{
	struct tally *t = new_tally();

	ok(!tally_draining(t), "a new one does not drain");
	ok(!tally_is_last(t, 1) && tally_past(t)->count[0] == 0, "and has counted nothing");
	ok(fcntl(tally_fd(t), F_GETFD) & FD_CLOEXEC, "other programs do not inherit it");
	ok(ftruncate(tally_fd(t), 1) < 0 && errno == EPERM, "nobody can cut it short");
	is_int(tally_number(t), 1, "numbers begin at 1");
	is_int(tally_number(t), 2, "and count up");
	tally_number_seen(t, 9);
	tally_number_seen(t, 3);
	is_int(tally_number(t), 10, "behind those that others gave");
	tally_close(t);
	tally_close(NULL);
}

static void test_next(void)
{
	struct tally *t = new_tally(), *next;
	struct state_head *a = counted(3), *b = counted(4);

	(void)tally_number(t);
	tally_drain(t, false);
	ok(!tally_exiting(t), "one that drains goes on without sessions");
	tally_drain(t, true);
	tally_drain(t, false);
	tally_add(t, 5, a);
	tally_add(t, 6, b);
	next = next_of(t);
	tally_close(t);
	ok(tally_draining(next) && tally_exiting(next), "drains, too, and is to end");
	is_int(tally_past(next)->count[0], 7, "has the sums");
	is_int(hist_at_most(&tally_past(next)->latency, UINT64_MAX), 2, "the latencies");
	ok(tally_is_last(next, 6) && !tally_is_last(next, 5), "knows who was last");
	is_int(tally_number(next), 2, "and which numbers were given");
	tally_add(next, 7, a);
	is_int(tally_past(next)->count[0], 10, "and goes on");
	tally_close(next);
	free(a);
	free(b);
}

/* At any moment: the sum is that of whole sessions, and `last` fits it. */
static void test_killed(void)
{
	struct tally *t = new_tally(), *next;
	struct state_head *one = counted(1);
	unsigned bad = 0;
	uint64_t n = 0;

	for (int i = 0; i < 40; i++) {
		pid_t pid = fork();

		for (uint32_t k = (uint32_t)n; pid == 0; k++)
			tally_add(t, k + 1, one);
		usleep(200);
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		n = tally_past(t)->count[0];
		bad += hist_at_most(&tally_past(t)->latency, UINT64_MAX) != n;
		bad += !tally_is_last(t, (uint32_t)n);
	}
	is_int(bad, 0, "who is killed has added a session wholly or not at all");
	tap_diag("%llu added", (unsigned long long)n);
	next = next_of(t);
	is_int(tally_past(next)->count[0], n, "sees the same");
	tally_close(next);
	tally_close(t);
	free(one);
}

static void write_u32(int fd, off_t at, uint32_t value)
{
	if (pwrite(fd, &value, sizeof(value), at) != sizeof(value))
		bail("pwrite");
}

/* Who takes over is there to take new sessions. */
static void test_version(void)
{
	struct tally *t = new_tally(), *next;
	struct state_head *a = counted(3);

	tally_add(t, 5, a);
	tally_drain(t, true);
	write_u32(tally_fd(t), VERSION_AT, 0x00373737);
	next = next_of(t);
	ok(!tally_draining(next) && !tally_exiting(next), "of another version it does not drain");
	is_int(tally_past(next)->count[0], 3, "but has the sums");
	tally_drain(next, false);
	tally_close(t);
	t = next_of(next);
	ok(tally_draining(t) && !tally_exiting(t), "until it does");
	tally_close(next);
	tally_close(t);
	free(a);
}

static void test_refused(void)
{
	struct tally *t = new_tally(), *next = NULL;
	int fd = memfd_create("none", MFD_CLOEXEC), copy = copy_of(t);

	is_err(tally_adopt(fd, &next, &err), &err, -EMEDIUMTYPE, "this is no pager's tally");
	if (ftruncate(fd, 1 << 20) < 0)
		bail("ftruncate");
	is_err(tally_adopt(fd, &next, &err), &err, -EMEDIUMTYPE, "this is no pager's tally");
	ok(fcntl(fd, F_GETFD) >= 0, "what is refused stays open");
	is_int(tally_adopt(-1, &next, &err), -EBADF, "nor is nothing");
	write_u32(copy, CURRENT_AT, 2);
	is_err(tally_adopt(copy, &next, &err), &err, -EBADMSG, "the pager's tally has no sum 2");
	write_u32(copy, 8, 77);
	is_int(tally_adopt(copy, &next, &err), -EPROTONOSUPPORT, "another layout");
	ok(strstr(err.text, "the pager's tally has layout 77 and "), "is told");
	ok(!next, "nothing comes of it");
	close(copy);
	close(fd);
	tally_close(t);
}

int main(void)
{
	test_new();
	test_next();
	test_killed();
	test_version();
	test_refused();
	return tap_done();
}
