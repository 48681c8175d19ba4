/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/pager/touch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/base/trace.h"
#include "tests/pager/tool.h"

#define THREADS_MAX 64

enum order { SEQ, REVERSE, RANDOM, STRIDE, TRACE };

struct touch {
	struct mem *mem;
	struct mem_ref *page;
	uint64_t n;
	enum order order;
	uint64_t stride; /* bytes */
	const char *trace;
	uint64_t off, len, count, seed;
	unsigned threads;
	bool write, shared, blind;
};

struct worker {
	const struct touch *touch;
	unsigned k;
	pthread_t thread;
};

/* ---- which pages, in which order ---- */

static bool option(struct touch *t, struct words *w)
{
	if (words_is(w, "off"))
		t->off = words_number(w, "an offset");
	else if (words_is(w, "len"))
		t->len = words_number(w, "a length");
	else if (words_is(w, "count"))
		t->count = words_number(w, "a count");
	else if (words_is(w, "seed"))
		t->seed = words_number(w, "a seed");
	else
		return false;
	return true;
}

static void shuffle(struct mem_ref *page, uint64_t n, uint64_t *rng)
{
	for (uint64_t i = n; i > 1; i--) {
		uint64_t j = tool_random(rng) % i;
		struct mem_ref t = page[i - 1];

		page[i - 1] = page[j];
		page[j] = t;
	}
}

static void reverse(struct mem_ref *page, uint64_t n)
{
	for (uint64_t i = 0; i < n / 2; i++) {
		struct mem_ref t = page[i];

		page[i] = page[n - 1 - i];
		page[n - 1 - i] = t;
	}
}

static uint64_t thin(struct mem_ref *page, uint64_t n, uint64_t stride)
{
	uint64_t step = stride / MEM_PAGE ? stride / MEM_PAGE : 1, kept = 0;

	for (uint64_t i = 0; i < n; i += step)
		page[kept++] = page[i];
	return kept;
}

/* Its pages are those of the memfile, which is mapped whole and in one region. */
static void follow(struct touch *t)
{
	struct trace trace;
	struct err err;
	uint64_t n = 0;

	if (trace_load(t->trace, &trace, &err) < 0)
		tool_die(TOOL_FAILED, "%s", err.text);
	if (trace.page_size != MEM_PAGE || trace.size > mem_npages(t->mem) * MEM_PAGE)
		tool_die(TOOL_FAILED, "'%s' is of another memfile", t->trace);
	t->page = tool_alloc(trace.npages + 1, sizeof(*t->page));
	for (size_t i = 0; i < trace.n; i++)
		for (uint64_t k = 0; k < trace.v[i].count; k++)
			t->page[n++] = mem_nth(t->mem, trace.v[i].first + k);
	t->n = n;
	trace_fini(&trace);
}

static void choose(struct touch *t)
{
	uint64_t rng = t->seed;

	if (t->order == TRACE) {
		follow(t);
		return;
	}
	t->n = mem_list(t->mem, t->off, t->len, &t->page);
	if (!t->n)
		tool_die(TOOL_FAILED, "no page is mapped there");
	if (t->order == RANDOM)
		shuffle(t->page, t->n, &rng);
	else if (t->order == REVERSE)
		reverse(t->page, t->n);
	else if (t->order == STRIDE)
		t->n = thin(t->page, t->n, t->stride);
	if (t->n > t->count)
		t->n = t->count;
}

/* ---- touch ---- */

static void touch_one(const struct touch *t, struct mem_ref p, unsigned k, uint64_t *rng)
{
	uint64_t value = tool_random(rng);
	unsigned at = (t->shared ? k : (unsigned)(value % (MEM_PAGE / 8))) * 8;

	if (t->write)
		mem_write(t->mem, p, at, &value, sizeof(value));
	if (t->blind)
		(void)*(volatile uint8_t *)(mem_addr(p) + value % MEM_PAGE);
	else if (!t->shared || !t->write)
		mem_check(t->mem, p, (unsigned)(value >> 32));
}

static bool mine(const struct touch *t, struct mem_ref p, unsigned k)
{
	return t->shared || p.i / (p.r->at.page_size / MEM_PAGE) % t->threads == k;
}

static void *touch_thread(void *arg)
{
	struct worker *me = arg;
	uint64_t rng = me->touch->seed ^ (me->k + 1) * UINT64_C(0x51afd7ed558ccd);

	for (uint64_t i = 0; i < me->touch->n; i++) {
		if (mine(me->touch, me->touch->page[i], me->k))
			touch_one(me->touch, me->touch->page[i], me->k, &rng);
	}
	return NULL;
}

static void touch_all(const struct touch *t)
{
	struct worker worker[THREADS_MAX];

	for (unsigned k = 0; k < t->threads; k++) {
		worker[k] = (struct worker){.touch = t, .k = k};
		if (t->threads == 1)
			touch_thread(&worker[0]);
		else if (pthread_create(&worker[k].thread, NULL, touch_thread, &worker[k]))
			tool_die(TOOL_FAILED, "no thread");
	}
	for (unsigned k = 0; k < t->threads && t->threads > 1; k++)
		pthread_join(worker[k].thread, NULL);
}

