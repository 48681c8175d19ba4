/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/replay.h"

#include "store/base/trace.h"
#include "tests/unit/session-fixture.h"

#define NPAGES 512

static struct err err;

/* A trace of every `step`-th page from `first` on, of a memfile of `size` bytes. */
static const char *make_trace(uint64_t first, uint64_t step, uint64_t size)
{
	const char *path = tap_path("trace");
	FILE *f = fopen(path, "we");
	unsigned n = 0;

	fprintf(f, "lamina-trace 1 page-size 4096 size %llu\n", (unsigned long long)size);
	for (uint64_t page = first; page < size / PAGE && page < NPAGES; page += step, n++)
		fprintf(f, "%llu 1\n", (unsigned long long)page);
	fprintf(f, "end %u\n", n);
	if (fclose(f) != 0)
		bail("no trace");
	return path;
}

static void begin(struct rig *rig, const char *path)
{
	if (replay_open(path, &rig->s.replay, &err) < 0)
		bail("%s", err.text);
	is_int(replay_begin(&rig->s, &err), 0, "a replay begins");
}

/* As long as there is something to do; how many pieces that were, at most `max`. */
static unsigned run(struct rig *rig, bool may_block, unsigned max, enum fill_step *ret)
{
	unsigned n = 0;

	session_enter(&rig->s);
	do
		*ret = replay_piece(&rig->s, &rig->hand, may_block);
	while (*ret == FILL_MORE && ++n < max);
	session_leave(&rig->s);
	return n;
}

static void test_whole(void)
{
	struct replay_progress p;
	enum fill_step step;
	struct rig rig;
	unsigned bad = 0, others = 0;

	rig_open(&rig, NPAGES, false);
	replay_progress(&rig.s, &p);
	is_int(p.pages, 0, "no trace, no progress");
	begin(&rig, make_trace(1, 2, NPAGES * PAGE));
	state_set(rig.s.state, 21, STATE_REMOVED);
	state_set(rig.s.state, 23, state_get(rig.s.state, 23) | STATE_POISONED);
	ok(replay_any(&rig.s), "there is something to replay");
	(void)run(&rig, false, 10, &step);
	is_int(step, FILL_BLOCKS, "which has to be read first");
	(void)run(&rig, true, 10000, &step);
	is_int(step, FILL_DONE, "it is replayed");
	ok(!replay_any(&rig.s), "all of it");
	for (uint64_t page = 0; page < NPAGES; page++) {
		bool traced = page % 2 == 1 && page != 21 && page != 23;

		if (traced)
			bad += (rig_state(&rig, page) & STATE_PAGE) != STATE_PRESENT ||
			       !rig_is_file(&rig, page);
		else
			others += (rig_state(&rig, page) & STATE_PAGE) == STATE_PRESENT;
	}
	is_int(bad, 0, "its pages are there, with their bytes");
	is_int(others, 0, "and no others");
	is_int(rig_state(&rig, 21), STATE_REMOVED, "what was removed stays so");
	ok(rig_state(&rig, 23) & STATE_POISONED, "and what is poisoned");
	replay_progress(&rig.s, &p);
	is_int(p.pages, NPAGES / 2, "of so many pages");
	is_int(p.done, NPAGES / 2, "all are done");
	replay_free(rig.s.replay);
	rig_close(&rig);
}

static void test_wrong(void)
{
	struct replay_progress p;
	struct rig rig;
	enum fill_step step;

	rig_open(&rig, NPAGES, false);
	if (replay_open(make_trace(0, 1, 2 * NPAGES * PAGE), &rig.s.replay, &err) < 0)
		bail("%s", err.text);
	is_err(replay_begin(&rig.s, &err), &err, -EINVAL,
	       "the trace is of a memfile of another size");
	ok(!rig.s.replay, "it is dropped");
	begin(&rig, make_trace(0, 4, NPAGES * PAGE));
	for (uint64_t page = 1; page < 40; page += 4)
		replay_touched(&rig.s, page);
	for (uint64_t page = 0; page < 8 * 4; page += 4)
		replay_touched(&rig.s, page);
	replay_progress(&rig.s, &p);
	ok(p.doubted, "most faults are for other pages: it is doubted");
	(void)run(&rig, true, 3, &step);
	is_int(wants_add(&rig.s.wants, 1, 0), 0, "somebody waits");
	(void)run(&rig, true, 1000, &step);
	is_int(step, FILL_DONE, "it stands back");
	ok(replay_any(&rig.s), "and is not over");
	wants_drop(&rig.s.wants, 1);
	rig.s.fault_ns = loop_now_ns();
	(void)run(&rig, true, 1, &step);
	is_int(step, FILL_DONE, "nobody waits, but a fault has just come: not yet");
	rig.s.fault_ns -= UINT64_C(1000000000);
	(void)run(&rig, true, 1000, &step);
	ok(!replay_any(&rig.s), "the guest is quiet: it goes on to the end");
	replay_free(rig.s.replay);
	rig_close(&rig);
}

static void test_unreadable(void)
{
	struct rig rig;
	enum fill_step step;

	rig_open(&rig, NPAGES, false);
	begin(&rig, make_trace(1, 1, NPAGES * PAGE));
	if (truncate(tap_path("memfile"), (off_t)PAGE) < 0)
		bail("truncate");
	ok(run(&rig, true, 1000, &step) < 10, "what cannot be read is not tried again and again");
	is_int(step, FILL_DONE, "it waits");
	ok(replay_any(&rig.s), "and is not over");
	is_int(rig_state(&rig, 2) & STATE_PAGE, STATE_MISSING, "nothing is there");
	(void)rig_memfile(NPAGES);
	for (int i = 0; i < 200 && replay_any(&rig.s); i++, usleep(50000))
		(void)run(&rig, true, 1000, &step);
	ok(!replay_any(&rig.s), "later it is replayed");
	ok(rig_is_file(&rig, 2) && rig_is_file(&rig, NPAGES - 1), "with its bytes");
	replay_free(rig.s.replay);
	rig_close(&rig);
}

int main(void)
{
	test_whole();
	test_wrong();
	test_unreadable();
	return tap_done();
}
