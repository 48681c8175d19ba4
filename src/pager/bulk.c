/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One place in the memory moves from its beginning to its end, over holes.  A thread
 * that has nothing to do takes a block of data at it, moves the place behind it, and
 * reads the block without the lock.  Where holes are, the file is asked: `run_end`
 * and `run_hole` are of the run in which the place lies.
 *
 * Blocks have numbers; the owner gets them in any order, the lowest of those that
 * are ready first.
 *
 * Page states are read without owning the session, as a hint of what need not be read:
 * who installs looks again.
 *
 * The bulk is freed by the last of its threads and its owner.  A thread that
 * comes back from a read long after bulk_free() still finds the bulk, the
 * session (it has a reference) and the source (session_lend()).
 *
 * Locks: the session's comes before this one's.
 */
#include "src/pager/bulk.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "src/pager/install.h"
#include "src/pager/session.h"

#define READERS_MAX 4
#define JOIN_PAGES 8		/* a gap of so few pages is read too */
#define TRIES 3			/* of a read that fails */
#define TRY_MS 200
#define GUARD_MS 100
#define NICE 10			/* of the threads: whoever serves faults comes first */
#define BURST_NS 10000000	/* a rate may be exceeded for so long */

enum step { STEP_FREE, STEP_READING, STEP_READY };

struct bulk {
	struct session *s;
	struct source *source;
	struct bulk_limits limits;
	uint64_t buf_len;
	_Atomic unsigned refs;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* All below under lock. */
	bool stop;
	bool looking;			/* one thread asks the file for the next run */
	uint32_t region;		/* the place: in this region */
	uint64_t pos;			/* so many bytes in */
	uint64_t run_end;		/* of the same region; at most pos: not known */
	bool run_hole;
	uint64_t gone;			/* bytes of the regions before */
	uint64_t next_number;
	uint64_t due_ns;		/* by the rate, of what is read next */
	uint64_t guard_ns;		/* when the guard was asked last */
	uint64_t held_ns;		/* since when it holds; 0: it does not */
	int code;
	struct err err;
	struct bulk_block block[BULK_BLOCKS];
};

static const struct region *region_now(const struct bulk *b)
{
	const struct state_head *head = b->s->state->head;

	return b->region < head->nregions ? &head->regions[b->region] : NULL;
}

/* ---- waiting ---- */

/* Under lock: for a change, at most until `ns`; 0: however long. */
static void wait_until(struct bulk *b, uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	if (ns)
		(void)pthread_cond_timedwait(&b->changed, &b->lock, &t);
	else
		(void)pthread_cond_wait(&b->changed, &b->lock);
}

static void wait_ms(struct bulk *b, uint64_t ms)
{
	uint64_t end = loop_now_ns() + ms * 1000000;

	while (!b->stop && loop_now_ns() < end)
		wait_until(b, end);
}

static void tell_owner(struct bulk *b)
{
	session_work_later(b->s);
}

/* Under lock. */
static void fail(struct bulk *b, int code, const struct err *err)
{
	if (!b->code) {
		b->code = code;
		b->err = *err;
	}
	pthread_cond_broadcast(&b->changed);
	tell_owner(b);
}

static bool is_ending(const struct bulk *b)
{
	return b->stop || b->code;
}

/* ---- reading that may fail ---- */

typedef int try_fn(struct bulk *b, void *arg);

/* Without lock.  A file that cannot be read may be another one by now: a new mount. */
static int try_hard(struct bulk *b, try_fn *fn, void *arg)
{
	int rc = fn(b, arg);

	for (int i = 1; i < TRIES && rc < 0; i++) {
		state_add(&b->s->state->head->count.retries, 1);
		pthread_mutex_lock(&b->lock);
		wait_ms(b, TRY_MS);
		pthread_mutex_unlock(&b->lock);
		(void)source_reopen(b->source, NULL);
		rc = fn(b, arg);
	}
	return rc;
}

static int unreadable(struct err *err, const struct bulk *b, uint64_t off, int code)
{
	return err_set(err, -EIO, "offset %" PRIu64 " of '%s' cannot be read: %s", off,
		       source_path(b->source), source_strerror(code));
}

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
	rc = try_hard(b, ask_run, &run);
	pthread_mutex_lock(&b->lock);
	b->looking = false;
	if (rc < 0) {
		fail(b, unreadable(&err, b, run.off, rc), &err);
		return;
	}
	b->run_hole = run.hole;
	b->run_end = b->pos + run.len;
	pthread_cond_broadcast(&b->changed);
}

/* ---- pace ---- */

