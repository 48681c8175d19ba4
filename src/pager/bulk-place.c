/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The place that moves through the memory, over holes, and what is read at it next; at
 * the pace that the rate and the guard allow.
 */
#include <errno.h>

#include "src/pager/bulk-private.h"

#define GUARD_MS 100
#define AHEAD_LEN (UINT64_C(8) << 20)	/* of which the kernel is told */
#define BURST_NS 10000000	/* a rate may be exceeded for so long */

/* ---- runs ---- */

struct run {
	uint64_t off;
	uint64_t max;
	bool hole;
	uint64_t len;
};

static int ask_run(struct bulk *b, void *arg)
{
	struct run *run = arg;

	if (source_absent(b->source))
		(void)source_reopen(b->source, NULL);
	return source_run(b->source, run->off, run->max, &run->hole, &run->len);
}

/* Under lock, which it leaves meanwhile: in which run the place lies. */
static void look(struct bulk *b, const struct region *r)
{
	struct run run = {.off = r->off + b->pos, .max = r->size - b->pos};
	struct err err;
	int rc;

	b->looking = true;
	pthread_mutex_unlock(&b->lock);
	rc = bulk_try(b, ask_run, &run);
	pthread_mutex_lock(&b->lock);
	b->looking = false;
	if (rc < 0) {
		bulk_fail(b, bulk_unreadable(&err, b, run.off, rc), &err);
		return;
	}
	b->run_hole = run.hole;
	b->run_end = b->pos + run.len;
	session_work_later(b->s);	/* the owner may read it himself */
}

/* ---- pace ---- */

static bool has_guard(const struct bulk *b)
{
	return b->limits.guard.min_available || b->limits.guard.max_pressure > 0;
}

bool bulk_has_pace(const struct bulk *b)
{
	return b->limits.rate || has_guard(b);
}

/* Under lock.  False: it has left the lock meanwhile. */
static bool ask_guard(struct bulk *b)
{
	uint64_t now = loop_now_ns();
	struct err err;
	int rc;

	if (!has_guard(b))
		return true;
	if (!b->held_ns && now - b->guard_ns < UINT64_C(1000000) * GUARD_MS)
		return true;
	b->guard_ns = now;
	b->asking = true;
	pthread_mutex_unlock(&b->lock);
	rc = guard_check(&b->limits.guard, &err);
	pthread_mutex_lock(&b->lock);
	b->asking = false;
	if (rc == 0) {
		b->held_ns = 0;
		return false;		/* the place may be another one by now */
	}
	b->held_why = err;
	if (!b->held_ns)
		b->held_ns = now;
	if (now - b->held_ns >= UINT64_C(1000000) * BULK_HELD_MS)
		bulk_fail(b, -ENOMEM, &err);
	else
		bulk_wait_ms(b, GUARD_MS);
	return false;
}

/* The same. */
static bool in_time(struct bulk *b)
{
	uint64_t now = loop_now_ns();

	if (!b->limits.rate || b->due_ns <= now + BURST_NS)
		return true;
	bulk_wait_until(b, b->due_ns);
	return false;
}

static uint64_t price(const struct bulk *b, uint64_t len)
{
	return (uint64_t)((double)len * 1e9 / (double)b->limits.rate);
}

/* Before it is read, as if all of it were data: several are read at once. */
static void pay(struct bulk *b, uint64_t len)
{
	uint64_t now = loop_now_ns();

	if (!b->limits.rate)
		return;
	if (b->due_ns < now)
		b->due_ns = now;
	b->due_ns += price(b, len);
}

void bulk_place_give_back(struct bulk *b, uint64_t len)
{
	uint64_t back = b->limits.rate ? price(b, len) : 0;

	b->due_ns -= back < b->due_ns ? back : b->due_ns;
	if (back)
		(void)pthread_cond_broadcast(&b->ending);	/* who waits looks anew */
}

/* ---- the place ---- */

/* Under lock: over a hole; a huge page of which only a part is one is data. */
static bool skip_hole(struct bulk *b, const struct region *r)
{
	uint64_t len = (b->run_end - b->pos) / r->page_size * r->page_size;

	if (!b->run_hole || !len)
		return false;
	b->pos += len;
	return true;
}

static void next_region(struct bulk *b, const struct region *r)
{
	b->gone += r->size;
	b->region++;
	b->pos = 0;
	b->run_end = 0;
	b->warm_end = 0;
}

static struct bulk_block *bulk_place_block(struct bulk *b, enum step step)
{
	for (unsigned i = 0; i < BULK_BLOCKS; i++)
		if (b->block[i].step == (int)step)
			return &b->block[i];
	return NULL;
}

/* Under lock: what of the run at the place the kernel has not been told of. */
static void plan_warming(struct bulk *b, const struct region *r, struct bulk_block *block)
{
	uint64_t from = b->pos > b->warm_end ? b->pos : b->warm_end;
	uint64_t end = b->pos + AHEAD_LEN < b->run_end ? b->pos + AHEAD_LEN : b->run_end;

	block->warm_off = r->off + from;
	block->warm_len = end > from ? end - from : 0;
	if (end > from)
		b->warm_end = end;
}

/* Under lock: a whole block, behind a short run too: small holes are sooner read than found. */
static void take(struct bulk *b, const struct region *r, struct bulk_block *block)
{
	uint64_t ps = r->page_size;
	uint64_t max = ps > BULK_LEN ? ps : BULK_LEN;
	uint64_t len = r->size - b->pos;

	len = len < max ? len : max;
	plan_warming(b, r, block);
	block->step = STEP_READING;
	block->page = r->first + b->pos / ps;
	block->n = len / ps;
	block->at = 0;
	block->number = b->next_number++;
	b->pos += len;
	pay(b, len);
}

/* Under lock: whoever has one lets the next thread look for more, if there is a core for it. */
static struct bulk_block *claimed(struct bulk *b, struct bulk_block *block)
{
	if (bulk_may_copy(b, b->copying + 1))
		bulk_wake_one(b);
	return block;
}

/* Under lock, which it may leave meanwhile: what is to be read next; NULL: nothing any more. */
struct bulk_block *bulk_place_claim(struct bulk *b)
{
	const struct region *r;

	while (!bulk_is_ending(b)) {
		struct bulk_block *block = bulk_place_block(b, STEP_LEFT);

		if (block) {
			block->step = STEP_READING;
			return claimed(b, block);
		}
		r = bulk_region(b);
		if (!r && !b->owner_reads)
			break;
		if (!r || b->looking || b->asking) {
			bulk_wait_work(b);
		} else if (b->pos >= r->size) {
			next_region(b, r);
		} else if (b->pos >= b->run_end) {
			look(b, r);
		} else if (skip_hole(b, r)) {
			continue;
		} else if (!bulk_may_copy(b, b->copying) ||
			   !(block = bulk_place_block(b, STEP_FREE))) {
			bulk_wait_work(b);
		} else if (ask_guard(b) && in_time(b)) {
			take(b, r, block);
			return claimed(b, block);
		}
	}
	bulk_wake_idle(b);
	return NULL;
}

/* Under lock: a block at the place, if nothing has to be asked or waited for. */
struct bulk_block *bulk_place_claim_now(struct bulk *b)
{
	const struct region *r = bulk_region(b);
	struct bulk_block *block = bulk_place_block(b, STEP_FREE);

	if (!r || !block || bulk_is_ending(b) || b->looking || b->run_hole || b->pos >= r->size ||
	    b->pos >= b->run_end || bulk_has_pace(b))
		return NULL;
	take(b, r, block);
	return block;
}
