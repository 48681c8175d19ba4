/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is sealed does not change any more, and nobody removes it before the row has moved,
 * which only happens under the writer's lock: a commit reads deltas without asking anybody.
 *
 * Of each image they are a stack, the lowest first.  What the highest says of a page counts,
 * and where none says anything the page is the base's, which the commit knows already: it is
 * given the stack as the source of a diff.
 *
 * The row moves in the transaction that publishes the layer.  A crash leaves both or none; the
 * deltas are removed by whoever has the live image open, or opens it next (live.h).
 */
#include "store/live-commit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/attrs.h"
#include "store/base/buf.h"
#include "store/base/vec.h"
#include "store/delta.h"
#include "store/layer.h"
#include "store/live-dir.h"
#include "store/live-row.h"
#include "store/moment.h"
#include "store/store.h"

#define ATTR_LIVE "lamina.live"

struct sealed {
	struct delta *delta;
	/* Of the pages from `from` on it says something first of `next`. */
	uint64_t from;
	uint64_t next;
};

struct stack {
	VEC(struct sealed) deltas;
	struct input_source source;
};

struct take {
	struct store *store;
	const struct live_commit_opts *opts;
	struct live_row row;		/* as it is, then as it will be */
	int dirfd;			/* of its deltas, or negative */
	struct buf value;		/* of the decision that says so */
	struct attrs attrs, first_attrs;	/* as commit.h's */
	bool moment_unknown;
	struct stack stack[IMAGES_MAX];	/* of row.image */
	struct commit_image image[IMAGES_MAX];
};

/* ---- the source of one image ---- */

