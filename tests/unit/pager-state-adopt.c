/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a worker finds of its predecessor, and what it refuses to go on with. */
#include "src/pager/state.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/fault.h"
#include "tests/unit/state-fixture.h"

static uint64_t file_len(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : (uint64_t)st.st_size;
}

static void test_adopt(void)
{
	struct state *old = begun(&small, 1, small.size), *state;

	state_set(old, 0, STATE_PRESENT);
	state_set(old, 63, STATE_REMOVED);
	state_add(&old->head->count.faults, 7);
	hist_add(&old->head->latency, 1000);
	old->head->slots[2].event = UFFD_EVENT_PAGEFAULT;
	old->head->slots[2].arg.pagefault.address = BASE;
	state = adopted(old->fd);
	state_close(old);
	is_str(state->head->id, "vm1", "with its id");
	is_int(state_get(state, 0), STATE_PRESENT, "its first page");
	is_int(state_get(state, 63), STATE_REMOVED, "and its last");
	is_int(state->head->count.faults, 7, "its counters");
	is_int(state->head->latency.count, 1, "its latencies");
	is_int(state->head->slots[2].arg.pagefault.address, BASE, "and its unread messages");
	state_close(state);
}

static void test_adopt_waiting(void)
{
	struct state *old = NULL, *state;

	if (state_new("vm2", "{}", &old, &err) < 0)
		bail("no state: %s", err.text);
	state = adopted(old->fd);
	ok(!state->page && state->head->nregions == 0, "without pages, as it waits");
	state_close(state);
	state_close(old);
}

/* A worker that was killed within state_begin(): all is there but the phase. */
static void test_adopt_half_begun(void)
{
	struct state *old = begun(&small, 1, small.size), *state;

	old->head->phase = STATE_WAITING;
	state = adopted(old->fd);
	ok(!state->page, "it has not begun");
	is_int(state->head->npages + state->head->nregions, 0, "and has no pages");
	is_int(state_begin(state, &(struct region){.size = PAGE, .page_size = PAGE}, 1, PAGE, &err),
	       0, "it can begin again, with less");
	is_int(state->head->npages, 1, "with one page");
	state_close(state);
	state_close(old);
}

/* All that was stored before a kill -9 is there after it. */
static void test_killed(void)
{
	struct state *state = begun(&small, 1, small.size), *next;
	pid_t pid = fork();

	if (pid == 0) {
		state_set(state, 5, STATE_FILLING);
		state->head->slots[0].event = UFFD_EVENT_REMOVE;
		state_end(state, STATE_FAILED, "killed");
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, NULL, 0);
	next = adopted(state->fd);
	is_int(state_get(next, 5), STATE_FILLING, "the page that was being filled");
	is_int(next->head->slots[0].event, UFFD_EVENT_REMOVE, "the message");
	is_str(next->head->reason, "killed", "and the reason");
	state_close(next);
	state_close(state);
}

/* ---- heads that are refused ---- */

typedef void spoil_fn(struct state_head *head);

static void foreign(struct state_head *h) { h->magic[7] = 'T'; }
static void newer(struct state_head *h) { h->layout = STATE_LAYOUT + 1; }
static void larger(struct state_head *h) { h->head_size++; }
static void endless_id(struct state_head *h) { memset(h->id, 'x', sizeof(h->id)); }
static void endless_reason(struct state_head *h) { memset(h->reason, 'x', sizeof(h->reason)); }
static void endless_memfile(struct state_head *h) { memset(h->memfile, '/', sizeof(h->memfile)); }
static void endless_config(struct state_head *h) { memset(h->config, ' ', sizeof(h->config)); }
static void longer_config(struct state_head *h) { h->config_len = 3; }
static void odd_phase(struct state_head *h) { h->phase = STATE_NPHASES; }
static void many_regions(struct state_head *h) { h->nregions = REGIONS_MAX + 1; }
static void more_pages(struct state_head *h) { h->npages++; }
static void smaller_memfile(struct state_head *h) { h->memfile_size = PAGE; }
static void other_first(struct state_head *h) { h->regions[0].first = 1; }

static void larger_region(struct state_head *h)
{
	h->regions[0].size = h->memfile_size = TIB;
	h->npages = TIB / PAGE;
}

static void serving_nothing(struct state_head *h)
{
	h->phase = STATE_SERVING;
	h->nregions = 0;
}

