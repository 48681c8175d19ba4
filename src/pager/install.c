/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Filling is stored before the COPY and present after it.  A worker that is
 * killed in between leaves pages that may or may not be there; its successor
 * installs them again, and EEXIST settles it: nothing but us installs pages of a
 * 4 KiB region, and a page that was removed since has its REMOVE in the queue,
 * which makes the COPY fail with EAGAIN.
 *
 * On hugetlb EEXIST says "there already" or "the pool is empty".  Believing
 * the first when it is the second would give the guest zeros later.  So it
 * counts as "there" only for a page that was left filling and while the pool
 * has free pages that nobody has reserved; otherwise it is -ENOMEM.
 */
#include <errno.h>
#include <string.h>

#include "src/pager/install.h"
#include "src/pager/pool.h"
#include "src/pager/session.h"
#include "src/pager/uffd.h"

#define PAGE 4096u

static const uint8_t zeros[LOOP_BUF_LEN] __attribute__((aligned(4096)));

bool install_is_zero(const uint8_t *p, uint64_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

static struct uffd_range range_of(const struct region *r, uint64_t page, uint64_t n)
{
	return (struct uffd_range){region_addr(r, page), n * r->page_size};
}

static void mark(struct session *s, uint64_t page, uint64_t n, uint8_t value)
{
	for (uint64_t i = 0; i < n; i++)
		state_set(s->state, page + i, value);
}

static _Atomic uint64_t *counter_of(struct state_counters *c, enum install_why why)
{
	switch (why) {
	case INSTALL_AHEAD:
		return &c->ahead;
	case INSTALL_REPLAY:
		return &c->replayed;
	case INSTALL_COMPLETE:
		return &c->completed;
	default:
		return &c->demand;
	}
}

static void count(struct session *s, const struct install *in, const struct region *r)
{
	bool zero = !in->data;
	struct state_counters *c = &s->state->head->count;

	state_add(zero ? &c->zeroed : &c->present, in->n);
	if (!zero)
		state_add(&c->copied_bytes, in->n * r->page_size);
	state_add(counter_of(c, in->why), in->n);
	if (in->why == INSTALL_COMPLETE)
		state_add(&c->completed_bytes, in->n * r->page_size);
}

static int put_zeros(struct session *s, const struct region *r, struct uffd_range range,
		     uint64_t *done)
{
	int fd = s->fd[SESSION_UFFD];
	int rc = 0;

	*done = 0;
	if (r->page_size == PAGE)
		return uffd_zero(fd, range, done);
	while (*done < range.len && rc == 0) {
		uint64_t one = 0;

		rc = uffd_copy(fd, (struct uffd_range){range.addr + *done, r->page_size}, zeros,
			       &one);
		*done += one;
	}
	return rc;
}

/* EEXIST for a page that was `before`: 0 if it is there. */
static int settle_exists(const struct region *r, uint8_t before)
{
	if (r->page_size == PAGE)
		return 0;
	return (before & STATE_PAGE) == STATE_FILLING && pool_free() > 0 ? 0 : -ENOMEM;
}

static uint8_t unasked(const struct install *in)
{
	return in->why == INSTALL_DEMAND ? 0 : STATE_AHEAD;
}

/* As far as one call to the kernel goes; how many pages are there now. */
static int put_some(struct session *s, const struct install *in, const struct region *r,
		    uint64_t *ret_n)
{
	struct uffd_range range = range_of(r, in->page, in->n);
	uint8_t before = state_get(s->state, in->page);
	uint64_t done = 0;
	int rc;

	mark(s, in->page, in->n, STATE_FILLING | unasked(in));
	rc = in->data ? uffd_copy(s->fd[SESSION_UFFD], range, in->data, &done) :
			put_zeros(s, r, range, &done);
	*ret_n = done / r->page_size;
	count(s, &(struct install){in->page, *ret_n, in->data, in->why}, r);
	if (rc != -EEXIST)
		return rc;
	install_wake(s, in->page + *ret_n);
	rc = settle_exists(r, *ret_n ? STATE_MISSING : before);
	*ret_n += rc == 0;
	return rc;
}

/* A run that is all data, or all zeros (data NULL). */
static int put_run(struct session *s, struct install in, const struct region *r)
{
	uint8_t there = STATE_PRESENT | unasked(&in);
	int rc = 0;

	while (in.n && rc == 0) {
		uint64_t n = 0;

		rc = put_some(s, &in, r, &n);
		mark(s, in.page, n, there);
		mark(s, in.page + n, in.n - n, STATE_MISSING);
		in.page += n;
		in.n -= n;
		in.data += in.data ? n * r->page_size : 0;
	}
	return rc;
}

/* Nobody asked for them, and they would cost memory, or be of no use once it has graduated. */
static bool are_noted_only(struct session *s, const struct install *in, const struct region *r)
{
	return in->why == INSTALL_COMPLETE ||
	       (in->why == INSTALL_AHEAD && !session_is_anonymous(s, r));
}

static int put_zero_run(struct session *s, const struct install *in, const struct region *r)
{
	struct install zero = {in->page, in->n, NULL, in->why};

	if (!are_noted_only(s, in, r))
		return put_run(s, zero, r);
	mark(s, in->page, in->n, STATE_MISSING | STATE_HOLE);
	return 0;
}

int install_pages(struct session *s, const struct install *in)
{
	const struct region *r = session_region(s, in->page);
	uint64_t i = 0;
	int rc = 0;

	if (!in->data)
		return put_zero_run(s, in, r);
	while (i < in->n && rc == 0) {
		const uint8_t *p = in->data + i * r->page_size;
		bool zero = install_is_zero(p, r->page_size);
		uint64_t n = 1;
		struct install run;

		while (i + n < in->n && install_is_zero(p + n * r->page_size, r->page_size) == zero)
			n++;
		run = (struct install){in->page + i, n, p, in->why};
		rc = zero ? put_zero_run(s, &run, r) : put_run(s, run, r);
		i += n;
	}
	return rc;
}

int install_again(struct session *s, uint64_t page)
{
	const struct region *r = session_region(s, page);
	uint64_t done = 0;
	int rc = put_zeros(s, r, range_of(r, page, 1), &done);

	if (rc == 0)
		state_add(&s->state->head->count.zeroed, 1);
	if (rc == -EEXIST) {
		install_wake(s, page);
		rc = r->page_size == PAGE || pool_free() > 0 ? 0 : -ENOMEM;
	}
	if (rc == 0 && (state_get(s->state, page) & STATE_PAGE) == STATE_REMOVED)
		state_set(s->state, page, STATE_REMOVED | STATE_BACK);
	return rc;
}

void install_wake(struct session *s, uint64_t page)
{
	(void)uffd_wake(s->fd[SESSION_UFFD], range_of(session_region(s, page), page, 1));
}
