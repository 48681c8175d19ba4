/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/state.h"

#include <fcntl.h>

#include "tests/fault.h"
#include "tests/unit/state-fixture.h"

/* ---- a new one ---- */

static void test_new(void)
{
	struct state *state = NULL;

	is_int(state_new("vm1", "{\"id\":\"vm1\"}", &state, &err), 0, "a state");
	is_str(state->head->id, "vm1", "has its id");
	is_str(state->head->config, "{\"id\":\"vm1\"}", "and its configuration");
	is_int(state->head->config_len, 12, "and its length");
	is_int(state->head->phase, STATE_WAITING, "waits");
	ok(state->head->created_ms > UINT64_C(1500000000000), "was made at some time");
	is_int(state->head->handoff_ms + state->head->ended_ms, 0, "and nothing else happened");
	ok(!state->page && state->head->npages == 0, "it has no pages yet");
	ok(fcntl(state->fd, F_GETFD) & FD_CLOEXEC, "other programs do not inherit it");
	ok(ftruncate(state->fd, 4096) < 0 && errno == EPERM, "nobody can cut it short");
	ok(file_cost(state) <= 4 * PAGE, "it costs %llu bytes",
	   (unsigned long long)file_cost(state));
	is_int(state_remove(state, 0, UINT64_MAX), 0, "there is nothing to be removed");
	state_close(state);
	state_close(NULL);
}

static void test_new_too_long(void)
{
	char *text = malloc(STATE_CONFIG_MAX + 1);
	struct state *state = NULL;

	if (!text)
		bail("no memory");
	memset(text, 'x', STATE_CONFIG_MAX);
	text[STATE_ID_MAX] = '\0';
	is_err(state_new(text, "{}", &state, &err), &err, -EINVAL,
	       "the session's id has 128 bytes, at most 127 fit");
	is_int(state_new(text + 1, "{}", &state, &err), 0, "127 fit");
	is_str(state->head->id, text + 1, "all of them");
	state_close(state);
	state = NULL;
	text[STATE_ID_MAX] = 'x';
	text[STATE_CONFIG_MAX] = '\0';
	is_err(state_new("vm1", text, &state, &err), &err, -EINVAL,
	       "session 'vm1': its configuration has 32768 bytes, at most 32767 fit");
	ok(!state, "nothing is given");
	is_int(state_new("vm1", text + 1, &state, &err), 0, "32767 fit");
	is_str(state->head->config, text + 1, "all of them");
	state_close(state);
	free(text);
}

static void test_new_fails(void)
{
	struct state *state = NULL;

	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_err(state_new("vm1", "{}", &state, &err), &err, -ENOMEM,
	       "no memory for a session's state");
	fault_arm(FAULT_FTRUNCATE, 1, ENOSPC);
	is_err(state_new("vm1", "{}", &state, &err), &err, -ENOSPC,
	       "session 'vm1': cannot make its state: %s", strerror(ENOSPC));
	fault_disarm();
	ok(!state, "nothing is given");
}

/* ---- the handoff ---- */

static void test_begin(void)
{
	struct region r[2] = {small, {
		.addr = BASE - HUGE_PAGE, .size = HUGE_PAGE, .off = small.size,
		.first = 64, .page_size = HUGE_PAGE,
	}};
	struct state *state = begun(r, 2, small.size + HUGE_PAGE);

	is_int(state->head->nregions, 2, "two regions");
	is_mem(state->head->regions, r, sizeof(r), "as they were given");
	is_int(state->head->npages, 65, "65 pages of two sizes");
	is_int(state->head->memfile_size, small.size + HUGE_PAGE, "the memfile's size");
	ok(state->head->handoff_ms >= state->head->created_ms, "the time of the handoff");
	is_int(state->head->phase, STATE_SERVING, "it serves");
	is_int(state_get(state, 64), STATE_MISSING, "all pages are missing");
	state_set(state, 64, STATE_PRESENT | STATE_AHEAD);
	is_int(state_get(state, 64), STATE_PRESENT | STATE_AHEAD, "until they are not");
	is_err(state_begin(state, r, 1, small.size, &err), &err, -EINVAL,
	       "session 'vm1' is serving, not waiting");
	state_close(state);
}

