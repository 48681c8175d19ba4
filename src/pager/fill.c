/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A span is one window, from the page behind the fault to its end and then from
 * its beginning to the fault.  A piece is as many missing pages in a row as may
 * be installed before somebody looks for faults again.
 *
 * What is not in the page cache is read in larger blocks without owning the
 * session; the block becomes a span of its own, first in line, whose pieces then
 * come from the hand's buffer.  So two threads never read the same block.
 *
 * A hole is not read: it is noted.  Where zeros cost the guest no memory they are
 * installed, in large pieces; elsewhere a fault there is answered without reading.
 */
#include <errno.h>

#include "src/pager/fill.h"
#include "src/pager/install.h"
#include "src/pager/session.h"
#include "src/pager/trouble.h"

#define PIECE_LEN (UINT64_C(16) << 10)
#define PIECE_QUIET_LEN (UINT64_C(64) << 10)	/* when no fault has come for a while */
#define QUIET_NS 10000000
#define BLOCK_LEN (UINT64_C(32) << 10)		/* read at once: about what is compressed as one */
#define BLOCK_QUIET_LEN (UINT64_C(256) << 10)
#define LOOK_LEN (UINT64_C(64) << 10)		/* so often it is asked whether a hole has begun */
#define HOLE_PAGES 128		/* zeros go faster */

static struct fill_span *span_at(struct fill *f, unsigned i)
{
	return &f->span[(f->first + i) % FILL_SPANS];
}

static void push_last(struct fill *f, struct fill_span span)
{
	if (f->n == FILL_SPANS) {
		f->first = (f->first + 1) % FILL_SPANS;
		f->n--;
	}
	*span_at(f, f->n++) = span;
}

static void push_first(struct fill *f, struct fill_span span)
{
	if (f->n == FILL_SPANS)
		f->n--;
	f->first = (f->first + FILL_SPANS - 1) % FILL_SPANS;
	f->n++;
	*span_at(f, 0) = span;
}

static void pop(struct fill *f)
{
	f->first = (f->first + 1) % FILL_SPANS;
	f->n--;
}

static bool is_wanted_already(struct fill *f, uint64_t page)
{
	for (unsigned i = 0; i < f->n; i++)
		if (page >= span_at(f, i)->begin && page < span_at(f, i)->end)
			return true;
	return false;
}

void fill_around(struct session *s, uint64_t page)
{
	const struct region *r = session_region(s, page);
	struct window_span w = window_around(&s->window, (page - r->first) * r->page_size, r->size);
	uint64_t begin = r->first + w.off / r->page_size;
	uint64_t n = w.len / r->page_size;

	if (n < 2 || is_wanted_already(&s->fill, page))
		return;
	push_last(&s->fill, (struct fill_span){
		.begin = begin, .end = begin + n, .at = page, .left = n, .chosen_end = begin,
	});
}

/* ---- canaries ---- */

/* The oldest goes; unless the guest came, or it was removed, it was of no use. */
static void canary_out(struct session *s)
{
	struct fill *f = &s->fill;
	uint64_t page = f->canary[f->canary_first].page;

	f->canary_first = (f->canary_first + 1) % FILL_CANARIES;
	f->canary_n--;
	if (!(state_get(s->state, page) & STATE_CANARY))
		return;
	state_set(s->state, page, state_get(s->state, page) & (uint8_t)~STATE_CANARY);
	window_outcome(&s->window, false);
	state_add(&s->state->head->count.ahead_unused, 1);
}

void fill_canary_hit(struct session *s, uint64_t page)
{
	(void)page;
	window_outcome(&s->window, true);
	state_add(&s->state->head->count.ahead_used, 1);
}

unsigned fill_age(struct session *s, uint64_t now_ns)
{
	static const uint64_t patience = UINT64_C(1000000) * WINDOW_PATIENCE_MS;
	struct fill *f = &s->fill;
	uint64_t age;

	while (f->canary_n) {
		age = now_ns - f->canary[f->canary_first].since_ns;
		if (now_ns <= f->canary[f->canary_first].since_ns)
			age = 0;
		if (age < patience)
			return (unsigned)((patience - age) / 1000000) + 1;
		canary_out(s);
	}
	return 0;
}

