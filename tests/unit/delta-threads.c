/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One delta, many threads: a writer for each of some frames, readers, and somebody who syncs.
 * What a reader finds of a page is not older than what was there before it looked.  For TSan, too.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/unit/delta-fixture.h"

#define WRITERS 4u
#define READERS 2u
#define FRAMES 12u
#define TURNS 2000u
#define HOT 8u			/* pages of a frame */

static struct delta *d;
static bool over;
static unsigned long wrong, syncs;
static uint64_t last[FRAMES][HOT];	/* its writer's: a stamp, 0 zero, 1 nothing */

int __wrap_fdatasync(int fd);

/* Syncs are many when no disk is waited for. */
int __wrap_fdatasync(int fd)
{
	(void)fd;
	sched_yield();
	return 0;
}

static uint64_t next(uint64_t *seed, uint64_t below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % below;
}

static bool is_as_written(uint64_t frame, unsigned i)
{
	uint64_t page = frame * FRAME_PAGES + i;

	switch (delta_state(d, page)) {
	case DELTA_NONE:
		return last[frame][i] == 1;
	case DELTA_ZERO_PAGE:
		return last[frame][i] == 0;
	default:
		return last[frame][i] > 1 && fixture_stamp(d, page) == last[frame][i];
	}
}

static bool more(uint64_t turn)
{
	return turn < 100 * TURNS && __atomic_load_n(&syncs, __ATOMIC_RELAXED) < 30;
}

static void *write_frames(void *arg)
{
	uint64_t me = (uintptr_t)arg, seed = me * 77 + 5;

	for (uint64_t turn = 2; turn < TURNS || more(turn); turn++) {
		uint64_t frame = me + WRITERS * next(&seed, FRAMES / WRITERS);
		unsigned i = (unsigned)next(&seed, HOT), n = 1 + (unsigned)next(&seed, HOT - i);
		bool zero = next(&seed, 3) == 0;

		if (zero)
			fixture_zero(d, frame * FRAME_PAGES + i, n);
		else
			fixture_write(d, frame * FRAME_PAGES + i, n, turn);
		for (unsigned j = i; j < i + n; j++)
			last[frame][j] = zero ? 0 : turn;
		if (!is_as_written(frame, (unsigned)next(&seed, HOT)))
			__atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* A page goes from nothing to zero or data, and never back. */
static void *look(void *arg)
{
	uint64_t seed = (uintptr_t)arg * 31 + 7;
	bool was[FRAMES][HOT] = {{false}};

	while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
		uint64_t frame = next(&seed, FRAMES), n;
		unsigned i = (unsigned)next(&seed, HOT);
		enum delta_state state;
		struct delta_counts c;

		n = delta_run(d, frame * FRAME_PAGES + i, FRAMES * FRAME_PAGES, &state);
		if (n == 0 || (was[frame][i] && state == DELTA_NONE))
			__atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
		was[frame][i] |= state != DELTA_NONE;
		if (state == DELTA_DATA_PAGE)
			(void)fixture_stamp(d, frame * FRAME_PAGES + i);
		delta_count(d, &c);
		(void)delta_has_garbage(d);
	}
	return NULL;
}

static void *sync_often(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
		fixture_sync(d);
		__atomic_add_fetch(&syncs, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void all_threads(void)
{
	pthread_t writer[WRITERS], reader[READERS], syncer[2];

	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&writer[i], NULL, write_frames, (void *)i);
	for (uintptr_t i = 0; i < READERS; i++)
		pthread_create(&reader[i], NULL, look, (void *)i);
	for (int i = 0; i < 2; i++)
		pthread_create(&syncer[i], NULL, sync_often, NULL);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writer[i], NULL);
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(reader[i], NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(syncer[i], NULL);
}

static unsigned count_wrong(void)
{
	unsigned n = 0;

	for (uint64_t frame = 0; frame < FRAMES; frame++)
		for (unsigned i = 0; i < HOT; i++)
			n += !is_as_written(frame, i);
	return n;
}

static unsigned count_left(void)
{
	unsigned n = 0;

	for (uint64_t frame = 0; frame < FRAMES; frame++)
		for (unsigned i = 0; i < HOT; i++)
			n += last[frame][i] < 2 && !fixture_is_hole(frame * FRAME_PAGES + i);
	return n;
}

int main(void)
{
	d = fixture_new(FRAMES * FRAME_SIZE);
	for (unsigned i = 0; i < FRAMES * HOT; i++)
		last[i / HOT][i % HOT] = 1;
	all_threads();
	is_int(wrong, 0, "nobody saw what was not there, beside %lu syncs", syncs);
	is_int(count_wrong(), 0, "every page is what was written last");
	fixture_sync(d);
	is_int(count_left(), 0, "after a last sync zeroed pages have no bytes");
	ok(!delta_has_garbage(d), "and nothing is to be freed");
	d = fixture_again(d);
	is_int(count_wrong(), 0, "opened again, the same");
	delta_unref(d);
	return tap_done();
}