static void parse_order(struct touch *t, struct words *w)
{
	if (words_is(w, "seq")) {
		t->order = SEQ;
	} else if (words_is(w, "reverse")) {
		t->order = REVERSE;
	} else if (words_is(w, "random")) {
		t->order = RANDOM;
	} else if (words_is(w, "stride")) {
		t->order = STRIDE;
		t->stride = words_number(w, "the stride");
	} else if (words_is(w, "trace")) {
		t->order = TRACE;
		t->trace = words_need(w, "the trace file");
	} else {
		tool_die(TOOL_FAILED,
			 "an order is missing: seq, reverse, random, stride N, trace FILE");
	}
}

static void parse_touch(struct touch *t, struct words *w)
{
	parse_order(t, w);
	while (w->next < w->n) {
		if (option(t, w))
			continue;
		if (words_is(w, "threads"))
			t->threads = (unsigned)words_number(w, "how many threads");
		else if (words_is(w, "write"))
			t->write = true;
		else if (words_is(w, "shared"))
			t->shared = true;
		else if (words_is(w, "blind"))
			t->blind = true;
		else
			words_end(w);
	}
	if (!t->threads || t->threads > THREADS_MAX)
		tool_die(TOOL_FAILED, "1 to %u threads", THREADS_MAX);
}

void touch_command(struct mem *mem, struct words *w)
{
	struct touch t = {
		.mem = mem, .len = UINT64_MAX, .count = UINT64_MAX, .seed = 1, .threads = 1};
	uint64_t start;

	parse_touch(&t, w);
	choose(&t);
	start = tool_now_ns();
	touch_all(&t);
	printf("ok touch %llu pages in %llu ns\n", (unsigned long long)t.n,
	       (unsigned long long)(tool_now_ns() - start));
	free(t.page);
}

/* ---- from inside the kernel ---- */

static void moved(ssize_t got, size_t want, const char *what, struct mem_ref p)
{
	if (got < 0)
		tool_fail("%s at offset 0x%llx", what, (unsigned long long)mem_off(p));
	if ((size_t)got != want)
		tool_die(TOOL_WRONG, "%s at offset 0x%llx moved %zd bytes of %zu", what,
			 (unsigned long long)mem_off(p), got, want);
}

static void into(struct mem *mem, struct mem_ref p, const int pipes[2], uint64_t *rng)
{
	uint64_t data[32];
	unsigned at = (unsigned)(tool_random(rng) % (MEM_PAGE - sizeof(data)));

	if (mem_kind(p) == MEM_EITHER)
		mem_check(mem, p, at);
	for (unsigned i = 0; i < 32; i++)
		data[i] = tool_random(rng);
	moved(write(pipes[1], data, sizeof(data)), sizeof(data), "write to the pipe", p);
	moved(read(pipes[0], mem_addr(p) + at, sizeof(data)), sizeof(data),
	      "read(2) into guest memory", p);
	mem_wrote(mem, p, at, data, sizeof(data));
}

static void outof(struct mem *mem, struct mem_ref p, const int pipes[2])
{
	uint8_t seen[MEM_PAGE];

	moved(write(pipes[1], mem_addr(p), MEM_PAGE), MEM_PAGE, "write(2) from guest memory", p);
	moved(read(pipes[0], seen, MEM_PAGE), MEM_PAGE, "read from the pipe", p);
	mem_verify(mem, p, seen);
}

static void from_file(struct mem *mem, struct mem_ref p, uint64_t *rng)
{
	uint8_t data[512];
	unsigned at = (unsigned)(tool_random(rng) % (MEM_PAGE - sizeof(data)));
	struct mem_ref other = mem_nth(mem, tool_random(rng) % mem_npages(mem));

	if (mem->file < 0)
		tool_die(TOOL_FAILED, "no memfile: say 'file PATH' first");
	if (mem_kind(p) == MEM_EITHER)
		mem_check(mem, p, at);
	moved(pread(mem->file, data, sizeof(data), (off_t)mem_off(other)), sizeof(data),
	      "pread of the memfile", p);
	moved(pread(mem->file, mem_addr(p) + at, sizeof(data), (off_t)mem_off(other)), sizeof(data),
	      "pread(2) into guest memory", p);
	mem_wrote(mem, p, at, data, sizeof(data));
}

void touch_by_kernel(struct mem *mem, struct mem_ref p, enum touch_call call, const int pipes[2],
		     uint64_t *rng)
{
	if (call == TOUCH_INTO)
		into(mem, p, pipes, rng);
	else if (call == TOUCH_OUTOF)
		outof(mem, p, pipes);
	else
		from_file(mem, p, rng);
	mem_check(mem, p, 0);
}

static enum touch_call parse_call(struct words *w)
{
	if (words_is(w, "into"))
		return TOUCH_INTO;
	if (words_is(w, "outof"))
		return TOUCH_OUTOF;
	if (words_is(w, "file"))
		return TOUCH_FILE;
	return TOUCH_NCALLS;
}