/* Under lock.  False: it has left the lock meanwhile. */
static bool ask_guard(struct bulk *b)
{
	uint64_t now = loop_now_ns();
	struct err err;
	int rc;

	if (!b->limits.guard.min_available && !(b->limits.guard.max_pressure > 0))
		return true;
	if (!b->held_ns && now - b->guard_ns < UINT64_C(1000000) * GUARD_MS)
		return true;
	b->guard_ns = now;
	pthread_mutex_unlock(&b->lock);
	rc = guard_check(&b->limits.guard, &err);
	pthread_mutex_lock(&b->lock);
	if (rc == 0)
		b->held_ns = 0;
	else if (!b->held_ns)
		b->held_ns = now;
	if (rc == 0)
		return false;		/* the place may be another one by now */
	if (now - b->held_ns >= UINT64_C(1000000) * BULK_HELD_MS)
		fail(b, -ENOMEM, &err);
	else
		wait_ms(b, GUARD_MS);
	return false;
}

/* The same. */
static bool in_time(struct bulk *b)
{
	uint64_t now = loop_now_ns();

	if (!b->limits.rate || b->due_ns <= now + BURST_NS)
		return true;
	wait_until(b, b->due_ns);
	return false;
}

static void pay(struct bulk *b, uint64_t len)
{
	uint64_t now = loop_now_ns();

	if (!b->limits.rate)
		return;
	if (b->due_ns < now)
		b->due_ns = now;
	b->due_ns += (uint64_t)((double)len * 1e9 / (double)b->limits.rate);
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
}

static struct bulk_block *free_block(struct bulk *b)
{
	for (unsigned i = 0; i < BULK_BLOCKS; i++)
		if (b->block[i].step == STEP_FREE)
			return &b->block[i];
	return NULL;
}

/* Under lock: a whole block, behind a short run too: small holes are sooner read than found. */
static void take(struct bulk *b, const struct region *r, struct bulk_block *block)
{
	uint64_t ps = r->page_size;
	uint64_t max = ps > BULK_LEN ? ps : BULK_LEN;
	uint64_t len = r->size - b->pos;

	len = len < max ? len : max;
	block->step = STEP_READING;
	block->page = r->first + b->pos / ps;
	block->n = len / ps;
	block->at = 0;
	block->number = b->next_number++;
	b->pos += len;
	pay(b, len);
}

/* Under lock, which it may leave meanwhile: what is to be read next; NULL: nothing any more. */
static struct bulk_block *claim(struct bulk *b)
{
	const struct region *r;

	while (!is_ending(b) && (r = region_now(b))) {
		struct bulk_block *block;

		if (b->looking) {
			wait_until(b, 0);
		} else if (b->pos >= r->size) {
			next_region(b, r);
		} else if (b->pos >= b->run_end) {
			look(b, r);
		} else if (skip_hole(b, r)) {
			continue;
		} else if (!(block = free_block(b))) {
			wait_until(b, 0);
		} else if (ask_guard(b) && in_time(b)) {
			take(b, r, block);
			return block;
		}
	}
	return NULL;
}

/* ---- blocks ---- */

static bool is_missing(uint8_t state)
{
	return (state & STATE_PAGE) == STATE_MISSING || (state & STATE_PAGE) == STATE_FILLING;
}

/* What of it is to be read: whether there is any. */
static bool choose(struct bulk *b, struct bulk_block *block)
{
	bool any = false;

	for (uint64_t i = 0; i < block->n; i++) {
		uint8_t state = state_get(b->s->state, block->page + i);
		bool wanted = is_missing(state) && !(state & STATE_HOLE);

		block->what[i] = wanted ? BULK_DATA : BULK_SKIP;
		any |= wanted;
	}
	return any;
}

/* The next pages to be read in one go, small gaps included. */
static uint64_t next_stretch(const struct bulk_block *block, uint64_t *from)
{
	uint64_t end, gap = 0;

	while (*from < block->n && block->what[*from] == BULK_SKIP)
		++*from;
	end = *from;
	for (uint64_t i = *from; i < block->n && gap <= JOIN_PAGES; i++) {
		gap = block->what[i] == BULK_SKIP ? gap + 1 : 0;
		if (!gap)
			end = i + 1;
	}
	return end - *from;
}

static int read_block(struct bulk *b, void *arg)
{
	struct bulk_block *block = arg;
	const struct region *r = session_region(b->s, block->page);
	uint64_t n, off = region_offset(r, block->page);
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && (n = next_stretch(block, &i)); i += n) {
		rc = source_read(b->source, block->buf + i * r->page_size, n * r->page_size,
				 off + i * r->page_size);
		state_add(&b->s->state->head->count.read_bytes, rc == 0 ? n * r->page_size : 0);
	}
	return rc;
}

static void find_zeros(struct bulk *b, struct bulk_block *block)
{
	uint64_t ps = session_region(b->s, block->page)->page_size;

	for (uint64_t i = 0; i < block->n; i++)
		if (block->what[i] == BULK_DATA && install_is_zero(block->buf + i * ps, ps))
			block->what[i] = BULK_ZERO;
}

/* Without lock. */
static int fill_block(struct bulk *b, struct bulk_block *block, struct err *err)
{
	int rc = choose(b, block) ? try_hard(b, read_block, block) : 0;

	if (rc < 0)
		return unreadable(err, b,
				  region_offset(session_region(b->s, block->page), block->page),
				  rc);
	find_zeros(b, block);
	return 0;
}

