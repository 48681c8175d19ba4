/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The trace is taken up in batches: as many of its next pages as fit the
 * batch's buffer, those that are still missing.  A batch that is not in the page
 * cache is read without owning the session: first the kernel is told of all of it
 * and of what comes behind it, in order of offsets and with small gaps closed (whoever
 * serves the memfile then works on many requests at once), then it is read.
 * Its pages are installed piece by piece, each only if it is still missing.  One that
 * cannot be read is tried again after a pause.
 *
 * A trace that seems wrong is taken up only where the guest has been quiet for a while: a batch in
 * the moment between two faults would have whoever serves the memfile work for nobody.  Before
 * that can be known the kernel is told of little.
 *
 * While a thread reads a batch without owning the session it owns the replay: `busy`.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "src/pager/install.h"
#include "src/pager/replay.h"
#include "src/pager/session.h"
#include "src/pager/trouble.h"
#include "store/base/trace.h"

#define BATCH_ITEMS 128
#define BATCH_LEN LOOP_BUF_LEN
#define AHEAD_FIRST (UINT64_C(256) << 10)	/* of which the kernel is told: first, */
#define AHEAD_LEN (UINT64_C(4) << 20)	/* and when that was doubled batch after batch */
#define AHEAD_ITEMS 1024
#define GAP_LEN (UINT64_C(32) << 10)
#define PIECE_LEN (UINT64_C(16) << 10)
#define FAULTS_TO_JUDGE 16
#define YIELD_MS 20
#define PAUSE_MS 1000		/* after a batch that could not be read */

struct item {
	uint64_t page;		/* of the session */
	uint64_t n;
	uint64_t at;		/* in the buffer */
};

struct extent {
	uint64_t off;
	uint64_t len;
};

/* Where in the trace: run `run`, `in` bytes of it done; `done` of all bytes. */
struct cursor {
	size_t run;
	uint64_t in;
	uint64_t done;
};

struct replay {
	struct trace trace;
	bool begun;
	bool busy;
	uint32_t in, out;	/* first touches that the trace has, and has not */
	struct cursor next;
	uint64_t pause_ns;	/* not before this time; 0: nothing has failed */
	struct cursor told;	/* up to where the kernel has been told */
	uint64_t told_len;	/* bytes from next to there */
	uint64_t ahead_len;	/* bytes that it may be told */
	uint8_t *buf;
	bool loaded;		/* the buffer has the items' bytes */
	unsigned n, at;
	struct item item[BATCH_ITEMS];
	struct extent ahead[AHEAD_ITEMS];
};

