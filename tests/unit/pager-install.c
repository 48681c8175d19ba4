/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/install.h"

#include <stdarg.h>

#include "tests/unit/session-fixture.h"

#define NPAGES 64

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

static const struct rig *looked_at;	/* or NULL */
static unsigned seen;			/* the state of the page that was copied to last */

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (looked_at && request == UFFDIO_COPY) {
		uint64_t addr = ((const struct uffdio_copy *)arg)->dst;

		seen = rig_state(looked_at, (addr - (uintptr_t)looked_at->mem) / PAGE);
	}
	return __real_ioctl(fd, request, arg);
}

static int install(struct rig *rig, uint64_t page, uint64_t n, enum install_why why)
{
	int rc = source_read(rig->s.source, rig->hand.buf, n * PAGE, page * PAGE);

	if (rc < 0)
		bail("the memfile cannot be read");
	return install_pages(&rig->s, &(struct install){page, n, rig->hand.buf, why});
}

static void test_demand(struct rig *rig)
{
	struct state_counters *c = &rig->s.state->head->count;

	is_int(install(rig, 5, 1, INSTALL_DEMAND), 0, "a page that was asked for");
	is_int(rig_state(rig, 5), STATE_PRESENT, "is present");
	ok(rig_is_file(rig, 5), "with its bytes");
	is_int(c->demand, 1, "counted");
	is_int(c->copied_bytes, PAGE, "with its bytes");
	is_int(install(rig, 9, 1, INSTALL_DEMAND), 0, "one of zeros");
	is_int(rig_state(rig, 9), STATE_PRESENT, "is present");
	ok(rig_is_zero(rig, 9), "and zero");
	is_int(c->zeroed, 1, "counted as such");
	is_int(c->copied_bytes, PAGE, "and not copied");
}

static void test_ahead(struct rig *rig, bool shared)
{
	struct state_counters *c = &rig->s.state->head->count;

	is_int(install(rig, 12, 8, INSTALL_AHEAD), 0, "pages ahead, two of them zeros");
	for (uint64_t page = 12; page < 20; page++) {
		bool zero = page % 5 == 4;

		if (shared && zero)
			is_int(rig_state(rig, page), STATE_MISSING | STATE_HOLE,
			       "zeros that would cost memory are noted");
		else
			is_int(rig_state(rig, page), STATE_PRESENT | STATE_AHEAD,
			       "page %d is present ahead", (int)page);
		if (!shared || !zero)
			ok(rig_is_file(rig, page), "with its bytes");
	}
	is_int(c->ahead, shared ? 6 : 8, "counted");
	is_int(install_pages(&rig->s, &(struct install){14, 1, NULL, INSTALL_DEMAND}),
	       0, "zeros that somebody asks for");
	is_int(rig_state(rig, 14), STATE_PRESENT, "are put there, or are there");
	ok(rig_is_zero(rig, 14), "and are zero");
}

/* What a kill -9 in the middle would leave. */
static void test_filling(struct rig *rig)
{
	looked_at = rig;
	is_int(install(rig, 35, 1, INSTALL_DEMAND), 0, "a page");
	is_int(seen, STATE_FILLING, "was being filled because somebody asked");
	is_int(install(rig, 36, 1, INSTALL_REPLAY), 0, "another one");
	is_int(seen, STATE_FILLING | STATE_AHEAD, "though nobody did");
	looked_at = NULL;
}

static void test_exists(struct rig *rig)
{
	struct uffd_range r = {(uintptr_t)rig->mem + 30 * PAGE, PAGE};
	uint64_t done;

	memset(rig->hand.buf, 0x77, PAGE);
	is_int(uffd_copy(rig->s.fd[SESSION_UFFD], r, rig->hand.buf, &done), 0,
	       "a page that a former worker put there and did not note");
	state_set(rig->s.state, 30, STATE_FILLING);
	is_int(install(rig, 28, 5, INSTALL_REPLAY), 0, "is no obstacle");
	for (uint64_t page = 28; page < 33; page++)
		is_int(rig_state(rig, page) & STATE_PAGE, STATE_PRESENT, "all are present");
	is_int(rig->mem[30 * PAGE + 3], 0x77, "what was there has stayed");
	ok(rig_is_file(rig, 31), "what was behind it is the memfile's");
}

static void test_again(struct rig *rig)
{
	struct rig_thread remover;
	struct uffd_msg msg;

	is_int(install_again(&rig->s, 5), 0, "a fault on a page that is there");
	ok(rig_is_file(rig, 5), "changes nothing");
	rig_begin(&remover, rig_removes, rig, 5);
	rig_removal_waits(rig);
	is_int(install(rig, 40, 3, INSTALL_AHEAD), -EAGAIN,
	       "while a removal waits nothing is installed");
	is_int(rig_state(rig, 40), STATE_MISSING, "and noted as missing");
	is_int(install_again(&rig->s, 41), -EAGAIN, "nor zeros");
	is_int(uffd_read(rig->s.fd[SESSION_UFFD], &msg, 1), 1, "it is read");
	is_int(msg.event, UFFD_EVENT_REMOVE, "it is one");
	rig_end(&remover);
	state_remove(rig->s.state, msg.arg.remove.start, msg.arg.remove.end);
	is_int(rig_state(rig, 5), STATE_REMOVED, "the page is removed");
	is_int(install_again(&rig->s, 5), 0, "a fault there");
	ok(rig_is_zero(rig, 5), "is answered with zeros");
	is_int(rig_state(rig, 5), STATE_REMOVED | STATE_BACK, "and it stays removed, and is back");
	is_int(install(rig, 40, 3, INSTALL_AHEAD), 0, "others are installed again");
}

/* The end of a run is no longer registered. */
static void test_unregistered(struct rig *rig)
{
	struct uffd_range r = {(uintptr_t)rig->mem + 52 * PAGE, 12 * PAGE};

	is_int(uffd_unregister(rig->s.fd[SESSION_UFFD], r), 0, "pages are unregistered");
	is_int(install(rig, 50, 3, INSTALL_AHEAD), -ENOENT, "that is said");
	for (uint64_t page = 50; page < 53; page++)
		is_int(rig_state(rig, page), STATE_MISSING, "the kernel refuses all of it");
	is_int(install(rig, 50, 2, INSTALL_AHEAD), 0, "what is registered still");
	is_int(rig_state(rig, 51), STATE_PRESENT | STATE_AHEAD, "is installed");
}

static void test_all(bool shared)
{
	struct rig rig;

	tap_diag(shared ? "a memfd" : "anonymous memory");
	rig_open(&rig, NPAGES, shared);
	is_int(session_is_anonymous(&rig.s, session_region(&rig.s, 0)), !shared,
	       "it is known what it is");
	test_demand(&rig);
	test_ahead(&rig, shared);
	test_filling(&rig);
	test_exists(&rig);
	if (!shared)
		test_again(&rig);
	test_unregistered(&rig);
	rig_close(&rig);
}

int main(void)
{
	test_all(false);
	test_all(true);
	return tap_done();
}
