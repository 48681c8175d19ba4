/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages are read straight into the slots of the session's state and a slot is
 * emptied once its message has been acted upon; a REMOVE that was read and
 * not acted upon is therefore found by the next worker.  Faults need no such
 * care: whoever takes a session over wakes all that wait, and the kernel raises
 * their faults again.
 *
 * A fault whose page is in the page cache is answered at once.  Any other goes
 * to the list of wants, and this or another thread reads it without owning the
 * session.  A page in the list that turns out removed meanwhile is answered as
 * a fault on a removed page is.
 *
 * What nobody waits for (a replay, windows) is read by at most AHEAD_MAX threads, and
 * not when the loop can spare none.  Whoever comes back from a read goes on with it; where
 * no thread could be spared the next tick does (care.c).
 *
 * A turn reads at most four messages, or does as many pages of the list, before it
 * goes behind the others, if any wait.
 *
 * Of what one read has brought the removals come first: the kernel hands out faults
 * before older removals, and data for such a fault would be there again after them.
 */
#include <errno.h>
#include <sched.h>

#include "src/pager/complete.h"
#include "src/pager/fill.h"
#include "src/pager/install.h"
#include "src/pager/replay.h"
#include "src/pager/serve.h"
#include "src/pager/session.h"
#include "src/pager/touch.h"
#include "src/pager/trouble.h"
#include "src/pager/uffd.h"
#include "store/base/log.h"

#define TURN_NS 1000000		/* of background work */
#define RECOVER_READS 1024	/* a guest that never stops must not keep the others waiting */
#define AWAY_MAX 8		/* threads that read for one session what it waits for */
#define AHEAD_MAX 4		/* and what nobody waits for */
#define THIN_MS 10		/* until a page is tried again when no thread can be spared */
#define SPIN_NS 20000		/* after a fault, when nobody waits: the next is often near */

/* Reads the page if that costs no waiting, and installs it. */
static int demand_now(struct session *s, struct hand *hand, uint64_t page)
{
	const struct region *r = session_region(s, page);
	uint64_t off = region_offset(r, page);
	struct install in = {page, 1, hand->buf, INSTALL_DEMAND};
	int rc;

	if (state_get(s->state, page) & STATE_HOLE) {
		in.data = NULL;
		return install_pages(s, &in);
	}
	hand->buf_of = 0;
	rc = source_try(s->source, hand->buf, r->page_size, off);
	if (rc < 0)
		return -EAGAIN;		/* an error too: the list of wants sees to it */
	state_add(&s->state->head->count.read_bytes, r->page_size);
	return install_pages(s, &in);
}

static bool is_settled(uint8_t state)
{
	return (state & STATE_PAGE) == STATE_PRESENT || (state & STATE_PAGE) == STATE_REMOVED;
}

static void served(struct session *s, uint64_t asked_ns)
{
	hist_add(&s->state->head->latency, loop_now_ns() - asked_ns);
}

/* Nobody but the list of wants can help; without memory for it, the kernel asks again. */
static void want(struct session *s, uint64_t page, uint64_t now, int code)
{
	if (wants_add(&s->wants, page, now) < 0)
		install_wake(s, page);
	else if (code != -EAGAIN)
		trouble_page(s, page, code);
}

static void first_touch(struct session *s, uint64_t page)
{
	uint8_t state = state_get(s->state, page);

	if (state & STATE_CANARY) {
		fill_canary_hit(s, page);
		state_set(s->state, page, state & (uint8_t)~STATE_CANARY);
	}
	touch_note(s, page);
	replay_touched(s, page);
	fill_around(s, page);
}

/* A hypervisor registers what it likes, and in whatever mode. */
static const char *unanswerable(const struct region *r, uint64_t flags)
{
	if (flags & UFFD_PAGEFAULT_FLAG_WP)
		return "it is one of write protection, which is not this pager's";
	if (flags & UFFD_PAGEFAULT_FLAG_MINOR)
		return "it is a minor one: its page is there";
	return r ? NULL : "it is in no region that was handed over";
}

static void fault(struct session *s, struct hand *hand, const struct uffd_msg *msg, uint64_t now)
{
	const struct state_head *head = s->state->head;
	uint64_t addr = msg->arg.pagefault.address;
	const struct region *r = regions_at(head->regions, head->nregions, addr);
	const char *why;
	uint64_t page;
	int rc;

	state_add(&s->state->head->count.faults, 1);
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE)
		state_add(&s->state->head->count.write_faults, 1);
	s->fault_ns = now;
	why = unanswerable(r, msg->arg.pagefault.flags);
	if (why) {
		trouble_leave(s, addr, why);
		return;
	}
	page = r->first + (addr - r->addr) / r->page_size;
	if (s->wants.n && wants_find(&s->wants, page))
		return;
	if (is_settled(state_get(s->state, page))) {
		rc = install_again(s, page);
	} else {
		first_touch(s, page);
		rc = demand_now(s, hand, page);
	}
	if (rc == 0)
		served(s, now);
	else if (!s->ended)
		want(s, page, now, rc);
}

