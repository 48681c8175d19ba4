/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One handle in many threads, and in callbacks of its own. */
#include <pthread.h>

#include "tests/unit/index-fixture.h"

static int number(struct index *ix, const char *name)
{
	uint64_t v;
	int rc = index_meta_get_u64(ix, name, &v, NULL);

	return rc < 0 ? rc : (int)v;
}

static void *read_number(void *arg)
{
	return (void *)(intptr_t)number(arg, "n");
}

/* A thread of the same process sees nothing of an open transaction. */
static void test_threads(void)
{
	struct index *ix = new_index(new_path());
	pthread_t thread;
	void *seen;

	is_int(index_begin(ix, &err), 0, "begin");
	is_int(index_meta_set_u64(ix, "n", 1, &err), 0, "write");
	if (pthread_create(&thread, NULL, read_number, ix) != 0)
		bail("no thread");
	usleep(20000);
	is_int(index_meta_set_u64(ix, "n", 5, &err), 0, "write more");
	is_int(index_commit(ix, &err), 0, "commit");
	pthread_join(thread, &seen);
	is_int((intptr_t)seen, 5, "another thread has waited for the end");
	index_close(ix);
}

#define PACKS 50u

struct total {
	uint64_t packs;
	uint64_t ends;
};

static int add_end(void *ctx, const struct index_pack *p)
{
	struct total *t = ctx;

	t->packs++;
	t->ends += p->end;
	return 0;
}

/* Each transaction moves one byte from a pack to another: the sum stays. */
static void *watch_sum(void *arg)
{
	intptr_t wrong = 0;

	for (int i = 0; i < 200; i++) {
		struct total t = {0};

		if (index_snapshot_begin(arg, NULL) < 0)
			return (void *)(intptr_t)-1;
		if (index_pack_each(arg, add_end, &t, NULL) < 0 || t.packs != PACKS ||
		    t.ends != PACKS * 1000)
			wrong++;
		index_snapshot_end(arg);
	}
	return (void *)wrong;
}

/* On the writer's own handle a walk may be overtaken, but meets every row once. */
static void *watch_rows(void *arg)
{
	intptr_t wrong = 0;

	for (int i = 0; i < 200; i++) {
		struct total t = {0};

		if (index_pack_each(arg, add_end, &t, NULL) < 0 || t.packs != PACKS)
			wrong++;
	}
	return (void *)wrong;
}

static int move_byte(struct index *ix, uint32_t from, uint32_t to)
{
	struct index_pack a, b;

	if (index_begin(ix, NULL) < 0)
		return 0;
	if (index_pack_get(ix, from, &a, NULL) == 0 && index_pack_get(ix, to, &b, NULL) == 0) {
		a.end--;
		b.end++;
		if (index_pack_put(ix, &a, NULL) == 0 && index_pack_put(ix, &b, NULL) == 0)
			return index_commit(ix, NULL) == 0;
	}
	index_abort(ix);
	return 0;
}

/* One writer, two readers on its own handle and two on another. */
static void test_many_threads(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path), *other = new_index(path);
	pthread_t threads[4];
	int moved = 0;

	for (uint32_t i = 1; i <= PACKS; i++)
		if (index_pack_put(ix, &(struct index_pack){.number = i, .end = 1000}, &err) < 0)
			bail("%s", err.text);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, i % 2 ? watch_rows : watch_sum,
				   i % 2 ? ix : other) != 0)
			bail("no thread");
	for (uint32_t i = 0; i < 300; i++)
		moved += move_byte(ix, 1 + i % PACKS, 1 + (i + 7) % PACKS);
	for (int i = 0; i < 4; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		is_int((intptr_t)wrong, 0, "reader %d always saw what it should", i);
	}
	is_int(moved, 300, "and no transaction was held up");
	index_close(ix);
	index_close(other);
}

struct nested {
	struct index *ix;
	int depth;
	int calls;
};

static int nest(void *ctx, const struct index_pack *p)
{
	struct nested *n = ctx;
	struct index_pack same;
	int rc = 0;

	n->calls++;
	is_int(index_pack_get(n->ix, p->number, &same, &err), 0, "a read in a callback");
	ok(same.end == p->end, "answers");
	if (n->depth < 2) {
		n->depth++;
		rc = index_pack_each(n->ix, nest, n, &err);
		n->depth--;
	}
	return rc;
}

static void test_callbacks(void)
{
	struct index *ix = new_index(new_path());
	struct nested n = {.ix = ix};

	for (uint32_t i = 1; i <= 3; i++)
		if (index_pack_put(ix, &(struct index_pack){.number = i, .end = i * 64}, &err))
			bail("%s", err.text);
	is_int(index_pack_each(ix, nest, &n, &err), 0, "a walk within a walk within a walk");
	is_int(n.calls, 3 + 9 + 27, "meets all rows");
	index_close(ix);
}

int main(void)
{
	test_threads();
	test_many_threads();
	test_callbacks();
	return tap_done();
}
