/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sweep/sweep.h"

int main(void)
{
	static const struct op list[] = {
		{"gc", ops_gc}, {"gc --repack", ops_repack},
	};
	static struct ops o;

	ops_init(&o, tap_seed(0x73776565));
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		sweep_everything(&o, &list[i]);
	return tap_done();
}