static uint64_t pages_of(const struct stack *s)
{
	return (s->source.size + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

static uint64_t next_in(struct sealed *s, uint64_t page, uint64_t end)
{
	enum delta_state state = DELTA_NONE;
	uint64_t at = page;

	if (s->from <= page && page <= s->next)
		return s->next;
	while (at < end) {
		uint64_t n = delta_run(s->delta, at, end, &state);

		if (state != DELTA_NONE)
			break;
		at += n;
	}
	s->from = page;
	s->next = at < end ? at : UINT64_MAX;
	return s->next;
}

static uint64_t next_page(void *ctx, uint64_t page)
{
	struct stack *s = ctx;
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; i < s->deltas.n; i++) {
		uint64_t next = next_in(&s->deltas.v[i], page, pages_of(s));

		first = next < first ? next : first;
	}
	return first;
}

/* A frame, and which delta has the last word on each of its pages. */
struct frame_read {
	uint64_t page;			/* the first */
	uint64_t end;			/* of the frame, or of the image */
	struct delta *from[FRAME_PAGES];
	uint8_t *kind;
};

/* Of pages on which nobody above had a word. */
static void claim(struct frame_read *f, struct delta *d)
{
	enum delta_state state = DELTA_NONE;
	uint64_t n;

	for (uint64_t at = f->page; at < f->end; at += n) {
		n = delta_run(d, at, f->end, &state);
		for (uint64_t i = at - f->page; state && i < at - f->page + n; i++) {
			if (f->from[i])
				continue;
			f->from[i] = d;
			f->kind[i] = state == DELTA_ZERO_PAGE ? INPUT_PAGE_ZERO : INPUT_PAGE_DATA;
		}
	}
}

/* Data pages from `i` on that lie in one delta, one behind the other. */
static unsigned data_run(const struct frame_read *f, unsigned i)
{
	unsigned n = 0;

	while (i + n < FRAME_PAGES && f->from[i + n] && f->from[i + n] == f->from[i] &&
	       f->kind[i + n] == INPUT_PAGE_DATA)
		n++;
	return n;
}

static int read_data(const struct frame_read *f, uint8_t *buf, struct err *err)
{
	unsigned n, npages = 0;
	int rc = 0;

	for (unsigned i = 0; i < FRAME_PAGES && rc == 0; i += n ? n : 1) {
		n = data_run(f, i);
		npages += n;
		if (n)
			rc = delta_read(f->from[i], buf + (size_t)i * PAGE_SIZE,
					(size_t)n * PAGE_SIZE, (f->page + i) << PAGE_SHIFT, err);
	}
	return rc < 0 ? rc : (int)npages;
}

static int read_frame(void *ctx, uint64_t frame, uint8_t *buf, uint8_t kind[], struct err *err)
{
	const struct stack *s = ctx;
	struct frame_read f = {.page = frame * FRAME_PAGES, .end = (frame + 1) * FRAME_PAGES,
			       .kind = kind};

	if (f.end > pages_of(s))
		f.end = pages_of(s);
	for (size_t i = s->deltas.n; i-- > 0;)
		claim(&f, s->deltas.v[i].delta);
	return read_data(&f, buf, err);
}

static void stack_end(struct stack *s)
{
	const struct delta *top = s->deltas.v[s->deltas.n - 1].delta;
	struct delta_counts counts;

	s->source = (struct input_source){.size = delta_size(top), .next = next_page,
					  .read = read_frame, .ctx = s};
	for (size_t i = 0; i < s->deltas.n; i++) {
		delta_count(s->deltas.v[i].delta, &counts);
		s->source.expect += counts.data << PAGE_SHIFT;
	}
}

static void stack_fini(struct stack *s)
{
	for (size_t i = 0; i < s->deltas.n; i++)
		delta_unref(s->deltas.v[i].delta);
	vec_fini(&s->deltas);
}

/* ---- what is sealed ---- */

static int open_delta(struct take *t, unsigned i, int dirfd, uint64_t seq, struct err *err)
{
	struct delta_place place = {.store = t->store, .dirfd = dirfd, .name = t->row.image[i],
				    .seq = seq};
	struct sealed s = {.from = UINT64_MAX};
	int rc = delta_open(&place, DELTA_READ | DELTA_MENDED, &s.delta, err);

	if (rc < 0)
		return err_wrap(err, rc == -ENOENT ? -EBADMSG : rc, "live image '%s'",
				t->row.name);
	if (vec_push(&t->stack[i].deltas, s) == 0)
		return 0;
	delta_unref(s.delta);
	return err_set(err, -ENOMEM, "out of memory");
}

static int missing(const struct take *t, uint64_t seq, int rc, struct err *err)
{
	if (rc == -ENOENT)
		return err_set(err, -EBADMSG, "live image '%s': its delta %" PRIu64 " is missing%s",
			       t->row.name, seq, live_dir_why(t->dirfd, seq));
	return err_sys(err, rc, "live image '%s': cannot open its delta %" PRIu64, t->row.name,
		       seq);
}

static int open_seq(struct take *t, uint64_t seq, struct err *err)
{
	int dirfd = live_dir_open_seq(t->dirfd, seq), rc = 0;

	if (dirfd < 0)
		return missing(t, seq, dirfd, err);
	for (unsigned i = 0; i < t->row.nimages && rc == 0; i++)
		rc = open_delta(t, i, dirfd, seq, err);
	close(dirfd);
	return rc;
}

/* Were it still written to, what is read here would be of no one moment. */
static int check_sealed(const struct take *t, struct err *err)
{
	uint64_t upto = t->opts->upto;
	int dirfd;

	if (upto <= t->row.first)
		return err_set(err, -EALREADY, "live image '%s': what was sealed below %" PRIu64
			       " is in a layer already", t->row.name, upto);
	dirfd = live_dir_open_seq(t->dirfd, upto);
	if (dirfd == -ENOENT)
		return err_set(err, -EINVAL, "live image '%s' is not sealed below %" PRIu64,
			       t->row.name, upto);
	if (dirfd < 0)
		return missing(t, upto, dirfd, err);
	close(dirfd);
	return 0;
}

static int open_dir(struct take *t, struct err *err)
{
	t->dirfd = live_dir_open(t->store, t->row.name);
	return t->dirfd < 0 ? missing(t, t->row.first, t->dirfd, err) : 0;
}

static int open_sealed(struct take *t, struct err *err)
{
	int rc = open_dir(t, err);

	if (rc == 0)
		rc = check_sealed(t, err);
	for (uint64_t seq = t->row.first; seq < t->opts->upto && rc == 0; seq++)
		rc = open_seq(t, seq, err);
	for (unsigned i = 0; i < t->row.nimages && rc == 0; i++) {
		stack_end(&t->stack[i]);
		t->image[i] = (struct commit_image){.name = t->row.image[i],
						    .source = &t->stack[i].source};
	}
	return rc;
}

/* ---- whether it is of one moment ---- */

static bool has_state(const struct take *t)
{
	for (unsigned i = 0; i < t->row.nimages; i++)
		if (!strcmp(t->row.image[i], "state"))
			return t->stack[i].source.size > 0;
	return false;
}

static bool is_written(const struct stack *s)
{
	struct delta_counts counts;

	for (size_t i = 0; i < s->deltas.n; i++) {
		delta_count(s->deltas.v[i].delta, &counts);
		if (counts.data || counts.zero)
			return true;
	}
	return false;
}

/* 1: all is as in the layer that it stands on. */
static int is_base(const struct take *t, struct err *err)
{
	struct layer *base = NULL;
	int rc = t->row.has_base ? layer_peek(t->store, &t->row.base, &base, err) : 0;

	if (rc == 0)
		rc = base != NULL;
	for (unsigned i = 0; rc == 1 && i < t->row.nimages; i++) {
		const struct image *image = layer_image(base, t->row.image[i]);

		if (!image || image->size != t->stack[i].source.size || is_written(&t->stack[i]))
			rc = 0;
	}
	layer_unref(base);
	return rc;
}

static int find_moment(struct take *t, struct err *err)
{
	int rc;

	if (!has_state(t) || t->opts->one_moment)
		return 0;
	rc = is_base(t, err);
	if (rc == 1)
		rc = moment_is_unknown(t->store, &t->row.base, err);
	else if (rc == 0)
		rc = 1;
	t->moment_unknown = rc == 1;
	return rc < 0 ? rc : 0;
}

static int set_moment(struct take *t)
{
	if (t->moment_unknown)
		return attrs_set(&t->first_attrs, MOMENT_ATTR, MOMENT_UNKNOWN);
	if (t->opts->one_moment && has_state(t))
		return attrs_set(&t->attrs, MOMENT_ATTR, MOMENT_ONE);
	return 0;
}

/* One that was there is what was said of it then. */
static bool is_unknown(const struct take *t, const struct commit_result *r)
{
	return t->moment_unknown &&
	       (!r->existed || moment_is_unknown(t->store, &r->id, NULL) != 0);
}

/* ---- the commit ---- */

static int set_attrs(struct take *t, struct err *err)
{
	const struct attrs *theirs = t->opts->attrs;
	int rc = 0;

	for (size_t i = 0; theirs && i < theirs->n && rc == 0; i++)
		rc = attrs_set(&t->attrs, theirs->v[i].key, theirs->v[i].value);
	if (rc == 0)
		rc = attrs_set(&t->attrs, ATTR_LIVE, t->row.name);
	if (rc == 0)
		rc = set_moment(t);
	return rc < 0 ? err_sys(err, rc, "cannot keep the layer's attributes") : 0;
}

static int move_row(void *ctx, const struct digest *id, struct index_decision *ret,
		    struct err *err)
{
	struct take *t = ctx;
	int rc;

	t->row.has_base = true;
	t->row.base = *id;
	t->row.first = t->opts->upto;
	buf_reset(&t->value);
	rc = live_row_decision(&t->row, &t->value, ret);
	return rc < 0 ? err_set(err, rc, "out of memory") : 0;
}

static int commit_once(struct take *t, const struct digest *parent, struct commit_result *ret,
		       struct err *err)
{
	const struct commit_also also = {.decision = move_row, .ctx = t};
	const struct commit_opts opts = {
		.images = t->image, .nimages = t->row.nimages, .parent = parent,
		.tag = t->opts->tag, .attrs = &t->attrs, .first_attrs = &t->first_attrs,
		.dry_run = t->opts->dry_run,
		.threads = t->opts->threads, .spare = 1, .also = &also,
		.progress = t->opts->progress,
	};

	return commit_run(t->store, &opts, ret, err);
}

/* A commit may be what lets room be made: the deltas go when they are in a layer. */
static int commit_all(struct take *t, struct commit_result *ret, struct err *err)
{
	const struct digest base = t->row.base, *parent = t->row.has_base ? &base : NULL;
	int rc = commit_once(t, parent, ret, err);

	if (rc != -ENOSPC)
		return rc;
	store_reserve_release(t->store);
	rc = commit_once(t, parent, ret, err);
	store_reserve_make(t->store);
	return rc;
}

static void tell_taken(const struct take *t, struct live_taken *ret)
{
	ret->row = t->row;
	for (unsigned i = 0; i < t->row.nimages; i++)
		ret->size[i] = t->stack[i].source.size;
}

static int commit_locked(struct take *t, struct commit_result *ret, struct live_taken *ret_taken,
			 struct err *err)
{
	int rc = live_row_get(t->store, t->opts->name, &t->row, err);

	if (rc == 0)
		rc = open_sealed(t, err);
	if (rc == 0)
		rc = find_moment(t, err);
	if (rc == 0)
		rc = set_attrs(t, err);
	if (rc == 0 && ret_taken)
		tell_taken(t, ret_taken);
	if (rc == 0)
		rc = commit_all(t, ret, err);
	if (rc == 0 && ret_taken)
		ret_taken->moment_unknown = is_unknown(t, ret);
	return rc;
}

static void take_free(struct take *t)
{
	for (unsigned i = 0; i < IMAGES_MAX; i++)
		stack_fini(&t->stack[i]);
	if (t->dirfd >= 0)
		close(t->dirfd);
	attrs_fini(&t->attrs);
	attrs_fini(&t->first_attrs);
	buf_fini(&t->value);
	free(t);
}

int live_commit(struct store *store, const struct live_commit_opts *opts,
		struct commit_result *ret, struct live_taken *ret_taken, struct err *err)
{
	struct take *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	t->store = store;
	t->opts = opts;
	t->dirfd = -1;
	rc = store_lock_told(store, "live commit", opts->lock_wait_ms, &opts->progress, err);
	if (rc == 0) {
		rc = commit_locked(t, ret, ret_taken, err);
		store_unlock(store);
	}
	take_free(t);
	return rc;
}
