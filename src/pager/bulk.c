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
#include "src/pager/bulk-private.h"

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
#include "store/base/thread.h"

#define READERS 4		/* threads: most of them wait for what is not cached */
#define JOIN_PAGES 8		/* a gap of so few pages is read too */
#define WAKE_FREE (BULK_BLOCKS / 2)	/* for fewer blocks no thread is woken */
#define TRIES 3			/* of a read that fails */
#define TRY_MS 200
#define NICE 10			/* of the threads: whoever serves faults comes first */

/* ---- waiting ---- */

/* Under lock, as all of these. */
void bulk_wait_until(struct bulk *b, uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	(void)pthread_cond_timedwait(&b->ending, &b->lock, &t);
}

static _Atomic unsigned bulks;	/* in this process */

/*
 * Each owner has a core, and the threads share those that are left.  With none, each owner
 * reads what is cached himself, and finds it in his core's cache; but one thread may have to.
 */
bool bulk_may_copy(const struct bulk *b, unsigned copying)
{
	unsigned n = atomic_load(&bulks), left = n < b->cores ? b->cores - n : 0;
	unsigned max = n ? (left + n - 1) / n : 0;

	if (!max && (b->cold || bulk_has_pace(b)))
		max = 1;
	return copying < max;
}

void bulk_wait_work(struct bulk *b)
{
	b->idle++;
	(void)pthread_cond_wait(&b->work, &b->lock);
	b->idle--;
}

void bulk_wake_one(struct bulk *b)
{
	if (b->idle)
		(void)pthread_cond_signal(&b->work);
}

void bulk_wake_idle(struct bulk *b)
{
	(void)pthread_cond_broadcast(&b->work);
}

static void wake_all(struct bulk *b)
{
	(void)pthread_cond_broadcast(&b->ending);
	bulk_wake_idle(b);
}

void bulk_wait_ms(struct bulk *b, uint64_t ms)
{
	uint64_t end = loop_now_ns() + ms * 1000000;

	while (!b->stop && loop_now_ns() < end)
		bulk_wait_until(b, end);
}

static void tell_owner(struct bulk *b)
{
	session_work_later(b->s);
}

/* Under lock. */
void bulk_fail(struct bulk *b, int code, const struct err *err)
{
	if (!b->code) {
		b->code = code;
		b->err = *err;
	}
	wake_all(b);
	tell_owner(b);
}

/* ---- reading that may fail ---- */

/* Without lock.  A file that cannot be read may be another one by now: a new mount. */
int bulk_try(struct bulk *b, bulk_try_fn *fn, void *arg)
{
	int rc = fn(b, arg);

	for (int i = 1; i < TRIES && rc < 0; i++) {
		state_add(&b->s->state->head->count.retries, 1);
		pthread_mutex_lock(&b->lock);
		bulk_wait_ms(b, TRY_MS);
		pthread_mutex_unlock(&b->lock);
		(void)source_reopen(b->source, NULL);
		rc = fn(b, arg);
	}
	return rc;
}

int bulk_unreadable(struct err *err, const struct bulk *b, uint64_t off, int code)
{
	return err_set(err, -EIO, "offset %" PRIu64 " of '%s' cannot be read: %s", off,
		       source_path(b->source), source_strerror(code));
}

/* ---- blocks ---- */

/* What of it is to be read: whether there is any. */
static bool choose(struct bulk *b, struct bulk_block *block)
{
	bool any = false;

	for (uint64_t i = 0; i < block->n; i++) {
		uint8_t state = state_get(b->s->state, block->page + i);
		bool wanted = state_is_missing(state) && !(state & STATE_HOLE);

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

typedef int read_fn(struct source *source, void *buf, size_t len, uint64_t off);

static int read_with(struct bulk *b, struct bulk_block *block, read_fn *read)
{
	const struct region *r = session_region(b->s, block->page);
	uint64_t n, off = region_offset(r, block->page);
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && (n = next_stretch(block, &i)); i += n) {
		rc = read(b->source, block->buf + i * r->page_size, n * r->page_size,
			  off + i * r->page_size);
		state_add(&b->s->state->head->count.read_bytes, rc == 0 ? n * r->page_size : 0);
	}
	return rc;
}

static int read_block(struct bulk *b, void *arg)
{
	return read_with(b, arg, source_read);
}

/*
 * What is wanted of it, in pages of the file, where a longer read has failed: what lies between
 * may be all that cannot be read.  In *ret_off the first that cannot be.
 */
static int read_singly(struct bulk *b, struct bulk_block *block, uint64_t *ret_off)
{
	const struct region *r = session_region(b->s, block->page);
	uint64_t off = region_offset(r, block->page);
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < block->n * r->page_size; at += 4096) {
		if (block->what[at / r->page_size] == BULK_SKIP)
			continue;
		rc = source_read(b->source, block->buf + at, 4096, off + at);
		*ret_off = off + at;
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

/* Under lock: for the owner to install. */
static void ready(struct bulk *b, struct bulk_block *block)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < block->n; i++)
		n += block->what[i] != BULK_DATA;
	bulk_place_give_back(b, n * session_region(b->s, block->page)->page_size);
	block->step = STEP_READY;
}

/* Without lock: what is cached.  -EAGAIN: it is not; or another error. */
static int try_block(struct bulk *b, struct bulk_block *block)
{
	int rc = choose(b, block) ? read_with(b, block, source_try) : 0;

	if (rc == 0)
		find_zeros(b, block);
	return rc;
}

