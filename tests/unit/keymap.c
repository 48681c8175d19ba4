/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/keymap.h"
#include "tests/fault.h"
#include "tests/tap.h"

/* Keys as hooks have them: the low bits are all the same. */
static uint64_t key_of(uint64_t i)
{
	return (i + 1) * UINT64_C(0x9e3779b97f4a7c15) << 5;
}

static void test_many(void)
{
	struct keymap m = {0};
	unsigned bad = 0;

	is_int(keymap_find(&m, 7), 0, "an empty map has nothing");
	for (uint64_t i = 0; i < 10000; i++)
		bad += keymap_put(&m, key_of(i), i + 1) != 0;
	is_int(bad, 0, "ten thousand keys are put");
	for (uint64_t i = 0; i < 10000; i++)
		bad += keymap_find(&m, key_of(i)) != i + 1;
	is_int(bad, 0, "and all are found");
	for (uint64_t i = 10000; i < 20000; i++)
		bad += keymap_find(&m, key_of(i)) != 0;
	is_int(bad, 0, "others are not");
	is_int(keymap_put(&m, key_of(5), 99), 0, "a key is put again");
	is_int(keymap_find(&m, key_of(5)), 99, "and has its new value");
	is_int(m.n, 10000, "it is counted once");
	keymap_fini(&m);
	is_int(keymap_find(&m, key_of(5)), 0, "after keymap_fini() the map is empty");
}

static void test_same_place(void)
{
	struct keymap m = {0};

	/* Upper halves that are the same lead to the same place. */
	is_int(keymap_put(&m, 0, 1), 0, "key 0 is a key");
	is_int(keymap_put(&m, 1, 2), 0, "one that begins where it does");
	is_int(keymap_find(&m, 0), 1, "they are kept apart");
	is_int(keymap_find(&m, 1), 2, "both");
	is_int(keymap_find(&m, 2), 0, "and a third is not there");
	keymap_fini(&m);
}

static void test_no_memory(void)
{
	struct keymap m = {0};
	int rc = 0;

	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(keymap_put(&m, 1, 1), -ENOMEM, "no memory for the first");
	fault_arm(FAULT_MALLOC, 2, ENOMEM);
	for (uint64_t i = 0; i < 1000 && rc == 0; i++)
		rc = keymap_put(&m, key_of(i), i + 1);
	fault_disarm();
	is_int(rc, -ENOMEM, "no memory to grow");
	is_int(keymap_find(&m, key_of(3)), 4, "what is there stays");
	is_int(keymap_put(&m, key_of(5000), 1), 0, "and later it grows");
	keymap_fini(&m);
}

int main(void)
{
	test_many();
	test_same_place();
	test_no_memory();
	return tap_done();
}