/* Mapped, so that its memory goes back with it: sessions are many. */
static uint8_t *buf_new(void)
{
	void *p = mmap(NULL, BATCH_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void buf_free(uint8_t *buf)
{
	if (buf)
		(void)munmap(buf, BATCH_LEN);
}

int replay_open(const char *path, struct replay **ret, struct err *err)
{
	struct replay *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, -ENOMEM, "out of memory");
	rc = trace_load(path, &r->trace, err);
	if (rc < 0) {
		free(r);
		return rc;
	}
	r->ahead_len = AHEAD_FIRST;
	*ret = r;
	return 0;
}

void replay_free(struct replay *r)
{
	if (!r)
		return;
	trace_fini(&r->trace);
	buf_free(r->buf);
	free(r);
}

/* ---- from the trace to the session's pages ---- */

static const struct region *region_with(const struct session *s, uint64_t off)
{
	const struct state_head *head = s->state->head;

	for (uint32_t i = 0; i < head->nregions; i++) {
		const struct region *r = &head->regions[i];

		if (off >= r->off && off - r->off < r->size)
			return r;
	}
	return NULL;
}

/* The next bytes of the trace that lie in one region, at most `max`; false at its end. */
static bool take(const struct session *s, struct cursor *c, uint64_t max, struct extent *ret)
{
	const struct trace *t = &s->replay->trace;	/* constant, also while we are away */

	while (c->run < t->n) {
		uint64_t off = t->v[c->run].first * t->page_size + c->in;
		uint64_t len = t->v[c->run].count * t->page_size - c->in;
		const struct region *r = region_with(s, off);
		uint64_t room = r ? r->off + r->size - off : t->page_size;

		len = len < room ? len : room;
		len = len < max ? len : max;
		c->in += len;
		c->done += len;
		if (c->in >= t->v[c->run].count * t->page_size)
			*c = (struct cursor){c->run + 1, 0, c->done};
		if (!r)
			continue;
		*ret = (struct extent){off, len};
		return true;
	}
	return false;
}

static void pages_of(const struct region *r, struct extent e, uint64_t *page, uint64_t *end)
{
	*page = r->first + (e.off - r->off) / r->page_size;
	*end = r->first + (e.off - r->off + e.len + r->page_size - 1) / r->page_size;
}

int replay_begin(struct session *s, struct err *err)
{
	struct replay *p = s->replay;
	struct cursor c = {0};
	struct extent e;

	if (!p || p->begun)
		return 0;
	if (p->trace.size != s->state->head->memfile_size) {
		replay_free(p);
		s->replay = NULL;
		return err_set(err, -EINVAL, "the trace is of a memfile of another size");
	}
	while (take(s, &c, UINT64_MAX, &e)) {
		uint64_t page, end;

		pages_of(region_with(s, e.off), e, &page, &end);
		for (; page < end; page++)
			state_set(s->state, page, state_get(s->state, page) | STATE_TRACED);
	}
	p->begun = true;
	return 0;
}

void replay_touched(struct session *s, uint64_t page)
{
	struct replay *p = s->replay;

	if (!p)
		return;
	if (state_get(s->state, page) & STATE_TRACED)
		p->in++;
	else
		p->out++;
	if (p->in + p->out >= 4 * FAULTS_TO_JUDGE) {
		p->in /= 2;
		p->out /= 2;
	}
}

static bool seems_wrong(const struct replay *p)
{
	return p->in + p->out >= FAULTS_TO_JUDGE && p->out > p->in;
}

/* ---- a batch ---- */

static uint64_t add_items(struct session *s, struct extent e, uint64_t at)
{
	struct replay *p = s->replay;
	const struct region *r = region_with(s, e.off);
	struct state_want want = {STATE_PAGE | STATE_HOLE | STATE_POISONED, STATE_MISSING, 0};
	uint64_t page, end, n;

	pages_of(r, e, &page, &end);
	while (page < end && p->n < BATCH_ITEMS) {
		want.max = (BATCH_LEN - at) / r->page_size;
		if (!want.max)
			break;
		page = state_next(s->state, page, end, want, &n);
		if (page >= end)
			break;
		p->item[p->n++] = (struct item){page, n, at};
		at += n * r->page_size;
		page += n;
	}
	return at;
}

/* Fills p->item with what comes next. */
static void collect(struct session *s)
{
	struct replay *p = s->replay;
	struct cursor before = p->next;
	uint64_t at = 0;
	struct extent e;

	p->n = p->at = 0;
	p->loaded = false;
	while (at < BATCH_LEN && take(s, &p->next, BATCH_LEN - at, &e)) {
		at = add_items(s, e, at);
		if (p->n == BATCH_ITEMS) {
			p->next = before;	/* its rest, if any, in the next batch */
			break;
		}
		before = p->next;
	}
	p->told_len -= p->told_len < at ? p->told_len : at;
}

static int by_offset(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* What the kernel is to be told now: sorted, near ones joined.  Returns how many. */
static unsigned tell_what(const struct session *s, struct replay *p)
{
	unsigned n = 0, m = 0;

	if (p->told.run < p->next.run || (p->told.run == p->next.run && p->told.in < p->next.in)) {
		p->told = p->next;
		p->told_len = 0;
	}
	for (unsigned i = 0; i < p->n; i++) {
		const struct region *r = session_region(s, p->item[i].page);

		p->ahead[n++] = (struct extent){region_offset(r, p->item[i].page),
						p->item[i].n * r->page_size};
	}
	while (n < AHEAD_ITEMS && p->told_len < p->ahead_len &&
	       take(s, &p->told, p->ahead_len, &p->ahead[n]))
		p->told_len += p->ahead[n++].len;
	qsort(p->ahead, n, sizeof(p->ahead[0]), by_offset);
	for (unsigned i = 0; i < n; i++) {
		struct extent *last = m ? &p->ahead[m - 1] : NULL;
		struct extent e = p->ahead[i];

		if (last && e.off <= last->off + last->len + GAP_LEN) {
			if (e.off + e.len > last->off + last->len)
				last->len = e.off + e.len - last->off;
		} else {
			p->ahead[m++] = e;
		}
	}
	return m;
}

static int read_items(struct session *s, const struct replay *p, struct source *source)
{
	int rc = 0;

	for (unsigned i = 0; i < p->n && rc == 0; i++) {
		const struct item *it = &p->item[i];
		const struct region *r = session_region(s, it->page);

		rc = source_read(source, p->buf + it->at, it->n * r->page_size,
				 region_offset(r, it->page));
	}
	return rc;
}

/* Without owning the session.  It may have ended afterwards, and the replay with it. */
static enum fill_step load_away(struct session *s)
{
	struct replay *p = s->replay;
	struct source *source;
	unsigned n;
	int rc;

	p->busy = true;
	source = session_away(s);
	if (p->pause_ns)
		(void)source_reopen(source, NULL);
	n = tell_what(s, p);
	p->ahead_len = p->ahead_len < AHEAD_LEN / 2 ? 2 * p->ahead_len : AHEAD_LEN;
	for (unsigned i = 0; i < n; i++)
		source_warm(source, p->ahead[i].off, p->ahead[i].len);
	rc = read_items(s, p, source);
	session_back(s);
	if (s->ended)
		return FILL_DONE;
	p->busy = false;
	p->loaded = rc == 0;
	for (unsigned i = 0; i < p->n && rc == 0; i++)
		state_add(&s->state->head->count.read_bytes,
			  p->item[i].n * session_region(s, p->item[i].page)->page_size);
	p->pause_ns = rc < 0 ? loop_now_ns() + UINT64_C(1000000) * PAUSE_MS : 0;
	state_add(&s->state->head->count.retries, rc < 0);
	return FILL_MORE;
}

static enum fill_step load(struct session *s, bool may_block)
{
	struct replay *p = s->replay;

	if (!may_block)
		return FILL_BLOCKS;
	if (!p->buf && !(p->buf = buf_new())) {
		p->next.run = p->trace.n;	/* no memory for it: without */
		p->n = 0;
		return FILL_DONE;
	}
	return load_away(s);
}

/* What is still missing of the item's next piece. */
static void install_piece(struct session *s, struct item *it)
{
	const struct region *r = session_region(s, it->page);
	struct state_want want = {STATE_PAGE | STATE_POISONED, STATE_MISSING,
				  r->page_size < PIECE_LEN ? PIECE_LEN / r->page_size : 1};
	uint64_t n = 0, page = state_next(s->state, it->page, it->page + it->n, want, &n);
	uint64_t skip = page - it->page;
	int rc = 0;

	if (skip < it->n) {
		rc = install_pages(s, &(struct install){page, n, s->replay->buf + it->at +
							skip * r->page_size, INSTALL_REPLAY});
		if (rc == -EAGAIN)
			n = 0;
	}
	it->page += skip + n;
	it->at += (skip + n) * r->page_size;
	it->n -= skip + n;
	if (rc < 0 && rc != -EAGAIN)
		trouble_uffd(s, rc);
}

enum fill_step replay_piece(struct session *s, struct hand *hand, bool may_block)
{
	struct replay *p = s->replay;

	(void)hand;
	if (!p || !p->begun || p->busy)
		return FILL_DONE;
	if (p->at == p->n) {
		if (p->next.run == p->trace.n) {
			buf_free(p->buf);
			p->buf = NULL;
			return FILL_DONE;
		}
		collect(s);
		return FILL_MORE;
	}
	if (seems_wrong(p) && (s->wants.n || !fill_is_quiet(s))) {
		loop_tick_in(s->env->loop, YIELD_MS);
		return FILL_DONE;
	}
	if (!p->loaded && loop_now_ns() < p->pause_ns) {
		loop_tick_in(s->env->loop, PAUSE_MS);
		return FILL_DONE;
	}
	if (!p->loaded)
		return load(s, may_block);
	if (p->item[p->at].n)
		install_piece(s, &p->item[p->at]);
	else
		p->at++;
	return s->ended ? FILL_DONE : FILL_MORE;
}

bool replay_any(const struct session *s)
{
	const struct replay *p = s->replay;

	return p && p->begun && !p->busy && (p->at < p->n || p->next.run < p->trace.n);
}

void replay_progress(const struct session *s, struct replay_progress *ret)
{
	const struct replay *p = s->replay;

	*ret = (struct replay_progress){0};
	if (!p)
		return;
	ret->pages = p->trace.npages;
	ret->done = p->next.done / p->trace.page_size;
	ret->doubted = seems_wrong(p);
}
