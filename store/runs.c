/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/vec.h"

enum kind { ZERO, NEXT, SAME, FAR };

/* What coder and decoder both know after each run. */
struct state {
	uint64_t pos;
	uint64_t high;		/* highest end of any run so far */
	uint64_t distance;	/* addr - pos of the last SAME or FAR run */
};

void runs_fini(struct runs *r)
{
	if (!r)
		return;
	free(r->v);
	*r = (struct runs){0};
}

void runs_reset(struct runs *r)
{
	r->n = 0;
	r->count = 0;
}

static bool continues(const struct run *last, uint64_t addr)
{
	if (last->addr == 0 || addr == 0)
		return last->addr == addr;
	return last->addr + last->len == addr;
}

int runs_add(struct runs *r, uint64_t addr, uint64_t len)
{
	struct run run = {.pos = r->count, .len = len, .addr = addr};

	if (len == 0)
		return 0;
	if (r->n && continues(&r->v[r->n - 1], addr))
		r->v[r->n - 1].len += len;
	else if (vec_push(r, run) < 0)
		return -ENOMEM;
	r->count += len;
	return 0;
}

const struct run *runs_find(const struct runs *r, uint64_t pos)
{
	size_t lo = 0, hi = r->n;

	if (pos >= r->count)
		return NULL;
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->v[mid].pos <= pos)
			lo = mid;
		else
			hi = mid;
	}
	return &r->v[lo];
}

uint64_t runs_at(const struct runs *r, uint64_t pos)
{
	const struct run *run = runs_find(r, pos);

	return run && run->addr ? run->addr + (pos - run->pos) : 0;
}

bool runs_equal(const struct runs *a, const struct runs *b)
{
	if (a->n != b->n || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->v[i].len != b->v[i].len || a->v[i].addr != b->v[i].addr)
			return false;
	return true;
}

static uint64_t zigzag(uint64_t v)
{
	return v << 1 ^ (0 - (v >> 63));
}

static uint64_t unzigzag(uint64_t v)
{
	return v >> 1 ^ (0 - (v & 1));
}

static void advance(struct state *s, enum kind kind, uint64_t addr, uint64_t len)
{
	if (kind == SAME || kind == FAR)
		s->distance = addr - s->pos;
	if (kind != ZERO && addr + len > s->high)
		s->high = addr + len;
	s->pos += len;
}

static enum kind choose(const struct state *s, uint64_t addr)
{
	if (addr == 0)
		return ZERO;
	if (addr == s->high)
		return NEXT;
	return addr == s->pos + s->distance ? SAME : FAR;
}

void runs_encode(const struct runs *r, struct buf *out)
{
	struct state s = {0};

	buf_varint(out, r->n);
	for (size_t i = 0; i < r->n; i++) {
		uint64_t addr = r->v[i].addr, len = r->v[i].len;
		enum kind kind = choose(&s, addr);

		buf_varint(out, (len - 1) << 2 | kind);
		if (kind == FAR)
			buf_varint(out, zigzag(addr - (s.pos + s.distance)));
		advance(&s, kind, addr, len);
	}
}

static uint64_t decode_addr(const struct state *s, enum kind kind, struct rd *rd)
{
	switch (kind) {
	case NEXT:
		return s->high;
	case SAME:
		return s->pos + s->distance;
	case FAR:
		return s->pos + s->distance + unzigzag(rd_varint(rd));
	default:
		return 0;
	}
}

static int decode_run(struct runs *r, struct rd *rd, struct state *s, uint64_t count)
{
	uint64_t head = rd_varint(rd), len = (head >> 2) + 1, end;
	enum kind kind = head & 3;
	uint64_t addr = decode_addr(s, kind, rd);

	if (!rd_ok(rd) || len > count - s->pos)
		return -EBADMSG;
	if (kind != ZERO && (addr == 0 || __builtin_add_overflow(addr, len, &end)))
		return -EBADMSG;
	/* Each map has one list of runs: what continues its neighbour is damage. */
	if (r->n && continues(&r->v[r->n - 1], addr))
		return -EBADMSG;
	advance(s, kind, addr, len);
	return runs_add(r, addr, len);
}

int runs_decode(struct runs *r, struct rd *rd, uint64_t count, size_t max_runs)
{
	uint64_t n = rd_varint_max(rd, max_runs);
	struct state s = {0};
	int rc = rd_ok(rd) ? 0 : -EBADMSG;

	for (uint64_t i = 0; i < n && rc == 0; i++)
		rc = decode_run(r, rd, &s, count);
	if (rc == 0 && r->count != count)
		rc = -EBADMSG;
	if (rc < 0)
		runs_fini(r);
	return rc;
}
