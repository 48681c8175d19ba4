/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/huge.h"

#include "src/pager/promised.h"
#include "src/pager/session.h"

static bool is_huge(const struct region *r)
{
	return r->page_size > 4096;
}

static bool has_huge(const struct session *s)
{
	const struct state_head *head = s->state->head;

	for (uint32_t i = 0; i < head->nregions; i++)
		if (is_huge(&head->regions[i]))
			return true;
	return false;
}

/* Pages that are not in the guest's memory. */
static uint64_t lacking_in(const struct session *s, const struct region *r)
{
	uint64_t n = 0;

	for (uint64_t page = r->first; page < r->first + region_pages(r); page++) {
		uint8_t state = state_get(s->state, page);

		n += (state & STATE_PAGE) != STATE_PRESENT && !(state & STATE_BACK);
	}
	return n;
}

static struct promised_guest guest_of(const struct session *s)
{
	const struct state_head *head = s->state->head;
	struct promised_guest guest = {s->pid, head->regions, head->nregions, 0};

	for (uint32_t i = 0; i < head->nregions; i++)
		if (is_huge(&head->regions[i]))
			guest.pages += lacking_in(s, &head->regions[i]);
	return guest;
}

int huge_begin(struct session *s, struct err *err)
{
	struct promised_guest guest = guest_of(s);

	return has_huge(s) ? promised_some(s->env->runtime_dir, &guest, err) : 0;
}

int huge_finish(struct session *s, struct err *err)
{
	struct promised_guest guest = guest_of(s);

	return has_huge(s) ? promised_all(s->env->runtime_dir, &guest, err) : 0;
}

void huge_drop(const struct session *s)
{
	struct promised_guest guest = guest_of(s);

	if (has_huge(s))
		promised_drop(s->env->runtime_dir, &guest);
}
