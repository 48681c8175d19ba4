/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/pager/want.h"
#include "store/base/vec.h"

void wants_fini(struct wants *w)
{
	vec_fini(w);
}

struct want *wants_find(struct wants *w, uint64_t page)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].page == page)
			return &w->v[i];
	return NULL;
}

int wants_add(struct wants *w, uint64_t page, uint64_t asked_ns)
{
	struct want want = {.page = page, .asked_ns = asked_ns, .step = WANT_READY};

	return w->n < WANTS_MAX ? vec_push(w, want) : -ENOMEM;
}

void wants_drop(struct wants *w, uint64_t page)
{
	struct want *want = wants_find(w, page);
	size_t i;

	if (!want)
		return;
	i = (size_t)(want - w->v);
	memmove(want, want + 1, (w->n - i - 1) * sizeof(*want));
	w->n--;
}

bool wants_pressing(const struct wants *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].step != WANT_PARKED)
			return true;
	return false;
}

struct want *wants_ready(struct wants *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].step == WANT_READY)
			return &w->v[i];
	return NULL;
}

uint64_t wants_unpark(struct wants *w, uint64_t now_ns)
{
	uint64_t next = 0;

	for (size_t i = 0; i < w->n; i++) {
		struct want *want = &w->v[i];

		if (want->step != WANT_PARKED)
			continue;
		if (want->due_ns <= now_ns)
			want->step = WANT_READY;
		else if (!next || want->due_ns < next)
			next = want->due_ns;
	}
	return next;
}