static void test_begin_fails(void)
{
	struct state *state = NULL;

	if (state_new("vm1", "{}", &state, &err) < 0)
		bail("no state: %s", err.text);
	is_err(state_begin(state, &small, 0, small.size, &err), &err, -EINVAL,
	       "there are no regions");
	is_err(state_begin(state, &small, 1, PAGE, &err), &err, -EINVAL,
	       "region 0: 'offset' 0 and 'size' 262144 go beyond the memfile's 4096 bytes");
	fault_arm(FAULT_FTRUNCATE, 1, ENOSPC);
	is_err(state_begin(state, &small, 1, small.size, &err), &err, -ENOSPC,
	       "session 'vm1': cannot enlarge its state to 131136 bytes: %s", strerror(ENOSPC));
	fault_disarm();
	ok(!state->page && !state->head->nregions && !state->head->handoff_ms &&
	   state->head->phase == STATE_WAITING, "nothing has begun");
	is_int(state_begin(state, &small, 1, small.size, &err), 0, "it can begin yet");
	state_close(state);
}

/* ---- phases ---- */

static void test_end(void)
{
	struct state *state = begun(&small, 1, small.size), *second = adopted(state->fd);
	char text[1024];

	state_end(state, STATE_COMPLETING, NULL);
	is_int(second->head->phase, STATE_COMPLETING, "another mapping sees the phase");
	state_end(state, STATE_SERVING, NULL);
	is_int(second->head->phase, STATE_SERVING, "and the next");
	is_str(second->head->reason, "", "without a reason");
	is_int(second->head->ended_ms, 0, "that is no end");
	state_end(state, STATE_FAILED, "the memfile is gone");
	is_int(second->head->phase, STATE_FAILED, "this is one");
	is_str(second->head->reason, "the memfile is gone", "for a reason");
	ok(second->head->ended_ms >= second->head->handoff_ms, "at some time");
	state_end(state, STATE_GONE, NULL);
	is_str(second->head->reason, "the memfile is gone", "which stays when no other is given");
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	state_end(state, STATE_GONE, text);
	is_int(strlen(second->head->reason), 511, "a long reason is cut");
	state_close(second);
	state_close(state);
}

static void test_give_back(void)
{
	struct state *state = begun(&(struct region){.addr = BASE, .size = 10000 * PAGE,
				    .page_size = PAGE}, 1, 10000 * PAGE), *second;
	uint64_t before = file_cost(state);

	(void)state_remove(state, BASE, BASE + 10000 * PAGE);
	is_int(file_cost(state), before + 3 * PAGE, "10000 pages cost three");
	state_end(state, STATE_GRADUATED, NULL);
	state_give_back(state);
	is_int(file_cost(state), before, "which are given back");
	is_int(state->head->count.removed, 10000, "the counters stay");
	is_int(state_get(state, 9999), STATE_MISSING, "the pages are missing");
	second = adopted(state->fd);
	is_int(second->head->phase, STATE_GRADUATED, "after its end, as it ended");
	is_int(second->head->npages, 10000, "of as many pages");
	state_close(second);
	state_close(state);
}

/* Before the handoff there is nothing to give back. */
static void test_fail_waiting(void)
{
	struct state *state = NULL, *second;

	if (state_new("vm1", "{}", &state, &err) < 0)
		bail("no state: %s", err.text);
	state_end(state, STATE_FAILED, "nobody came");
	state_give_back(state);
	second = adopted(state->fd);
	is_str(second->head->reason, "nobody came", "one that never began is kept with its reason");
	is_err(state_begin(second, &small, 1, small.size, &err), &err, -EINVAL,
	       "session 'vm1' is failed, not waiting");
	state_close(second);
	state_close(state);
}

static void test_phase_names(void)
{
	static const char *const names[] = {
		"waiting", "serving", "completing", "graduated", "failed", "gone", "unknown",
	};

	for (int i = 0; i <= STATE_NPHASES; i++)
		is_str(state_phase_name((enum state_phase)i), names[i], "phase %d", i);
}

/* ---- removing ---- */

