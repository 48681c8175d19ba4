/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/refusals.h"

#include "src/agent/logs.h"
#include "tests/tap.h"

static struct refusals refusals;

static const char *newest(void)
{
	static struct logs_line line;
	uint64_t lost;

	return logs_next(logs_last() - 1, &line, &lost) ? line.text : NULL;
}

/* A minute later. */
static void end_window(void)
{
	refusals.end_ms = 0;
}

static void test_flood(void)
{
	refusals_init(&refusals, "by TCP");
	logs_add(LOGS_INFO, "what is to be seen");
	for (int i = 1; i <= 1000; i++)
		refusals_add(&refusals, "number %d was refused", i);
	is_int(logs_last(), 1 + REFUSALS_TOLD, "of a thousand the first have lines");
	is_str(newest(), "number 8 was refused", "which say who they were");
	refusals_tell(&refusals);
	is_int(logs_last(), 1 + REFUSALS_TOLD, "a reader makes no more of them");
}

static void test_windows(void)
{
	uint64_t before;

	refusals_init(&refusals, "by TCP");
	for (int i = 0; i < 1000; i++)
		refusals_add(&refusals, "x");
	end_window();
	before = logs_last();
	refusals_tell(&refusals);
	is_str(newest(), "992 more by TCP were refused", "later they are told of");
	is_int(logs_last(), before + 1, "in one line");
	refusals_tell(&refusals);
	is_int(logs_last(), before + 1, "once");
	for (int i = 0; i <= REFUSALS_TOLD; i++)
		refusals_add(&refusals, "y");
	end_window();
	before = logs_last();
	refusals_add(&refusals, "z");
	is_int(logs_last(), before + 2, "who comes then tells of those before");
	is_str(newest(), "z", "and of himself");
}

int main(void)
{
	if (logs_init(LOGS_DEBUG, NULL) < 0)
		bail("no log");
	test_flood();
	test_windows();
	return tap_done();
}
