/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* state-fixture: states of a session, for the tests of them. */
#ifndef LAMINA_TESTS_UNIT_STATE_FIXTURE_H
#define LAMINA_TESTS_UNIT_STATE_FIXTURE_H

#include <sys/stat.h>

#include "src/pager/state.h"
#include "tests/tap.h"

#define PAGE UINT64_C(4096)
#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)
#define HUGE_PAGE (2 * MIB)
#define BASE UINT64_C(0x7f0000000000)

static struct err err __attribute__((unused));

static const struct region small __attribute__((unused)) = {
	.addr = BASE, .size = 64 * PAGE, .page_size = PAGE,
};

TAP_FN struct state *begun(const struct region *r, unsigned n, uint64_t memfile_size)
{
	struct state *state = NULL;

	if (state_new("vm1", "{}", &state, &err) < 0 ||
	    state_begin(state, r, n, memfile_size, &err) < 0)
		bail("no state: %s", err.text);
	return state;
}

TAP_FN uint64_t file_cost(const struct state *state)
{
	struct stat st;

	if (fstat(state->fd, &st) < 0)
		bail("fstat");
	return (uint64_t)st.st_blocks * 512;
}

TAP_FN struct state *adopted(int fd)
{
	struct state *state = NULL;
	int own = dup(fd);

	if (own < 0)
		bail("dup");
	is_int(state_adopt(own, &state, &err), 0, "a state is adopted");
	if (!state)
		bail("%s", err.text);
	return state;
}

#endif
