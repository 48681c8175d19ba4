/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hypervisor that hung up is gone, normally, and its memory with it.  Where
 * its memory still exists (it is about to end, or somebody else has it too), closing
 * the userfaultfd would turn what is missing into zeros; so the session serves
 * on, and looks again every PROBE_MS.
 *
 * It may also have unmapped its memory and gone on to something else.  The kernel tells
 * only page by page whether anything is registered: the one that was is asked for again,
 * and when it is not there all others are, a part of them at a time.
 */
#include "src/pager/care.h"
#include "src/pager/complete.h"
#include "src/pager/handoff.h"
#include "src/pager/replay.h"
#include "src/pager/session.h"
#include "src/pager/touch.h"
#include "src/pager/uffd.h"
#include "store/base/log.h"

#define PROBE_MS 100
#define SEARCH_MS 5
#define SEARCH_PAGES 16384	/* in a row; 10 ms or so */

void care_gone(struct session *s, const char *why)
{
	session_end(s, STATE_GONE, *s->state->head->reason ? NULL : why);
}

/* False: no page of it is registered, as far as was looked. */
static bool search(struct session *s)
{
	uint64_t npages = s->state->head->npages;

	for (unsigned i = 0; i < SEARCH_PAGES && s->probed < npages; i++) {
		const struct region *r = session_region(s, s->probe);

		if (uffd_is_registered(s->fd[SESSION_UFFD], region_addr(r, s->probe))) {
			s->probed = 0;
			return true;
		}
		s->probe = (s->probe + 1) % npages;
		s->probed++;
	}
	return false;
}

static unsigned probe_ms(const struct session *s)
{
	return s->probed ? SEARCH_MS : PROBE_MS;
}

void care_hang_up(struct session *s)
{
	if (s->ended)
		return;
	if (!session_guest_lives(s)) {
		care_gone(s, CARE_ENDED);
		return;
	}
	if (!search(s) && s->probed == s->state->head->npages) {
		care_gone(s, "the hypervisor hung up, and has unmapped its memory");
		return;
	}
	if (!s->hung_up && !s->probed)
		log_info("%s: the hypervisor hung up, but its memory is still there", s->setup.id);
	s->hung_up = true;
	loop_tick_in(s->env->loop, probe_ms(s));
}

static unsigned sooner(unsigned a, unsigned b)
{
	return !a || (b && b < a) ? b : a;
}

static unsigned unpark(struct session *s, uint64_t now_ns)
{
	uint64_t next = wants_unpark(&s->wants, now_ns);

	if (wants_ready(&s->wants))
		session_rescue(s);
	return next ? (unsigned)((next - now_ns) / 1000000) + 1 : 0;
}

static unsigned flush(struct session *s, uint64_t now_ns)
{
	if (!s->touch)
		return 0;
	if (now_ns - s->flush_ns >= UINT64_C(1000000) * TOUCH_FLUSH_MS) {
		s->flush_ns = now_ns;
		(void)touch_flush(s->touch);	/* session_end() says if it stays so */
	}
	return TOUCH_FLUSH_MS;
}

unsigned care_tick(struct session *s, uint64_t now_ns)
{
	unsigned ms = handoff_age(s, now_ns);

	if (s->ended)
		return complete_remember(s);
	if (!session_serves(s))
		return ms;
	if (s->hung_up) {
		care_hang_up(s);
		if (s->ended)
			return 0;
		ms = sooner(ms, probe_ms(s));
	}
	ms = sooner(ms, unpark(s, now_ns));
	ms = sooner(ms, fill_age(s, now_ns));
	ms = sooner(ms, flush(s, now_ns));
	if (replay_any(s) || s->fill.n)		/* put off when no thread could be spared */
		session_work_later(s);
	return ms;
}