static void canary_in(struct session *s, uint64_t page)
{
	struct fill *f = &s->fill;

	if (state_get(s->state, page) & (STATE_PAGE | STATE_HOLE | STATE_CANARY))
		return;
	if (f->canary_n == FILL_CANARIES)
		return;			/* ending one early would call it unused */
	state_set(s->state, page, state_get(s->state, page) | STATE_CANARY);
	f->canary[(f->canary_first + f->canary_n++) % FILL_CANARIES] =
		(struct fill_canary){page, loop_now_ns()};
	loop_tick_in(s->env->loop, WINDOW_PATIENCE_MS);
}

/* One for each stretch of the span, chosen before anything of it is filled. */
static void choose_canaries(struct session *s, struct fill_span *span)
{
	const struct region *r = session_region(s, span->begin);
	uint64_t stretch = WINDOW_STRETCH / r->page_size;

	while (span->chosen_end < span->end) {
		uint64_t from = span->chosen_end;
		uint64_t n = span->end - from < stretch ? span->end - from : stretch;
		int i = window_canary(&s->window, (from - r->first) * r->page_size, (unsigned)n);

		if (i >= 0 && from + (unsigned)i != span->at)
			canary_in(s, from + (unsigned)i);
		span->chosen_end += n;
	}
}

/* ---- pieces ---- */

/* Pages to where it ends or goes on at its beginning. */
static uint64_t in_a_row(const struct fill_span *span)
{
	return span->left < span->end - span->at ? span->left : span->end - span->at;
}

static void step_over(struct fill_span *span, uint64_t n)
{
	span->at += n;
	span->left -= n;
	if (span->at == span->end)
		span->at = span->looked_end = span->begin;
}

enum kind {
	KIND_SKIP,	/* there, removed, poisoned, a canary; or zeros that would cost memory */
	KIND_HOLE,	/* known to be zeros */
	KIND_DATA,	/* as far as is known */
};

static enum kind kind_of(const struct session *s, uint64_t page, bool zeros)
{
	uint8_t state = state_get(s->state, page);

	if ((state & (STATE_PAGE | STATE_CANARY | STATE_POISONED)) != STATE_MISSING)
		return KIND_SKIP;
	if (!(state & STATE_HOLE))
		return KIND_DATA;
	return zeros ? KIND_HOLE : KIND_SKIP;
}

/* The next missing pages of a kind in a row, at most `max` of data; 0: the span is done. */
static uint64_t next_run(struct session *s, struct fill_span *span, uint64_t max, enum kind *ret)
{
	bool zeros = session_is_anonymous(s, session_region(s, span->begin));
	uint64_t n;
	enum kind kind = KIND_SKIP;

	while (span->left) {
		kind = kind_of(s, span->at, zeros);
		if (kind != KIND_SKIP)
			break;
		step_over(span, 1);
	}
	if (!span->left)
		return 0;
	max = kind == KIND_HOLE ? HOLE_PAGES : max;
	max = max < in_a_row(span) ? max : in_a_row(span);
	for (n = 1; n < max; n++)
		if (kind_of(s, span->at + n, zeros) != kind)
			break;
	*ret = kind;
	return n;
}

/* ---- holes ---- */

static void note_hole(struct session *s, uint64_t page, uint64_t end)
{
	for (; page < end; page++) {
		uint8_t state = state_get(s->state, page);

		if ((state & STATE_PAGE) == STATE_MISSING)
			state_set(s->state, page, state | STATE_HOLE);
	}
}

/* Whether a hole is at the span, which an attempt to read would fill the page cache with. */
static bool find_hole(struct session *s, struct fill_span *span)
{
	const struct region *r = session_region(s, span->begin);
	uint64_t n;

	if (span->at < span->looked_end)
		return false;
	span->looked_end = span->at + LOOK_LEN / r->page_size;
	n = source_hole_now(s->source, region_offset(r, span->at), in_a_row(span) * r->page_size) /
	    r->page_size;
	note_hole(s, span->at, span->at + n);
	return n;
}

/* ---- reading ---- */

/* `len` bytes at `off` without waiting, borrowed from the hand. */
static int get(struct session *s, struct hand *hand, uint64_t off, uint64_t len,
	       const uint8_t **ret)
{
	int rc;

	if (hand->buf_of == s->bag && off >= hand->buf_off &&
	    off + len <= hand->buf_off + hand->buf_len) {
		*ret = hand->buf + (off - hand->buf_off);
		return 0;
	}
	hand->buf_of = 0;
	rc = source_try(s->source, hand->buf, len, off);
	if (rc < 0)
		return rc;
	state_add(&s->state->head->count.read_bytes, len);
	*ret = hand->buf;
	return 0;
}