void touch_syscall(struct mem *mem, struct words *w)
{
	struct touch t = {
		.mem = mem, .order = RANDOM, .len = UINT64_MAX, .count = UINT64_MAX, .seed = 1};
	enum touch_call call = parse_call(w);
	uint64_t rng;
	int pipes[2];

	while (option(&t, w))
		;
	words_end(w);
	choose(&t);
	rng = ~t.seed;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		tool_fail("pipe");
	for (uint64_t i = 0; i < t.n; i++)
		touch_by_kernel(mem, t.page[i], call == TOUCH_NCALLS ? i % TOUCH_NCALLS : call,
				pipes, &rng);
	close(pipes[0]);
	close(pipes[1]);
	printf("ok syscall %llu pages\n", (unsigned long long)t.n);
	free(t.page);
}

/* ---- with a clock ---- */

static bool is_data(struct mem *mem, struct mem_ref p)
{
	static const uint8_t zeros[MEM_PAGE];
	uint8_t page[MEM_PAGE];

	return pread(mem->file, page, sizeof(page), (off_t)mem_off(p)) != sizeof(page) ||
	       memcmp(page, zeros, sizeof(page)) != 0;
}

struct pick {
	uint64_t unit; /* pages; at least a page of the region */
	bool data; /* no zeros */
	uint64_t off; /* from there on */
};

/* One page of each unit that nobody has come for. */
static uint64_t untouched(struct mem *mem, struct pick pick, struct mem_ref **ret)
{
	uint64_t all = mem_list(mem, pick.off, UINT64_MAX - pick.off, ret), n = 0;
	struct mem_ref *page = *ret;

	for (uint64_t i = 0; i < all; i++) {
		uint64_t unit = page[i].r->at.page_size / MEM_PAGE;

		unit = unit < pick.unit ? pick.unit : unit;
		if (page[i].i % unit == 0 && mem_kind(page[i]) == MEM_FILE &&
		    (!pick.data || is_data(mem, page[i])))
			page[n++] = page[i];
	}
	return n;
}

static void measure(struct mem *mem, const struct mem_ref *page, uint64_t *ns, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		volatile uint8_t *byte = mem_addr(page[i]);
		uint64_t start = tool_now_ns();

		(void)*byte;
		ns[i] = tool_now_ns() - start;
		mem_check(mem, page[i], 0);
	}
}

void touch_latency(struct mem *mem, struct words *w)
{
	uint64_t n = words_number(w, "how many"), rng = 1, have;
	struct pick pick = {.unit = 1};
	struct mem_ref *page;
	uint64_t *ns;

	while (w->next < w->n) {
		if (words_is(w, "seed"))
			rng = words_number(w, "a seed");
		else if (words_is(w, "unit"))
			pick.unit = words_number(w, "bytes") / MEM_PAGE;
		else if (words_is(w, "off"))
			pick.off = words_number(w, "an offset");
		else if (words_is(w, "data"))
			pick.data = true;
		else if (words_is(w, "fifo"))
			tool_fifo();
		else
			words_end(w);
	}
	have = untouched(mem, pick, &page);
	if (have < n)
		tool_die(TOOL_FAILED, "%llu pages are untouched, not %llu",
			 (unsigned long long)have, (unsigned long long)n);
	shuffle(page, have, &rng);
	ns = tool_alloc(n, sizeof(*ns));
	measure(mem, page, ns, n);
	tool_latency("", ns, n);
	free(ns);
	free(page);
}

/* ---- as many faults as threads can make ---- */

struct flood {
	struct mem *mem;
	unsigned k, threads;
	uint64_t end_ns, faults;
	pthread_t thread;
};

static void *flood_thread(void *arg)
{
	struct flood *f = arg;

	for (uint64_t i = f->k; tool_now_ns() < f->end_ns; i += f->threads) {
		uint8_t *at = mem_addr(mem_nth(f->mem, i % mem_npages(f->mem)));

		*(volatile uint8_t *)at = 1;
		if (madvise(at, MEM_PAGE, MADV_DONTNEED) < 0)
			tool_fail("madvise");
		f->faults++;
	}
	return NULL;
}

void touch_flood(struct mem *mem, struct words *w)
{
	struct flood f[THREADS_MAX];
	uint64_t seconds = words_number(w, "seconds"), faults = 0;
	unsigned threads = (unsigned)words_number(w, "how many threads");

	words_end(w);
	if (!threads || threads > THREADS_MAX)
		tool_die(TOOL_FAILED, "1 to %u threads", THREADS_MAX);
	for (unsigned k = 0; k < threads; k++) {
		f[k] = (struct flood){.mem = mem, .k = k, .threads = threads,
				      .end_ns = tool_now_ns() + seconds * 1000000000};
		if (pthread_create(&f[k].thread, NULL, flood_thread, &f[k]))
			tool_die(TOOL_FAILED, "no thread");
	}
	for (unsigned k = 0; k < threads; k++) {
		pthread_join(f[k].thread, NULL);
		faults += f[k].faults;
	}
	printf("ok flood %llu faults\n", (unsigned long long)faults);
}
