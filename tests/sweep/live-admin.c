/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sweep/sweep.h"

int main(void)
{
	static const struct op list[] = {
		{"making one", ops_live_make}, {"removing one", ops_live_remove},
	};
	static struct ops o;

	ops_init(&o, tap_seed(0x6c697665));
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		sweep_everything(&o, &list[i]);
	return tap_done();
}
