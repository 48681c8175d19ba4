/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/pipeline.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <pthread.h>
#include <time.h>

#define ITEMS 500u
#define SLOTS 5u

enum stage { NAME, READ, PLACE, PACK, WRITE, STAGES };

/* What the stages see; each notes what it must not see. */
struct watch {
	unsigned item[SLOTS];		/* in each slot */
	unsigned next[STAGES];		/* of the serial stages: the item that must come */
	int inside[STAGES];		/* callbacks that run now */
	int wrong;
	unsigned items;
	unsigned done[STAGES];
	bool worker[PIPELINE_THREADS_MAX];
	bool packed[ITEMS];
	unsigned nslots;
	unsigned fail_at;		/* item, or ITEMS */
	enum stage fail_in;
	unsigned slow;
};

static struct err err;

static void pause_for(unsigned item)
{
	struct timespec t = {.tv_nsec = item * 7919 % 11 * 3000};

	nanosleep(&t, NULL);
}

static int enter(struct watch *w, enum stage stage, unsigned item)
{
	bool serial = stage == NAME || stage == PLACE || stage == WRITE;
	int inside = __atomic_add_fetch(&w->inside[stage], 1, __ATOMIC_SEQ_CST);

	if (serial && (inside != 1 || w->next[stage]++ != item))
		__atomic_add_fetch(&w->wrong, 1, __ATOMIC_SEQ_CST);
	if (w->slow)
		pause_for(item + stage);
	__atomic_sub_fetch(&w->inside[stage], 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&w->done[stage], 1, __ATOMIC_SEQ_CST);
	return item == w->fail_at && stage == w->fail_in ? -EIO : 0;
}

static int fail(struct err *e, const struct watch *w)
{
	return err_set(e, -EIO, "item %u failed in stage %d", w->fail_at, w->fail_in);
}

static int name_item(void *ctx, unsigned slot, struct err *e)
{
	struct watch *w = ctx;

	if (w->next[NAME] == w->items)
		return 0;
	w->item[slot] = w->next[NAME];
	return enter(w, NAME, w->item[slot]) < 0 ? fail(e, w) : 1;
}

static int read_item(void *ctx, unsigned slot, unsigned worker, struct err *e)
{
	struct watch *w = ctx;

	w->worker[worker] = true;
	return enter(w, READ, w->item[slot]) < 0 ? fail(e, w) : 0;
}

/* Every third item needs no packing. */
static int place_item(void *ctx, unsigned slot, struct err *e)
{
	struct watch *w = ctx;

	return enter(w, PLACE, w->item[slot]) < 0 ? fail(e, w) : w->item[slot] % 3 > 0;
}

static int pack_item(void *ctx, unsigned slot, unsigned worker, struct err *e)
{
	struct watch *w = ctx;

	w->worker[worker] = true;
	w->packed[w->item[slot]] = true;
	return enter(w, PACK, w->item[slot]) < 0 ? fail(e, w) : 0;
}

static int write_item(void *ctx, unsigned slot, struct err *e)
{
	struct watch *w = ctx;
	unsigned item = w->item[slot];

	if (w->packed[item] != (item % 3 > 0))
		__atomic_add_fetch(&w->wrong, 1, __ATOMIC_SEQ_CST);
	return enter(w, WRITE, item) < 0 ? fail(e, w) : 0;
}

static const struct pipeline_ops ops = {
	.name = name_item, .read = read_item, .place = place_item, .pack = pack_item,
	.write = write_item,
};

static int run(struct watch *w, unsigned items, unsigned nthreads)
{
	w->items = items;
	if (w->fail_at == 0)
		w->fail_at = ITEMS;
	return pipeline_run(&ops, w, w->nslots ? w->nslots : SLOTS, nthreads, &err);
}

static void test_order(unsigned nthreads, unsigned nslots)
{
	struct watch w = {.slow = nthreads > 1, .nslots = nslots};
	unsigned workers = 0;

	is_int(run(&w, ITEMS, nthreads), 0, "%u threads, %u slots: it runs", nthreads, nslots);
	is_int(w.wrong, 0, "serial stages have one item at a time, in order");
	for (int s = 0; s < STAGES; s++)
		is_int(w.done[s], s == PACK ? ITEMS - (ITEMS + 2) / 3 : ITEMS,
		       "stage %d had every item that it must have", s);
	for (unsigned i = 0; i < PIPELINE_THREADS_MAX; i++)
		workers += w.worker[i];
	ok(workers <= nthreads && !w.worker[nthreads], "workers are numbered below %u",
	   nthreads);
}

static void test_few(void)
{
	struct watch none = {0}, one = {0};

	is_int(run(&none, 0, 3), 0, "no items are done at once");
	is_int(none.done[READ], 0, "nothing was read");
	is_int(run(&one, 1, 3), 0, "one item is done");
	is_int(one.done[WRITE], 1, "and was written");
}

static void test_failures(void)
{
	for (int s = NAME; s < STAGES; s++) {
		struct watch w = {.fail_at = 100, .fail_in = (enum stage)s, .slow = 1};
		char want[64];
		bool inside = false;

		(void)snprintf(want, sizeof(want), "item 100 failed in stage %d", s);
		is_err(run(&w, ITEMS, 3), &err, -EIO, "%s", want);
		for (int k = 0; k < STAGES; k++)
			inside |= w.inside[k] != 0;
		ok(!inside, "and nothing runs any more");
		ok(w.done[WRITE] <= 101, "nothing behind it was written");
	}
}

static void test_no_memory(void)
{
	struct watch w = {0};

	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_err(run(&w, 10, 2), &err, -ENOMEM, "out of memory");
	fault_disarm();
	is_int(w.done[NAME], 0, "nothing was begun");
}

int main(void)
{
	test_order(1, 5);
	test_order(1, 1);
	test_order(2, 5);
	test_order(4, 3);
	test_order(8, 1);
	test_few();
	test_failures();
	test_no_memory();
	return tap_done();
}