static void test_remove_small(void)
{
	struct state *state = begun(&small, 1, small.size);

	state_set(state, 1, STATE_PRESENT | STATE_AHEAD);
	state_set(state, 2, STATE_FILLING | STATE_CANARY);
	is_int(state_remove(state, BASE + PAGE, BASE + 3 * PAGE), 2, "two pages are removed");
	is_int(state_get(state, 1), STATE_REMOVED, "the present one, its flags too");
	is_int(state_get(state, 2), STATE_REMOVED, "and the one being filled");
	is_int(state_get(state, 0) + state_get(state, 3), 0, "their neighbours are not");
	is_int(state_remove(state, BASE + PAGE, BASE + 4 * PAGE), 1, "only one is new");
	is_int(state_remove(state, BASE + 10 * PAGE + 1, BASE + 13 * PAGE - 1), 1,
	       "pages that go only partly stay");
	is_int(state_get(state, 10) + state_get(state, 12), 0, "on both sides");
	is_int(state_get(state, 11), STATE_REMOVED, "the whole one goes");
	is_int(state_remove(state, BASE + 20 * PAGE + 1, BASE + 21 * PAGE), 0, "less than a page");
	is_int(state_remove(state, BASE + 20 * PAGE, BASE + 20 * PAGE), 0, "nothing");
	is_int(state_remove(state, BASE + 21 * PAGE, BASE + 20 * PAGE), 0, "less than nothing");
	is_int(state->head->count.removed, 4, "four are counted");
	is_int(state->head->count.dropped, 1, "one of them had been there");
	is_int(state->head->count.present, 0, "and nothing else");
	state_close(state);
}

static void test_remove_huge(void)
{
	const struct region r = {.addr = BASE, .size = 8 * HUGE_PAGE, .page_size = HUGE_PAGE};
	struct state *state = begun(&r, 1, r.size);

	is_int(state_remove(state, BASE, BASE + PAGE), 0, "a piece of a huge page stays");
	is_int(state_remove(state, BASE + PAGE, BASE + HUGE_PAGE), 0, "a large one, too");
	is_int(state_get(state, 0), STATE_MISSING, "it is as it was");
	is_int(state_remove(state, BASE + HUGE_PAGE - PAGE, BASE + 3 * HUGE_PAGE + PAGE), 2,
	       "the two whole ones of a longer range go");
	is_int(state_get(state, 1), STATE_REMOVED, "the second");
	is_int(state_get(state, 2), STATE_REMOVED, "and the third");
	is_int(state_get(state, 3), STATE_MISSING, "not the fourth");
	is_int(state->head->count.removed, 2, "two are counted");
	state_close(state);
}

/* Small, then nothing, then huge, then small at once behind it. */
static void test_remove_several(void)
{
	const struct region r[] = {
		{.addr = BASE + 4 * HUGE_PAGE, .size = 4 * PAGE, .page_size = PAGE},
		{.addr = BASE + 2 * HUGE_PAGE, .size = 2 * HUGE_PAGE, .off = 4 * PAGE,
		 .first = 4, .page_size = HUGE_PAGE},
		{.addr = BASE, .size = 4 * PAGE, .off = 4 * PAGE + 2 * HUGE_PAGE,
		 .first = 6, .page_size = PAGE},
	};
	struct state *state = begun(r, 3, TIB);

	is_int(state_remove(state, BASE + 4 * PAGE, BASE + 2 * HUGE_PAGE), 0,
	       "what is in no region");
	is_int(state_remove(state, BASE + 3 * PAGE, BASE + 4 * HUGE_PAGE + PAGE), 4,
	       "over three regions and the hole between them");
	is_int(state_get(state, 0), STATE_REMOVED, "the first of the last");
	is_int(state_get(state, 1), STATE_MISSING, "not the one behind it");
	is_int(state_get(state, 4) + state_get(state, 5), 2 * STATE_REMOVED, "the two huge ones");
	is_int(state_get(state, 9), STATE_REMOVED, "the last of the first");
	is_int(state_get(state, 8), STATE_MISSING, "not the one before it");
	is_int(state_remove(state, 0, UINT64_MAX), 6, "all that is left");
	is_int(state->head->count.removed, 10, "ten are counted");
	state_close(state);
}

/* ---- stretches ---- */

static const struct state_want missing = {STATE_PAGE, STATE_MISSING, UINT64_MAX};
static const struct state_want present = {STATE_PAGE, STATE_PRESENT, UINT64_MAX};
static const struct state_want one_present = {STATE_PAGE, STATE_PRESENT, 1};