bool fill_is_quiet(const struct session *s)
{
	return loop_now_ns() - s->fault_ns > QUIET_NS;
}

/* What is not in the page cache, and whose: a block of it, or a hole. */
struct block {
	struct fill_span span;
	uint64_t off;
	uint64_t len;
	bool hole;
};

/* Without owning the session. */
static int look_at(struct source *source, struct hand *hand, struct block *b)
{
	int rc = source_run(source, b->off, b->len, &b->hole, &b->len);

	if (rc < 0 || b->hole)
		return rc;
	return source_read(source, hand->buf, b->len, b->off);
}

/* The next run of data, without owning the session. */
static enum fill_step block_away(struct session *s, struct hand *hand, struct fill_span *span)
{
	const struct region *r = session_region(s, span->begin);
	enum kind kind = KIND_DATA;
	uint64_t len = fill_is_quiet(s) ? BLOCK_QUIET_LEN : BLOCK_LEN;
	uint64_t n = next_run(s, span, len / r->page_size, &kind);
	struct block b = {
		.span = {span->at, span->at + n, span->at, n, span->at + n, span->at + n},
		.off = region_offset(r, span->at),
		.len = n * r->page_size,
	};
	struct source *source;
	int rc;

	step_over(span, n);
	source = session_away(s);
	rc = look_at(source, hand, &b);
	session_back(s);
	if (s->ended)
		return FILL_DONE;
	if (rc < 0) {
		state_add(&s->state->head->count.retries, 1);
		return FILL_MORE;
	}
	push_first(&s->fill, b.span);
	if (b.hole) {
		note_hole(s, b.span.begin, b.span.begin + b.len / r->page_size);
		return FILL_MORE;
	}
	state_add(&s->state->head->count.read_bytes, b.len);
	hand->buf_of = s->bag;
	hand->buf_off = b.off;
	hand->buf_len = b.len;
	return FILL_MORE;
}

static void installed(struct session *s, struct fill_span *span, uint64_t n, int rc)
{
	if (rc == 0) {
		step_over(span, n);
	} else if (rc != -EAGAIN) {
		pop(&s->fill);
		trouble_uffd(s, rc);
	}
}

static enum fill_step fill_data(struct session *s, struct hand *hand, uint64_t n,
				bool may_block)
{
	struct fill_span *span = span_at(&s->fill, 0);
	const struct region *r = session_region(s, span->at);
	const uint8_t *data;
	int rc;

	if (find_hole(s, span))
		return FILL_MORE;
	rc = get(s, hand, region_offset(r, span->at), n * r->page_size, &data);
	if (rc == -EAGAIN)
		return may_block ? block_away(s, hand, span) : FILL_BLOCKS;
	if (rc < 0) {
		pop(&s->fill);
		state_add(&s->state->head->count.retries, 1);
		return FILL_MORE;
	}
	rc = install_pages(s, &(struct install){span->at, n, data, INSTALL_AHEAD});
	installed(s, span, n, rc);
	return s->ended ? FILL_DONE : FILL_MORE;
}

static enum fill_step fill_zeros(struct session *s, uint64_t n)
{
	struct fill_span *span = span_at(&s->fill, 0);
	int rc = install_pages(s, &(struct install){span->at, n, NULL, INSTALL_AHEAD});

	installed(s, span, n, rc);
	return s->ended ? FILL_DONE : FILL_MORE;
}

enum fill_step fill_piece(struct session *s, struct hand *hand, bool may_block)
{
	struct fill_span *span = span_at(&s->fill, 0);
	enum kind kind = KIND_DATA;
	uint64_t n, len;

	if (!s->fill.n)
		return FILL_DONE;
	choose_canaries(s, span);
	len = fill_is_quiet(s) ? PIECE_QUIET_LEN : PIECE_LEN;
	n = next_run(s, span, len / session_region(s, span->begin)->page_size, &kind);
	if (!n) {
		pop(&s->fill);
		return FILL_MORE;
	}
	return kind == KIND_HOLE ? fill_zeros(s, n) : fill_data(s, hand, n, may_block);
}
