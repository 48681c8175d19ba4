/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/progress.h"
#include "tests/tap.h"

struct heard {
	char what[16];
	enum progress_unit unit;
	uint64_t done, total;
	int answer;
};

static int hear(void *ctx, const char *what, enum progress_unit unit, uint64_t done,
		uint64_t total)
{
	struct heard *h = ctx;

	(void)snprintf(h->what, sizeof(h->what), "%s", what);
	h->unit = unit;
	h->done = done;
	h->total = total;
	return h->answer;
}

int main(void)
{
	struct heard h = {.answer = 0};
	struct progress p = {.fn = hear, .ctx = &h}, none = {0};

	is_int(progress_tell(NULL, "pages", PROGRESS_COUNT, 1, 2), 0, "nobody listens");
	is_int(progress_tell(&none, "pages", PROGRESS_COUNT, 1, 2), 0, "nor here");
	is_int(progress_tell(&p, "pages", PROGRESS_COUNT, 3, 4), 0, "somebody does");
	is_str(h.what, "pages", "what");
	is_int(h.unit, PROGRESS_COUNT, "of what kind");
	ok(h.done == 3 && h.total == 4, "how far of how much");
	h.answer = 1;
	is_int(progress_tell(&p, "pages", PROGRESS_COUNT, 4, 4), -ECANCELED,
	       "and may stop the work");
	h.answer = -5;
	is_int(progress_tell(&p, "pages", PROGRESS_COUNT, 4, 4), -ECANCELED,
	       "with any answer but 0");
	return tap_done();
}