static bool is_removal(const struct uffd_msg *msg)
{
	return msg->event == UFFD_EVENT_REMOVE || msg->event == UFFD_EVENT_UNMAP;
}

static void act(struct session *s, struct hand *hand, struct uffd_msg *msg, uint64_t now)
{
	switch (msg->event) {
	case UFFD_EVENT_PAGEFAULT:
		fault(s, hand, msg, now);
		break;
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		state_add(&s->state->head->count.removes, 1);
		state_remove(s->state, msg->arg.remove.start, msg->arg.remove.end);
		/* What was left waiting there can perhaps be answered now, or is SIGSEGV. */
		if (s->state->head->count.unanswered)
			(void)uffd_wake(s->fd[SESSION_UFFD],
					(struct uffd_range){msg->arg.remove.start,
							    msg->arg.remove.end -
							    msg->arg.remove.start});
		break;
	case UFFD_EVENT_FORK:
		log_warn("%s: the guest's process forked; its child is not served", s->setup.id);
		break;
	default:
		log_warn("%s: unexpected message %u of the userfaultfd", s->setup.id, msg->event);
	}
	msg->event = 0;
}

/* Returns how many messages there were; the session may have ended. */
static int messages(struct session *s, struct hand *hand)
{
	struct uffd_msg *slots = s->state->head->slots;
	int n = uffd_read(s->fd[SESSION_UFFD], slots, STATE_SLOTS);
	uint64_t now = n > 0 ? loop_now_ns() : 0;

	if (n < 0) {
		trouble_uffd(s, n);
		return 0;
	}
	for (int i = 0; i < n; i++)
		if (is_removal(&slots[i]))
			act(s, hand, &slots[i], now);
	for (int i = 0; i < n && !s->ended; i++)
		if (slots[i].event)
			act(s, hand, &slots[i], now);
	return n;
}

/* Ends a want: whoever waited has been woken. */
static void done(struct session *s, uint64_t page)
{
	const struct want *w = wants_find(&s->wants, page);

	if (!w)
		return;
	served(s, w->asked_ns);
	wants_drop(&s->wants, page);
}

/* A file system's words must not be taken for the userfaultfd's. */
static int read_error(int code)
{
	bool other = code == -EAGAIN || code == -ENOENT || code == -ESRCH || code == -ENOMEM;

	return other ? -EIO : code;
}

/* Said of a page that could not be read before: of another one it would tell nothing. */
static void tell_if_readable(struct session *s, int rc, bool again)
{
	if (rc == 0 && again && s->unreadable)
		log_info("%s: '%s' can be read again", s->setup.id, s->setup.memfile);
	if (rc < 0 || again)
		s->unreadable = rc < 0;
}

/*
 * Reads the page without owning the session, and comes back as its owner.  The
 * data is in the hand's buffer.
 */
static int read_away(struct session *s, struct hand *hand, uint64_t page)
{
	const struct region *r = session_region(s, page);
	uint64_t off = region_offset(r, page);
	bool again = wants_find(&s->wants, page)->tries > 0;
	struct source *source = session_away(s);
	int rc;

	if (again || source_absent(source))
		(void)source_reopen(source, NULL);
	rc = read_error(source_read(source, hand->buf, r->page_size, off));
	session_back(s);
	tell_if_readable(s, rc, again);
	state_add(&s->state->head->count.read_bytes, rc == 0 ? r->page_size : 0);
	return rc;
}

static void wait_for_threads(struct session *s, struct want *w)
{
	w->step = WANT_PARKED;
	w->due_ns = loop_now_ns() + UINT64_C(1000000) * THIN_MS;
	loop_tick_in(s->env->loop, THIN_MS);
}

/* A page of the list: one attempt. */
static void rescue(struct session *s, struct hand *hand, struct want *w)
{
	uint64_t page = w->page;
	int rc;

	w->step = WANT_READING;
	if (is_settled(state_get(s->state, page)) && w->tries) {
		/* No huge page was free for its zeros: whoever still waits asks again. */
		install_wake(s, page);
		wants_drop(&s->wants, page);
		return;
	}
	if (is_settled(state_get(s->state, page))) {
		rc = install_again(s, page);
	} else {
		rc = w->tries ? -EAGAIN : demand_now(s, hand, page);
		if (rc == -EAGAIN && !(state_get(s->state, page) & STATE_HOLE)) {
			if (loop_thin(s->env->loop)) {
				wait_for_threads(s, w);
				return;
			}
			hand->buf_of = 0;
			rc = read_away(s, hand, page);
			if (s->ended)
				return;
			if (rc == 0 && is_settled(state_get(s->state, page)))
				rc = install_again(s, page);
			else if (rc == 0)
				rc = install_pages(s, &(struct install){page, 1, hand->buf,
								       INSTALL_DEMAND});
		}
	}
	if (rc == 0) {
		done(s, page);
	} else if (rc == -EAGAIN) {
		wants_find(&s->wants, page)->step = WANT_READY;
		sched_yield();		/* the thread that removes is about to say so */
	} else {
		trouble_page(s, page, rc);
	}
}

