/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/vec.h"
#include "tests/fault.h"
#include "tests/tap.h"

struct point {
	int x, y;
};

int main(void)
{
	VEC(struct point) points = {0};
	int rc = 0;

	for (int i = 0; i < 1000 && rc == 0; i++)
		rc = vec_push(&points, ((struct point){i, -i}));
	is_int(rc, 0, "a thousand pushes");
	is_int(points.n, 1000, "are counted");
	ok(points.v[999].x == 999 && points.v[500].y == -500, "and kept in order");
	vec_fini(&points);
	ok(!points.v && !points.n && !points.cap, "fini empties");

	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	rc = vec_push(&points, ((struct point){0, 0}));
	fault_disarm();
	is_int(rc, -ENOMEM, "no memory is an error");
	is_int(points.n, 0, "and adds nothing");
	is_int(vec_push(&points, ((struct point){1, 2})), 0, "the next push works");
	points.cap = points.n = SIZE_MAX / 8;
	is_int(vec_push(&points, ((struct point){1, 2})), -ENOMEM, "a size that overflows");
	vec_fini(&points);
	return tap_done();
}
