/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kills commit and rm at every point. */
#include "tests/crash/crash.h"

int main(void)
{
	static const struct op list[] = {
		{"commit", ops_commit}, {"rm", ops_remove},
	};
	static struct ops o;

	ops_init(&o, tap_seed(0x6b696c6c));
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		crash_everywhere(&o, &list[i]);
	return tap_done();
}