/* Without lock. */
static int fill_block(struct bulk *b, struct bulk_block *block, struct err *err)
{
	uint64_t off = 0;
	int rc;

	source_warm(b->source, block->warm_off, block->warm_len);
	rc = bulk_try(b, read_block, block);
	if (rc < 0)
		rc = read_singly(b, block, &off);
	if (rc < 0)
		return bulk_unreadable(err, b, off, rc);
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
	pthread_cond_destroy(&b->ending);
	pthread_cond_destroy(&b->work);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/* Under lock, which it leaves meanwhile.  Only so many do that at once: see `copying`. */
static int copy_block(struct bulk *b, struct bulk_block *block)
{
	int rc;

	b->copying++;
	pthread_mutex_unlock(&b->lock);
	rc = try_block(b, block);
	pthread_mutex_lock(&b->lock);
	b->copying--;
	b->cold = rc < 0;
	if (rc < 0)
		bulk_wake_one(b);	/* this thread is going to sleep: another may copy */
	return rc;
}

/* The same for what is not cached: mostly it sleeps. */
static int wait_for_block(struct bulk *b, struct bulk_block *block, struct err *err)
{
	int rc;

	pthread_mutex_unlock(&b->lock);
	rc = fill_block(b, block, err);
	pthread_mutex_lock(&b->lock);
	return rc;
}

static void *reader(void *arg)
{
	struct bulk *b = arg;
	struct bulk_block *block;
	struct err err;
	int rc;

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	pthread_mutex_lock(&b->lock);
	while ((block = bulk_place_claim(b))) {
		rc = copy_block(b, block);
		if (rc < 0)
			rc = wait_for_block(b, block, &err);
		ready(b, block);
		if (rc < 0)
			bulk_fail(b, rc, &err);
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
	int rc;

	atomic_fetch_add(&b->refs, 1);
	(void)session_lend(b->s);
	rc = thread_detached(reader, b);
	if (rc < 0) {
		session_return(b->s);
		atomic_fetch_sub(&b->refs, 1);
	}
	return rc;
}

static unsigned cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 2 : (unsigned)CPU_COUNT(&set);
}

static int start_threads(struct bulk *b, struct err *err)
{
	unsigned n = 0;
	int rc = 0;

	while (n < READERS && (rc = start_thread(b)) == 0)
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
	b->cores = cores();
	pthread_mutex_init(&b->lock, NULL);
	thread_cond_init(&b->ending);
	pthread_cond_init(&b->work, NULL);
	rc = make_blocks(b, err);
	if (rc == 0)
		rc = start_threads(b, err);
	if (rc < 0) {
		bulk_unref(b);
		return rc;
	}
	atomic_fetch_add(&bulks, 1);
	*ret = b;
	return 0;
}

void bulk_free(struct bulk *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	b->stop = true;
	wake_all(b);
	pthread_mutex_unlock(&b->lock);
	atomic_fetch_sub(&bulks, 1);
	bulk_unref(b);
}

/* ---- the owner ---- */

/* Under lock.  Whether any is being read; in *ret the first that is ready. */
static bool survey(struct bulk *b, struct bulk_block **ret)
{
	bool reading = false;

	for (unsigned i = 0; i < BULK_BLOCKS; i++) {
		struct bulk_block *block = &b->block[i];

		reading |= block->step == STEP_READING || block->step == STEP_LEFT;
		if (block->step == STEP_READY && (!*ret || block->number < (*ret)->number))
			*ret = block;
	}
	return reading;
}

/*
 * The owner, who has nothing to install: the threads do not keep up, or have no core to
 * themselves.  What is in the page cache he reads himself, and finds it in his own core's.
 */
static struct bulk_block *read_now(struct bulk *b)
{
	struct bulk_block *block;
	int rc;

	pthread_mutex_lock(&b->lock);
	block = bulk_place_claim_now(b);
	b->owner_reads = block;
	if (!block)
		bulk_wake_one(b);	/* it may take a thread to find out what comes next */
	pthread_mutex_unlock(&b->lock);
	if (!block)
		return NULL;
	rc = try_block(b, block);
	pthread_mutex_lock(&b->lock);
	if (rc == 0)
		ready(b, block);
	else
		block->step = STEP_LEFT;
	b->cold = rc < 0;
	b->owner_reads = false;
	if (!bulk_region(b))
		bulk_wake_idle(b);	/* they have waited for what he might leave */
	else if (rc < 0)
		bulk_wake_one(b);
	pthread_mutex_unlock(&b->lock);
	return rc == 0 ? block : NULL;
}

static enum bulk_state look_for(struct bulk *b, struct bulk_block **ret)
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
	else if (!reading && !b->looking && !bulk_region(b))
		state = BULK_OVER;
	pthread_mutex_unlock(&b->lock);
	return state;
}

enum bulk_state bulk_next(struct bulk *b, struct bulk_block **ret)
{
	enum bulk_state state = look_for(b, ret);

	if (state == BULK_READING && (*ret = read_now(b)))
		state = BULK_READY;
	return state;
}

static unsigned count_free(const struct bulk *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BULK_BLOCKS; i++)
		n += b->block[i].step == STEP_FREE;
	return n;
}

/* Who copies comes to look for a free block itself. */
void bulk_done(struct bulk *b, struct bulk_block *block)
{
	pthread_mutex_lock(&b->lock);
	block->step = STEP_FREE;
	if (bulk_may_copy(b, b->copying) && count_free(b) >= WAKE_FREE)
		bulk_wake_one(b);
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

bool bulk_is_held(struct bulk *b, struct err *why)
{
	bool held;

	pthread_mutex_lock(&b->lock);
	held = b->held_ns != 0;
	if (held)
		*why = b->held_why;
	pthread_mutex_unlock(&b->lock);
	return held;
}