static void test_next(void)
{
	struct state *state = begun(&small, 1, small.size);
	uint64_t n = 99;

	is_int(state_next(state, 0, 64, missing, &n), 0, "at first all are missing");
	is_int(n, 64, "in one stretch");
	is_int(state_next(state, 0, 64, present, &n), 64, "none is present");
	is_int(n, 0, "not one");
	for (uint64_t page = 10; page < 20; page++)
		state_set(state, page, STATE_PRESENT | (page == 15 ? STATE_AHEAD : 0));
	is_int(state_next(state, 0, 64, present, &n), 10, "ten are present, flags do not matter");
	is_int(n, 10, "in one stretch");
	is_int(state_next(state, 0, 64, (struct state_want){0xff, STATE_PRESENT, 100}, &n), 10,
	       "when they do");
	is_int(n, 5, "it ends before a flag");
	is_int(state_next(state, 0, 64, (struct state_want){STATE_AHEAD, STATE_AHEAD, 100}, &n), 15,
	       "a flag alone");
	is_int(n, 1, "is one page's");
	is_int(state_next(state, 12, 64, present, &n), 12, "from the middle of it");
	is_int(n, 8, "the rest");
	is_int(state_next(state, 12, 17, present, &n), 12, "to the middle of it");
	is_int(n, 5, "not further");
	is_int(state_next(state, 0, 64, (struct state_want){STATE_PAGE, STATE_PRESENT, 4}, &n), 10,
	       "a stretch of at most four");
	is_int(n, 4, "has four");
	is_int(state_next(state, 10, 64, missing, &n), 20, "missing ones behind it");
	is_int(n, 44, "to the end");
	is_int(state_next(state, 20, 20, missing, &n), 20, "nothing in nothing");
	is_int(n, 0, "no page");
	state_close(state);
}

/* Against a plain walk, where stretches begin and end around the file's holes. */
static void test_next_holes(void)
{
	const struct region r = {.addr = BASE, .size = 40000 * PAGE, .page_size = PAGE};
	static const uint64_t set[] = {0, 4095, 4096, 4097, 8191, 12287, 20480, 32768, 39999};
	struct state *state = begun(&r, 1, r.size);
	uint64_t page = 0, n, seen = 0, wrong = 0;

	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++)
		state_set(state, set[i], STATE_PRESENT);
	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++, page++) {
		page = state_next(state, page, 40000, one_present, &n);
		wrong += page != set[i] || n != 1;
	}
	is_int(wrong, 0, "each present page is found");
	for (page = 0; (page = state_next(state, page, 40000, missing, &n)) < 40000; page += n) {
		for (uint64_t i = page; i < page + n; i++)
			wrong += state_get(state, i) != STATE_MISSING;
		wrong += page + n < 40000 && state_get(state, page + n) == STATE_MISSING;
		seen += n;
	}
	is_int(seen, 40000 - 9, "and each missing one");
	is_int(wrong, 0, "in stretches that are as long as can be");
	state_close(state);
}

static void test_sparse(void)
{
	const struct region r = {.addr = BASE, .size = TIB, .page_size = PAGE};
	struct state *state = begun(&r, 1, TIB);
	const uint64_t npages = TIB / PAGE;
	uint64_t before = file_cost(state), n;

	ok(before <= 4 * PAGE, "the state of 1 TiB costs %llu bytes", (unsigned long long)before);
	is_int(state->head->npages, npages, "of 2^28 pages");
	state_set(state, npages - 1, STATE_PRESENT);
	state_set(state, npages / 2 + 77, STATE_PRESENT);
	is_int(file_cost(state), before + 2 * PAGE, "a page that was touched costs a page");
	is_int(state_next(state, 0, npages, present, &n), npages / 2 + 77, "it is found");
	is_int(state_next(state, npages / 2 + 78, npages, present, &n), npages - 1,
	       "the other, too");
	is_int(state_next(state, 0, npages, missing, &n), 0, "what is missing");
	is_int(n, npages / 2 + 77, "is one long stretch");
	is_int(file_cost(state), before + 2 * PAGE, "and looking for it costs nothing");
	state_close(state);
}

int main(void)
{
	test_new();
	test_new_too_long();
	test_new_fails();
	test_begin();
	test_begin_fails();
	test_end();
	test_give_back();
	test_fail_waiting();
	test_phase_names();
	test_remove_small();
	test_remove_huge();
	test_remove_several();
	test_next();
	test_next_holes();
	test_sparse();
	return tap_done();
}