static const struct refusal {
	spoil_fn *spoil;
	int code;
	const char *sentence;
} refusals[] = {
	{foreign, -EMEDIUMTYPE, "this is no session's state"},
	{newer, -EPROTONOSUPPORT, "the session's state has layout 3, this program knows 2"},
	{endless_id, -EBADMSG, "the session's state has an id without an end"},
	{endless_reason, -EBADMSG, "session 'vm1': its reason has no end"},
	{endless_memfile, -EBADMSG, "session 'vm1': its memfile's path has no end"},
	{endless_config, -EBADMSG, "session 'vm1': its configuration is not 2 bytes long"},
	{longer_config, -EBADMSG, "session 'vm1': its configuration is not 3 bytes long"},
	{odd_phase, -EBADMSG, "session 'vm1': there is no phase 6"},
	{serving_nothing, -EBADMSG, "session 'vm1' is serving without regions"},
	{many_regions, -EBADMSG, "session 'vm1': there are 65 regions, at most 64 are served"},
	{more_pages, -EBADMSG, "session 'vm1' has 65 pages, its regions 64"},
	{smaller_memfile, -EBADMSG, "session 'vm1': region 0: 'offset' 0 and 'size' 262144 go"
	 " beyond the memfile's 4096 bytes"},
	{other_first, -EBADMSG, "session 'vm1': region 0: its pages are numbered from 1,"
	 " not from 0"},
	{larger_region, -EBADMSG, "session 'vm1': its state is cut short: 131136 bytes for"
	 " 268435456 pages"},
};

static void test_refusals(void)
{
	struct state *good = begun(&small, 1, small.size), *state = NULL;
	struct state_head *was = malloc(sizeof(*was));

	if (!was)
		bail("no memory");
	memcpy(was, good->head, sizeof(*was));
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		refusals[i].spoil(good->head);
		is_err(state_adopt(good->fd, &state, &err), &err, refusals[i].code, "%s",
		       refusals[i].sentence);
		memcpy(good->head, was, sizeof(*was));
	}
	larger(good->head);
	is_err(state_adopt(good->fd, &state, &err), &err, -EPROTONOSUPPORT,
	       "the session's state has a head of %zu bytes, this program's has %zu",
	       sizeof(*was) + 1, sizeof(*was));
	ok(!state && fcntl(good->fd, F_GETFD) >= 0, "nothing is given, and nothing taken");
	free(was);
	state_close(good);
}

static void test_files(void)
{
	int fd = memfd_create("state", MFD_CLOEXEC), pipes[2], closed = dup(fd);
	struct state *state = NULL;

	if (fd < 0 || pipe(pipes) < 0)
		bail("no descriptors");
	close(closed);
	is_err(state_adopt(fd, &state, &err), &err, -EBADMSG,
	       "a session's state is cut short: 0 bytes, its head alone has 131072");
	(void)!ftruncate(fd, (off_t)STATE_HEAD_LEN - 1);
	is_err(state_adopt(fd, &state, &err), &err, -EBADMSG,
	       "a session's state is cut short: 131071 bytes, its head alone has 131072");
	(void)!ftruncate(fd, (off_t)STATE_HEAD_LEN);
	is_err(state_adopt(fd, &state, &err), &err, -EMEDIUMTYPE, "this is no session's state");
	is_err(state_adopt(pipes[0], &state, &err), &err, -EMEDIUMTYPE,
	       "this is no session's state");
	is_err(state_adopt(closed, &state, &err), &err, -EBADF,
	       "cannot look at a session's state: %s", strerror(EBADF));
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_err(state_adopt(fd, &state, &err), &err, -ENOMEM, "no memory for a session's state");
	fault_disarm();
	ok(!state && file_len(fd) == STATE_HEAD_LEN, "and they are left alone");
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
}

/* A page of the state's file that went missing. */
static void test_truncated_pages(void)
{
	struct state *good = begun(&small, 1, small.size), *state = NULL;
	int fd = memfd_create("state", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)STATE_HEAD_LEN + 63) < 0 ||
	    pwrite(fd, good->head, sizeof(*good->head), 0) != sizeof(*good->head))
		bail("no copy");
	is_err(state_adopt(fd, &state, &err), &err, -EBADMSG,
	       "session 'vm1': its state is cut short: 131135 bytes for 64 pages");
	(void)!ftruncate(fd, (off_t)STATE_HEAD_LEN + 64);
	is_int(state_adopt(fd, &state, &err), 0, "with its last byte it is whole");
	state_close(state);
	state_close(good);
}

int main(void)
{
	test_adopt();
	test_adopt_waiting();
	test_adopt_half_begun();
	test_killed();
	test_refusals();
	test_files();
	test_truncated_pages();
	return tap_done();
}
