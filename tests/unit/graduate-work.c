/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Words and orders; completions of pagers that are not there. */
#include "src/graduate/work.h"
#include "tests/tap.h"

#include <poll.h>

#define HOUR_MS 3600000

static struct work *work;
static struct err err;

static void start(const char *id, uint64_t timeout_ms)
{
	const struct work_order order = {
		.pager = tap_path("none.sock"), .version = "1.0", .id = id, .number = 7,
		.timeout_ms = timeout_ms, .rate = 1, .min_available = 1, .max_pressure = 5,
	};

	is_int(work_start(work, &order, &err), 0, "%s begins", id);
}

/* The next that ends; there is a limit to waiting only if there is none. */
static struct work_result next(void)
{
	struct pollfd fd = {.fd = work_fd(work), .events = POLLIN};
	struct work_result r = {0};

	while (!work_take(work, &r))
		if (poll(&fd, 1, 60000) != 1)
			bail("nothing ends");
	return r;
}

static void test_words(void)
{
	static const enum work_outcome over[] = {WORK_GRADUATED, WORK_ALREADY, WORK_GONE};
	int n = 0;

	for (int i = 0; i < WORK_NOUTCOMES; i++) {
		enum work_outcome o = (enum work_outcome)i;

		ok(*work_word(o), "%s is a word", work_word(o));
		n += work_is_over(o);
	}
	is_int(n, 3, "after three of them nothing is left to do");
	for (size_t i = 0; i < 3; i++)
		ok(work_is_over(over[i]), "%s", work_word(over[i]));
}

static void test_unreachable(void)
{
	struct work_result r;

	is_int(work_running(work), 0, "nothing runs");
	ok(!work_take(work, &r), "nothing has ended");
	start("vm/1", 250);
	is_int(work_running(work), 1, "one runs");
	r = next();
	is_int(work_running(work), 0, "it was taken");
	is_str(r.id, "vm/1", "its id");
	is_str(r.version, "1.0", "version");
	is_str(r.pager, tap_path("none.sock"), "pager");
	is_int(r.number, 7, "number");
	is_int(r.outcome, WORK_UNREACHABLE, "nobody was there, again and again");
	is_str(strrchr(r.err.text, '/'), "/none.sock'", "which a sentence says");
	ok(r.pages == 0 && r.bytes == 0 && r.seconds >= 0, "nothing was done");
	work_result_fini(&r);
}

static void test_cancel(void)
{
	struct work_result r;

	for (int i = 0; i < 3; i++)
		start("held", HOUR_MS);
	work_cancel(work);
	for (int i = 0; i < 3; i++) {
		r = next();
		is_int(r.outcome, WORK_CANCELLED, "is called off");
		is_str(r.err.text, "the controller ends", "as it says");
		work_result_fini(&r);
	}
	is_int(work_running(work), 0, "all are taken");
	start("late", HOUR_MS);
	r = next();
	is_int(r.outcome, WORK_CANCELLED, "what begins then, too");
	work_result_fini(&r);
}

static void test_drain(void)
{
	is_err(work_drain(tap_path("none.sock"), 1000, &err), &err, -ENOENT,
	       "there is no socket '%s/none.sock'", tap_tmpdir());
}

int main(void)
{
	test_words();
	if (work_new(&work, &err) < 0)
		bail("%s", err.text);
	test_unreachable();
	test_drain();
	test_cancel();
	start("left", HOUR_MS);
	work_free(work);
	work_free(NULL);
	return tap_done();
}
