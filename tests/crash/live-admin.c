/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kills the making and the removal of a live image at every point. */
#include "tests/crash/crash.h"

int main(void)
{
	static const struct op list[] = {
		{"making one", ops_live_make}, {"removing one", ops_live_remove},
	};
	static struct ops o;

	ops_init(&o, tap_seed(0x6c697665));
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		crash_everywhere(&o, &list[i]);
	return tap_done();
}