/* The page that this thread should see to. */
static struct want *next_want(struct session *s)
{
	return s->wants.n && s->away < AWAY_MAX ? wants_ready(&s->wants) : NULL;
}

/* More than this thread can read at once: others come and help. */
static void call_for_help(struct session *s, const struct want *mine)
{
	if (s->away + 1 >= AWAY_MAX)
		return;
	for (size_t i = 0; i < s->wants.n; i++) {
		if (s->wants.v[i].step != WANT_READY || &s->wants.v[i] == mine)
			continue;
		session_rescue(s);
		return;
	}
}

/* By a thread that may sleep.  When so many read for this session already, they go on. */
static void read_ahead_later(struct session *s)
{
	if (s->ahead >= AHEAD_MAX)
		return;
	if (loop_thin(s->env->loop))
		loop_tick_in(s->env->loop, THIN_MS);
	else
		session_work_later(s);
}

/* One step of what nobody waits for; whether there may be more to do now. */
static bool background(struct session *s, struct hand *hand, bool may_block)
{
	enum fill_step step;

	may_block = may_block && s->ahead < AHEAD_MAX && !loop_thin(s->env->loop);
	s->ahead++;		/* what others see is who left it to read */
	step = replay_piece(s, hand, may_block);
	/* Whoever serves the memfile has the page in demand to work on, and nothing else. */
	if (step == FILL_DONE)
		step = fill_piece(s, hand, may_block && !wants_pressing(&s->wants));
	s->ahead--;
	if (step == FILL_DONE && !s->ended && !wants_pressing(&s->wants))
		step = complete_piece(s);
	if (step == FILL_BLOCKS && !wants_pressing(&s->wants))
		read_ahead_later(s);
	return step == FILL_MORE;
}

/*
 * A thread that sleeps takes longer to wake than a fault takes to be served.  Nobody else
 * is awake, so that nobody else wants this core.
 */
static bool spin(const struct session *s)
{
	return loop_alone(s->env->loop) && loop_now_ns() - s->fault_ns < SPIN_NS;
}

/*
 * What somebody waits for; adds to *ret_did how many messages and pages that were.
 * False: a turn's worth, and there may be more.
 */
static bool demands(struct session *s, struct hand *hand, unsigned *ret_did)
{
	int n = messages(s, hand);
	struct want *w = s->ended ? NULL : next_want(s);

	*ret_did += (unsigned)n + !!w;
	if (w) {
		call_for_help(s, w);
		rescue(s, hand, w);
	} else if (n == STATE_SLOTS) {
		return false;
	}
	return *ret_did < STATE_SLOTS || !loop_busy(s->env->loop);
}

static void turn(struct session *s, struct hand *hand, bool may_block)
{
	uint64_t end = 0;
	unsigned did = 0, before = 0;

	for (; !s->ended && demands(s, hand, &did); before = did) {
		if (did > before || s->ended)
			continue;
		if (!background(s, hand, may_block)) {
			if (spin(s))
				continue;
			return;
		}
		if (!end)
			end = loop_now_ns() + TURN_NS;
		if (loop_busy(s->env->loop) || loop_now_ns() > end) {
			session_work_later(s);
			return;
		}
	}
	if (!s->ended && next_want(s))
		session_rescue(s);
}

/* What a new worker has not opened yet, without owning the session: it may hang. */
static void reopen(struct session *s)
{
	struct source *source = session_away(s);
	struct replay *replay = NULL;

	if (source_absent(source))
		(void)source_reopen(source, NULL);
	if (s->setup.trace)
		(void)replay_open(s->setup.trace, &replay, NULL);
	session_back(s);
	if (s->ended || s->replay) {
		replay_free(replay);
		return;
	}
	s->replay = replay;
	(void)replay_begin(s, NULL);
}

/*
 * After a worker took the session over: acts on what its predecessor read, then
 * on what waits, then wakes everybody, so that the kernel raises again what was lost.
 */
static void recover(struct session *s, struct hand *hand)
{
	struct state_head *head = s->state->head;
	uint64_t now = loop_now_ns();

	s->fresh = false;
	for (int i = 0; i < STATE_SLOTS && !s->ended; i++)
		if (is_removal(&head->slots[i]))
			act(s, hand, &head->slots[i], now);
		else
			head->slots[i].event = 0;
	for (int i = 0; i < RECOVER_READS && !s->ended && messages(s, hand) > 0; i++)
		;
	for (uint32_t i = 0; i < head->nregions && !s->ended; i++)
		(void)uffd_wake(s->fd[SESSION_UFFD], (struct uffd_range){head->regions[i].addr,
								 head->regions[i].size});
	if (!s->ended)
		complete_resume(s);
	if (!s->ended)
		reopen(s);
}

static void whole_turn(struct session *s, struct hand *hand, bool may_block)
{
	if (s->fresh)
		recover(s, hand);
	turn(s, hand, may_block);
	if (!s->ended)
		session_arm(s);
}

void serve_turn(struct session *s, struct hand *hand)
{
	whole_turn(s, hand, false);
}

void serve_work(struct session *s, struct hand *hand)
{
	whole_turn(s, hand, true);
}
