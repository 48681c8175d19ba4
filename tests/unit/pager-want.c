/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/want.h"

#include "tests/tap.h"

static void test_order(void)
{
	struct wants w = {0};

	ok(!wants_find(&w, 1) && !wants_ready(&w), "nothing is wanted");
	wants_drop(&w, 1);
	is_int(wants_unpark(&w, 5), 0, "nothing is due");
	for (uint64_t page = 1; page <= 20; page++)
		is_int(wants_add(&w, 100 - page, page), 0, "a page is wanted");
	is_int(wants_ready(&w)->page, 99, "the first that was asked for is the first to be read");
	wants_ready(&w)->step = WANT_READING;
	is_int(wants_ready(&w)->page, 98, "somebody is at it: the next");
	wants_drop(&w, 98);
	is_int(wants_ready(&w)->page, 97, "it is there: the next");
	ok(!wants_find(&w, 98), "and wanted no more");
	is_int(wants_find(&w, 99)->step, WANT_READING, "others have stayed as they were");
	is_int(wants_find(&w, 80)->asked_ns, 20, "and when they were asked for");
	is_int(w.n, 19, "all of them");
	wants_fini(&w);
	is_int(w.n, 0, "the end");
}

static void test_pauses(void)
{
	struct wants w = {0};

	for (uint64_t page = 0; page < 3; page++) {
		(void)wants_add(&w, page, 0);
		wants_find(&w, page)->step = WANT_PARKED;
		wants_find(&w, page)->due_ns = 100 - page;
	}
	is_int(wants_unpark(&w, 97), 98, "the next is due");
	ok(!wants_ready(&w), "none before its time");
	is_int(wants_unpark(&w, 98), 99, "at its time");
	is_int(wants_ready(&w)->page, 2, "it is ready");
	is_int(wants_unpark(&w, 200), 0, "all are");
	is_int(wants_ready(&w)->page, 0, "in the order in which they were asked for");
	wants_fini(&w);
}

static void test_bound(void)
{
	struct wants w = {0};
	int rc = 0;

	for (uint64_t page = 0; page < WANTS_MAX; page++)
		rc |= wants_add(&w, page, 0);
	is_int(rc, 0, "many are wanted");
	is_int(wants_add(&w, WANTS_MAX, 0), -ENOMEM, "but no more than that");
	ok(!wants_find(&w, WANTS_MAX), "it is not in the list");
	wants_drop(&w, 7);
	is_int(wants_add(&w, WANTS_MAX, 0), 0, "until another is there");
	wants_fini(&w);
}

int main(void)
{
	test_order();
	test_pauses();
	test_bound();
	return tap_done();
}