/* ---- threads ---- */

static void bulk_unref(struct bulk *b)
{
	if (atomic_fetch_sub(&b->refs, 1) != 1)
		return;
	if (b->block[0].buf)
		(void)munmap(b->block[0].buf, BULK_BLOCKS * b->buf_len);
	session_unref(b->s);
	pthread_cond_destroy(&b->changed);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

static void *reader(void *arg)
{
	struct bulk *b = arg;
	struct bulk_block *block;
	struct err err;
	int rc;

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	pthread_mutex_lock(&b->lock);
	while ((block = claim(b))) {
		pthread_mutex_unlock(&b->lock);
		rc = fill_block(b, block, &err);
		pthread_mutex_lock(&b->lock);
		block->step = STEP_READY;
		if (rc < 0)
			fail(b, rc, &err);
		else if (!b->stop)
			tell_owner(b);
	}
	if (!b->stop)
		tell_owner(b);		/* perhaps it was the last */
	pthread_mutex_unlock(&b->lock);
	session_enter(b->s);
	session_return(b->s);
	session_leave(b->s);
	bulk_unref(b);
	return NULL;
}

static int start_thread(struct bulk *b)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc = pthread_attr_init(&attr);

	if (rc)
		return -rc;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	atomic_fetch_add(&b->refs, 1);
	(void)session_lend(b->s);
	rc = pthread_create(&thread, &attr, reader, b);
	pthread_attr_destroy(&attr);
	if (rc) {
		session_return(b->s);
		atomic_fetch_sub(&b->refs, 1);
	}
	return -rc;
}

static unsigned readers(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);

	return n < READERS_MAX ? (unsigned)n : READERS_MAX;
}

static int start_threads(struct bulk *b, struct err *err)
{
	unsigned n = 0;
	int rc = 0;

	while (n < readers() && (rc = start_thread(b)) == 0)
		n++;
	return n ? 0 : err_sys(err, rc, "no thread can be made to read the memfile");
}

static int make_blocks(struct bulk *b, struct err *err)
{
	const struct state_head *head = b->s->state->head;
	void *p;

	b->buf_len = BULK_LEN;
	for (uint32_t i = 0; i < head->nregions; i++)
		if (head->regions[i].page_size > b->buf_len)
			b->buf_len = head->regions[i].page_size;
	p = mmap(NULL, BULK_BLOCKS * b->buf_len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return err_set(err, -ENOMEM, "no memory to read the memfile into");
	for (unsigned i = 0; i < BULK_BLOCKS; i++)
		b->block[i].buf = (uint8_t *)p + i * b->buf_len;
	return 0;
}

static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

int bulk_new(struct session *s, const struct bulk_limits *limits, struct bulk **ret,
	     struct err *err)
{
	struct bulk *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return err_set(err, -ENOMEM, "out of memory");
	atomic_init(&b->refs, 1);
	b->s = session_ref(s);
	b->source = s->source;
	b->limits = *limits;
	pthread_mutex_init(&b->lock, NULL);
	init_cond(&b->changed);
	rc = make_blocks(b, err);
	if (rc == 0)
		rc = start_threads(b, err);
	if (rc < 0) {
		bulk_unref(b);
		return rc;
	}
	*ret = b;
	return 0;
}

void bulk_free(struct bulk *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	b->stop = true;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
	bulk_unref(b);
}

/* ---- the owner ---- */

/* Under lock.  Whether any is being read; in *ret the first that is ready. */
static bool survey(struct bulk *b, struct bulk_block **ret)
{
	bool reading = false;

	for (unsigned i = 0; i < BULK_BLOCKS; i++) {
		struct bulk_block *block = &b->block[i];

		reading |= block->step == STEP_READING;
		if (block->step == STEP_READY && (!*ret || block->number < (*ret)->number))
			*ret = block;
	}
	return reading;
}

enum bulk_state bulk_next(struct bulk *b, struct bulk_block **ret)
{
	enum bulk_state state = BULK_READING;
	bool reading;

	*ret = NULL;
	pthread_mutex_lock(&b->lock);
	reading = survey(b, ret);
	if (b->code)
		state = BULK_FAILED;
	else if (*ret)
		state = BULK_READY;
	else if (!reading && !b->looking && !region_now(b))
		state = BULK_OVER;
	pthread_mutex_unlock(&b->lock);
	return state;
}

void bulk_done(struct bulk *b, struct bulk_block *block)
{
	pthread_mutex_lock(&b->lock);
	block->step = STEP_FREE;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}

int bulk_error(struct bulk *b, struct err *err)
{
	int code;

	pthread_mutex_lock(&b->lock);
	code = b->code;
	if (err)
		*err = b->err;
	pthread_mutex_unlock(&b->lock);
	return code;
}

uint64_t bulk_at(struct bulk *b, bool *ret_held)
{
	uint64_t at;

	pthread_mutex_lock(&b->lock);
	at = b->gone + b->pos;
	*ret_held = b->held_ns != 0;
	pthread_mutex_unlock(&b->lock);
	return at;
}
