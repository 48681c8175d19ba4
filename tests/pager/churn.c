/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/pager/churn.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/pager/tool.h"
#include "tests/pager/touch.h"

#define THREADS_MAX 64
#define BLOCK 16 /* units side by side that one thread has, so that it can remove a run */

enum what { READ, COMMON, WRITE, KERNEL, REMOVE, NWHAT };

struct churn {
	struct mem *mem;
	uint64_t *unit; /* the first page of each, as mem_nth() counts */
	uint64_t nunits;
	uint64_t ncommon; /* the last of them: read only */
	uint64_t until_ns;
	uint64_t seed;
	unsigned threads;
};

struct churner {
	const struct churn *churn;
	unsigned k;
	uint64_t rng;
	int pipes[2];
	uint64_t did[NWHAT];
	pthread_t thread;
};

static uint64_t block_len(const struct churn *c)
{
	return c->nunits >= BLOCK * (uint64_t)c->threads * 2 ? BLOCK : 1;
}

/* A unit of this thread's own; *ret_run is how many of its own follow, itself with them. */
static uint64_t own_unit(struct churner *me, uint64_t *ret_run)
{
	const struct churn *c = me->churn;
	uint64_t len = block_len(c), own = c->nunits - c->ncommon;
	uint64_t blocks = own / len / c->threads;
	uint64_t block = tool_random(&me->rng) % blocks * c->threads + me->k;
	uint64_t in = tool_random(&me->rng) % len;

	*ret_run = len - in;
	return block * len + in;
}

static struct mem_ref page_of(struct churner *me, uint64_t unit)
{
	struct mem_ref p = mem_nth(me->churn->mem, me->churn->unit[unit]);

	p.i += tool_random(&me->rng) % (p.r->at.page_size / MEM_PAGE);
	return p;
}

/* A run of units; regions of one run lie side by side only if the memfile does. */
static void remove_run(struct churner *me)
{
	struct mem *mem = me->churn->mem;
	uint64_t run, unit = own_unit(me, &run), n = tool_random(&me->rng) % run + 1;

	for (uint64_t i = 0; i < n;) {
		struct mem_ref first = mem_nth(mem, me->churn->unit[unit + i]);
		uint64_t size = first.r->at.page_size, len = size;

		for (i++; i < n && mem_nth(mem, me->churn->unit[unit + i]).r == first.r; i++)
			len += size;
		if (mem_remove(mem, mem_off(first), len, MEM_REMOVE) < 0)
			tool_die(TOOL_FAILED, "the kernel refused to remove 0x%llx+0x%llx",
				 (unsigned long long)mem_off(first), (unsigned long long)len);
	}
}

static void write_one(struct churner *me, struct mem_ref p)
{
	uint64_t value = tool_random(&me->rng);
	unsigned at = (unsigned)(value % (MEM_PAGE / 8)) * 8;

	mem_write(me->churn->mem, p, at, &value, sizeof(value));
	mem_check(me->churn->mem, p, at);
}

static enum what choose(uint64_t *rng)
{
	unsigned dice = (unsigned)(tool_random(rng) % 100);

	return dice < 40   ? READ
	       : dice < 50 ? COMMON
	       : dice < 75 ? WRITE
	       : dice < 80 ? KERNEL
			   : REMOVE;
}

static void step(struct churner *me, enum what what)
{
	const struct churn *c = me->churn;
	uint64_t run, common = c->nunits - 1 - tool_random(&me->rng) % c->ncommon;
	struct mem_ref p = page_of(me, what == COMMON ? common : own_unit(me, &run));

	if (what == REMOVE)
		remove_run(me);
	else if (what == WRITE)
		write_one(me, p);
	else if (what == KERNEL)
		touch_by_kernel(c->mem, p, tool_random(&me->rng) % TOUCH_NCALLS, me->pipes,
				&me->rng);
	else
		mem_check(c->mem, p, (unsigned)tool_random(&me->rng));
	me->did[what]++;
}

static void *churn_thread(void *arg)
{
	struct churner *me = arg;

	if (pipe2(me->pipes, O_CLOEXEC) < 0)
		tool_fail("pipe");
	while (tool_now_ns() < me->churn->until_ns)
		step(me, choose(&me->rng));
	close(me->pipes[0]);
	close(me->pipes[1]);
	return NULL;
}

static void run(struct churn *c)
{
	struct churner *all = tool_alloc(c->threads, sizeof(*all));
	uint64_t did[NWHAT] = {0};

	for (unsigned k = 0; k < c->threads; k++) {
		all[k].churn = c;
		all[k].k = k;
		all[k].rng = c->seed * 1000 + k;
		if (pthread_create(&all[k].thread, NULL, churn_thread, &all[k]))
			tool_die(TOOL_FAILED, "no thread");
	}
	for (unsigned k = 0; k < c->threads; k++) {
		pthread_join(all[k].thread, NULL);
		for (unsigned i = 0; i < NWHAT; i++)
			did[i] += all[k].did[i];
	}
	printf("ok churn %llu reads, %llu common reads, %llu writes, %llu syscalls, %llu removals,"
	       " seed %llu\n",
	       (unsigned long long)did[READ], (unsigned long long)did[COMMON],
	       (unsigned long long)did[WRITE], (unsigned long long)did[KERNEL],
	       (unsigned long long)did[REMOVE], (unsigned long long)c->seed);
	free(all);
}

static void list_units(struct churn *c)
{
	uint64_t n = mem_npages(c->mem);

	c->unit = tool_alloc(n, sizeof(*c->unit));
	for (uint64_t i = 0; i < n;) {
		c->unit[c->nunits++] = i;
		i += mem_nth(c->mem, i).r->at.page_size / MEM_PAGE;
	}
	c->ncommon = c->nunits / 8 ? c->nunits / 8 : 1;
}

/* The model of what everybody reads must hold still: no page of it may be undecided. */
static void settle_common(struct churn *c)
{
	for (uint64_t u = c->nunits - c->ncommon; u < c->nunits; u++) {
		struct mem_ref p = mem_nth(c->mem, c->unit[u]);

		for (uint64_t end = p.i + p.r->at.page_size / MEM_PAGE; p.i < end; p.i++) {
			if (mem_kind(p) == MEM_EITHER)
				mem_check(c->mem, p, 0);
		}
	}
}

void churn_command(struct mem *mem, struct words *w)
{
	struct churn c = {.mem = mem, .threads = 4};
	uint64_t seconds = words_number(w, "how many seconds");

	c.seed = words_number(w, "a seed");
	if (words_is(w, "threads"))
		c.threads = (unsigned)words_number(w, "how many threads");
	words_end(w);
	list_units(&c);
	if (!c.threads || c.threads > THREADS_MAX)
		tool_die(TOOL_FAILED, "1 to %u threads", THREADS_MAX);
	if ((c.nunits - c.ncommon) / block_len(&c) < c.threads)
		tool_die(TOOL_FAILED, "too little memory for %u threads", c.threads);
	settle_common(&c);
	c.until_ns = tool_now_ns() + seconds * UINT64_C(1000000000);
	run(&c);
	free(c.unit);
}
