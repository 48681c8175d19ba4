/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/dedup-table.h"
#include "store/format.h"
#include "tests/fault.h"
#include "tests/tap.h"

#define LISTS 4u
#define LEN 1000u

static struct digest digests[LISTS][LEN];

static struct digest digest_of(uint64_t n)
{
	struct digest d = {{0}};
	uint64_t x = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned i = 0; i < DIGEST_LEN; i++) {
		d.b[i] = (uint8_t)(x >> 56);
		x = x * 6364136223846793005u + 1442695040888963407u;
	}
	return d;
}

static void set_up(struct dedup_table *t, size_t cap)
{
	if (dedup_table_init(t, cap) < 0)
		bail("no table");
	for (uint32_t l = 0; l < LISTS; l++) {
		t->list[l] = digests[l];
		for (uint32_t i = 0; i < LEN; i++)
			digests[l][i] = digest_of(l * LEN + i);
	}
}

static void add_list(struct dedup_table *t, uint32_t list)
{
	for (uint32_t i = 0; i < LEN; i++)
		dedup_table_add(t, list, i);
}

/* How many of the list's digests are found where they are. */
static unsigned found(const struct dedup_table *t, uint32_t list)
{
	uint32_t l, k;
	unsigned n = 0;

	for (uint32_t i = 0; i < LEN; i++)
		n += dedup_table_find(t, &digests[list][i], &l, &k) && l == list && k == i;
	return n;
}

static void test_lists(void)
{
	struct dedup_table t;

	set_up(&t, 4096);
	is_int(found(&t, 0), 0, "an empty table has nothing");
	for (uint32_t l = 0; l < 3; l++)
		add_list(&t, l);
	is_int(found(&t, 0) + found(&t, 1) + found(&t, 2), 3 * LEN, "all are found where they are");
	is_int(found(&t, 3), 0, "others are not");
	/* Out of the middle of what has run together. */
	for (uint32_t i = 0; i < LEN; i++)
		dedup_table_remove(&t, 1, i);
	is_int(found(&t, 1), 0, "a list that was removed is not found");
	is_int(found(&t, 0) + found(&t, 2), 2 * LEN, "the others still are");
	add_list(&t, 3);
	is_int(found(&t, 3), LEN, "there is room for another");
	for (uint32_t l = 0; l < LISTS; l++)
		for (uint32_t i = 0; l != 1 && i < LEN; i++)
			dedup_table_remove(&t, l, i);
	ok(memchr(t.v, 1, t.cap * DEDUP_TABLE_ENTRY) == NULL, "no entry is left behind");
	dedup_table_fini(&t);
}

static void test_grow(void)
{
	struct dedup_table t;

	set_up(&t, 2048);
	add_list(&t, 0);
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(dedup_table_grow(&t), -ENOMEM, "without memory it does not grow");
	fault_disarm();
	is_int(t.cap, 2048, "and stays as it was");
	is_int(found(&t, 0), LEN, "with all in it");
	is_int(dedup_table_grow(&t), 0, "it grows");
	is_int(t.cap, 4096, "to twice as large");
	is_int(found(&t, 0), LEN, "and has all that it had");
	add_list(&t, 1);
	add_list(&t, 2);
	is_int(found(&t, 1) + found(&t, 2), 2 * LEN, "more can be added");
	dedup_table_fini(&t);
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(dedup_table_init(&t, 64), -ENOMEM, "no memory, no table");
	fault_disarm();
	dedup_table_fini(&t);
}

/* Digests with the same first eight bytes must not pass for each other. */
static void test_alike(void)
{
	struct dedup_table t;
	uint32_t l, i;

	set_up(&t, 64);
	for (uint32_t k = 1; k < 4; k++) {
		digests[0][k] = digests[0][0];
		digests[0][k].b[DIGEST_LEN - 1] ^= (uint8_t)k;
	}
	for (uint32_t k = 0; k < 3; k++)
		dedup_table_add(&t, 0, k);
	ok(dedup_table_find(&t, &digests[0][2], &l, &i) && i == 2, "the whole digest is compared");
	ok(!dedup_table_find(&t, &digests[0][3], &l, &i), "a near one is not taken for it");
	dedup_table_remove(&t, 0, 1);
	ok(dedup_table_find(&t, &digests[0][2], &l, &i) && i == 2, "removing one keeps the next");
	ok(!dedup_table_find(&t, &digests[0][1], &l, &i), "and it is gone");
	dedup_table_fini(&t);
}

static void test_limits(void)
{
	static struct digest list[SEG_PAGES];
	struct dedup_table t;
	uint32_t l = 0, i = 0;

	set_up(&t, 64);
	list[SEG_PAGES - 1] = digest_of(77);
	t.list[DEDUP_TABLE_LISTS - 1] = list;
	dedup_table_add(&t, DEDUP_TABLE_LISTS - 1, SEG_PAGES - 1);
	ok(dedup_table_find(&t, &list[SEG_PAGES - 1], &l, &i), "the last place is found");
	is_int(l, DEDUP_TABLE_LISTS - 1, "with its list");
	is_int(i, SEG_PAGES - 1, "and its index");
	dedup_table_fini(&t);
}

int main(void)
{
	test_lists();
	test_grow();
	test_alike();
	test_limits();
	return tap_done();
}
