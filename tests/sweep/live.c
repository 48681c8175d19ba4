/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The n-th call of a kind fails while a live image is used, for every n: it is told, or nothing
 * is wrong; opened again it has what was written before.
 */
#include "tests/story.h"
#include "tests/sweep/sweep.h"

static struct story st;

/* 1: the fault struck, 0: there are not as many calls. */
static int once(const struct sweep_fault *f, unsigned long n, struct sweep_count *c)
{
	struct err err = {{0}};
	bool struck;
	int rc;

	story_fresh(&st);
	if (f->from)
		fault_arm_from(f->kind, n, f->error);
	else
		fault_arm(f->kind, n, f->error);
	rc = story_tell(&st, &err);
	struck = fault_struck();
	fault_disarm();
	if (!struck && rc < 0)
		c->wrong = "it failed without a fault";
	c->tried += struck;
	c->failed += rc < 0;
	if (rc < 0 && !err.text[0])
		c->wrong = "it failed without a sentence";
	if (!c->wrong)
		c->wrong = story_check(&st, 1);
	if (c->wrong)
		tap_diag("at call %lu, step %u: %s (%s)", n, st.far->begun, c->wrong, err.text);
	return struck;
}

int main(void)
{
	unsigned long step = ops_step();

	story_init(&st, tap_seed(0x6c697665));
	for (size_t i = 0; i < SWEEP_FAULTS; i++) {
		const struct sweep_fault *f = &sweep_faults[i];
		struct sweep_count c = {0};
		unsigned long n = 1;

		while (n < SWEEP_CALLS_MAX && !c.wrong && once(f, n, &c))
			n += step + (f->many ? n / 6 : 0);
		ok(!c.wrong, "%s failed at %lu places, %lu times it was told", f->name, c.tried,
		   c.failed);
	}
	return tap_done();
}
