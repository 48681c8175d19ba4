/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/slab.h"
#include "store/format.h"
#include "tests/tap.h"

#define REGION (2u << 20)

struct piece {
	uint8_t *p;
	unsigned n;
	uint8_t mark;
};

static void fill(const struct piece *piece)
{
	memset(piece->p, piece->mark, piece->n * PAGE_SIZE);
}

static bool intact(const struct piece *piece)
{
	for (size_t i = 0; i < piece->n * PAGE_SIZE; i += 512)
		if (piece->p[i] != piece->mark)
			return false;
	return piece->p[piece->n * PAGE_SIZE - 1] == piece->mark;
}

static void test_one(void)
{
	struct slab slab = SLAB_INIT;
	uint8_t *p = slab_get(&slab, 16), *q;

	ok(p && (uintptr_t)p % PAGE_SIZE == 0, "16 pages, aligned");
	memset(p, 1, 16 * PAGE_SIZE);
	q = slab_get(&slab, 1);
	ok(q + PAGE_SIZE <= p || q >= p + 16 * PAGE_SIZE, "one more, elsewhere");
	is_int(slab_bytes(&slab), REGION, "both in one region");
	slab_put(&slab, p, 16);
	ok(slab_get(&slab, 16) == p, "what was given back is given again");
	slab_put(&slab, p, 16);
	slab_put(&slab, q, 1);
	slab_put(&slab, NULL, 5);
	is_int(slab_bytes(&slab), REGION, "an empty region is kept");
	p = slab_get(&slab, SLAB_PAGES_MAX);
	ok(p, "the largest piece");
	memset(p, 1, SLAB_PAGES_MAX * PAGE_SIZE);
	is_int(slab_bytes(&slab), REGION, "fits into it");
	slab_put(&slab, p, SLAB_PAGES_MAX);
}

static void test_full(void)
{
	struct slab slab = SLAB_INIT;
	uint8_t *p[2000];
	int n = 0;

	while (slab_bytes(&slab) <= REGION)
		p[n++] = slab_get(&slab, 1);
	is_int(n, 512, "a region has room for 511 pages");
	while (n < 2000)
		p[n++] = slab_get(&slab, 1);
	is_int(slab_bytes(&slab), 4 * REGION, "2000 pages take four");
	for (int i = 0; i < 2000; i += 2)
		slab_put(&slab, p[i], 1);
	is_int(slab_bytes(&slab), 4 * REGION, "every second page given back frees none");
	slab_get(&slab, 1);
	is_int(slab_bytes(&slab), 4 * REGION, "but they are used again");
	for (int i = 1; i < 2000; i += 2)
		slab_put(&slab, p[i], 1);
	is_int(slab_bytes(&slab), 2 * REGION, "empty ones go, but for one");
}

/* Many sizes, at random: nothing overlaps, and not much is lost between. */
static void test_random(void)
{
	static struct piece piece[400];
	struct slab slab = SLAB_INIT;
	uint64_t x = tap_seed(99);
	size_t used = 0, most = 0;
	int bad = 0;

	for (int i = 0; i < 40000; i++) {
		struct piece *p;

		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		p = &piece[(x >> 33) % 400];
		if (p->n) {
			bad += !intact(p);
			slab_put(&slab, p->p, p->n);
			used -= p->n * PAGE_SIZE;
			p->n = 0;
			continue;
		}
		*p = (struct piece){.n = 1 + (x >> 50) % 16, .mark = (uint8_t)i};
		p->p = slab_get(&slab, p->n);
		fill(p);
		used += p->n * PAGE_SIZE;
		most = used > most ? used : most;
	}
	for (int i = 0; i < 400; i++) {
		bad += piece[i].n && !intact(&piece[i]);
		slab_put(&slab, piece[i].n ? piece[i].p : NULL, piece[i].n);
	}
	is_int(bad, 0, "every piece keeps its bytes");
	is_int(slab_bytes(&slab), REGION, "at the end one region is left");
	ok(most > 4 * REGION, "several were in use");
}

static void test_bounded(void)
{
	struct slab slab = SLAB_INIT;
	struct piece ring[500] = {0};
	size_t used = 0;

	/* As a cache does it: what is oldest makes room for what is new. */
	for (unsigned i = 0; i < 20000; i++) {
		struct piece *p = &ring[i % 500];

		slab_put(&slab, p->p, p->n);
		used -= p->n * PAGE_SIZE;
		p->n = 1 + i * 2654435761u % 16;
		p->p = slab_get(&slab, p->n);
		used += p->n * PAGE_SIZE;
	}
	ok(slab_bytes(&slab) < used + used / 4, "%zu KiB mapped for %zu in use",
	   slab_bytes(&slab) >> 10, used >> 10);
	for (int i = 0; i < 500; i++)
		slab_put(&slab, ring[i].p, ring[i].n);
}

int main(void)
{
	test_one();
	test_full();
	test_random();
	test_bounded();
	return tap_done();
}
