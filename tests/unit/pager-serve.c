/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/serve.h"

#include "src/pager/install.h"
#include "store/base/log.h"
#include "tests/unit/session-fixture.h"

#define NPAGES 512

static void turn(struct rig *rig)
{
	session_enter(&rig->s);
	serve_turn(&rig->s, &rig->hand);
	session_leave(&rig->s);
}

static void test_fault(struct rig *rig)
{
	struct rig_thread guest, again;

	rig_begin(&guest, rig_touches, rig, 3);
	ok(rig_message_waits(rig), "a fault");
	turn(rig);
	rig_end(&guest);
	is_int(guest.got, rig_byte(3, 0), "is answered");
	is_int(rig_state(rig, 3), STATE_PRESENT, "its page is present");
	is_int(rig->s.state->head->count.faults, 1, "it is counted");
	is_int(rig->s.state->head->latency.count, 1, "and its time");
	rig_begin(&guest, rig_touches, rig, 7);
	rig_begin(&again, rig_touches, rig, 7);
	while (!guest.done || !again.done)
		turn(rig);
	rig_end(&guest);
	rig_end(&again);
	ok(guest.got == rig_byte(7, 0) && again.got == guest.got, "two that come for one page");
	is_int(rig->s.wants.n, 0, "nobody is left over");
}

/*
 * A removal and a fault of the same page are read together.  Whatever the order in
 * which the kernel tells, once the removal has returned the page is zero.
 */
static void test_remove_and_fault(struct rig *rig)
{
	unsigned stale = 0, left = 0;

	for (uint64_t page = 20; page < NPAGES; page++) {
		struct rig_thread guest, remover;

		rig_begin(&remover, rig_removes, rig, page);
		rig_removal_waits(rig);
		rig_begin(&guest, rig_touches, rig, page);
		usleep(50);
		while (!guest.done || !remover.done)
			turn(rig);
		rig_end(&remover);
		rig_end(&guest);
		/* The zeros may have been removed too: this touch is a fault that we answer. */
		(void)install_again(&rig->s, page);
		stale += !rig_is_zero(rig, page);
		left += rig->s.wants.n > 0;
	}
	is_int(stale, 0, "no byte of a removed page");
	is_int(left, 0, "and nobody waits");
}

/* What a worker read before it was killed is in the slots. */
static void test_recover(struct rig *rig)
{
	struct uffd_msg *slot = rig->s.state->head->slots;
	struct rig_thread guest;

	slot[0].event = UFFD_EVENT_PAGEFAULT;
	slot[0].arg.pagefault.address = (uintptr_t)rig->mem + 10 * PAGE;
	slot[2].event = UFFD_EVENT_REMOVE;
	slot[2].arg.remove.start = (uintptr_t)rig->mem + 10 * PAGE;
	slot[2].arg.remove.end = (uintptr_t)rig->mem + 12 * PAGE;
	state_set(rig->s.state, 13, STATE_FILLING);
	rig->s.fresh = true;
	rig_begin(&guest, rig_touches, rig, 13);
	ok(rig_message_waits(rig), "a fault on a page that was being filled");
	turn(rig);
	rig_end(&guest);
	is_int(guest.got, rig_byte(13, 0), "gets the memfile's byte");
	is_int(rig_state(rig, 10), STATE_REMOVED, "the removal that was read and not acted upon");
	is_int(rig_state(rig, 11), STATE_REMOVED, "is acted upon, all of it");
	is_int(rig_state(rig, 12), STATE_MISSING, "and no more");
	is_int(slot[0].event | slot[1].event | slot[2].event | slot[3].event, 0,
	       "the slots are empty");
	ok(!rig->s.fresh, "once");
}

/* Without a keeper nothing can be stopped: the policy here is to wait, or to poison. */
static void test_unreadable(struct rig *rig)
{
	struct rig_thread guest;
	uint64_t retries;

	if (truncate(tap_path("memfile"), (off_t)(14 * PAGE)) < 0)
		bail("truncate");
	rig_begin(&guest, rig_touches, rig, 16);
	ok(rig_message_waits(rig), "a fault on a page that the memfile has no longer");
	turn(rig);
	is_int(rig->s.wants.n, 1, "is waited for");
	is_int(rig->s.wants.v[0].step, WANT_PARKED, "with a pause");
	is_int(rig_state(rig, 16), STATE_MISSING, "it is missing");
	retries = rig->s.state->head->count.retries;
	ok(retries > 0, "that is counted");
	turn(rig);
	is_int(rig->s.state->head->count.retries, (long long)retries,
	       "and not tried before its time");
	(void)rig_memfile(NPAGES);
	(void)wants_unpark(&rig->s.wants, loop_now_ns() + 10000000000);
	turn(rig);
	rig_end(&guest);
	is_int(guest.got, rig_byte(16, 0), "the file is whole again: the byte is right");
	is_int(rig->s.wants.n, 0, "nobody waits");
}

int main(void)
{
	struct rig rig;

	log_init("test", LOG_LEVEL_ERROR);
	rig_open(&rig, NPAGES, false);
	rig.env.patience_ms = 60000;
	test_fault(&rig);
	test_recover(&rig);
	test_unreadable(&rig);
	test_remove_and_fault(&rig);
	rig_close(&rig);
	return tap_done();
}
