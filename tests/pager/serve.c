/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A page is missing, present (installed from the memfile once) or removed (zero
 * from then on).  All messages that are there are read before anything is
 * acted upon: a remove that is pending makes COPY fail with EAGAIN, and a fault
 * is handed out before an older remove.
 */
#include "tests/pager/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/pager/hand.h"
#include "tests/pager/mem.h"
#include "tests/pager/tool.h"

#define PENDING_MAX 1024

enum page { MISSING, PRESENT, REMOVED };

struct guest {
	int sock;
	int uffd;
	int file;
	unsigned n;
	struct hand_region region[HAND_REGIONS];
	uint8_t *page[HAND_REGIONS];
	uint8_t *buf;		       /* MEM_HUGE bytes */
	uint8_t *zeros;		       /* as many */
	uint64_t pending[PENDING_MAX]; /* addresses of faults to answer */
	unsigned npending;
	bool forgetful;
	bool gone;
};

/* ---- messages ---- */

static int region_of(const struct guest *g, uint64_t addr)
{
	for (unsigned i = 0; i < g->n; i++) {
		if (addr >= g->region[i].addr && addr - g->region[i].addr < g->region[i].size)
			return (int)i;
	}
	return -1;
}

static void mark_removed(struct guest *g, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < g->n; i++) {
		const struct hand_region *r = &g->region[i];
		uint64_t from = start > r->addr ? start - r->addr : 0;
		uint64_t to = end > r->addr ? end - r->addr : 0;

		to = to < r->size ? to : r->size;
		from = (from + r->page_size - 1) / r->page_size;
		for (uint64_t p = from; p < to / r->page_size; p++)
			g->page[i][p] = g->forgetful ? MISSING : REMOVED;
	}
}

static void on_message(struct guest *g, const struct uffd_msg *msg)
{
	if (msg->event == UFFD_EVENT_REMOVE)
		mark_removed(g, msg->arg.remove.start, msg->arg.remove.end);
	else if (msg->event == UFFD_EVENT_PAGEFAULT && g->npending < PENDING_MAX)
		g->pending[g->npending++] = msg->arg.pagefault.address;
	else
		tool_die(TOOL_FAILED, "message %u, %u are pending", msg->event, g->npending);
}

static void read_messages(struct guest *g)
{
	struct uffd_msg msg;

	while (g->npending < PENDING_MAX && read(g->uffd, &msg, sizeof(msg)) == sizeof(msg))
		on_message(g, &msg);
}

/* ---- answers ---- */

static int copy(struct guest *g, uint64_t addr, const void *src, uint64_t len)
{
	struct uffdio_copy c = {.dst = addr, .src = (uintptr_t)src, .len = len};

	return ioctl(g->uffd, UFFDIO_COPY, &c) < 0 ? -errno : 0;
}

static int zero(struct guest *g, uint64_t addr, uint64_t len)
{
	struct uffdio_zeropage z = {.range = {.start = addr, .len = len}};

	if (len == MEM_HUGE)
		return copy(g, addr, g->zeros, len);
	return ioctl(g->uffd, UFFDIO_ZEROPAGE, &z) < 0 ? -errno : 0;
}

static void wake(struct guest *g, uint64_t addr, uint64_t len)
{
	struct uffdio_range r = {.start = addr, .len = len};

	(void)ioctl(g->uffd, UFFDIO_WAKE, &r);
}

static int from_file(struct guest *g, const struct hand_region *r, uint64_t in)
{
	ssize_t got = pread(g->file, g->buf, r->page_size, (off_t)(r->off + in));

	if (got < 0)
		tool_fail("the memfile");
	memset(g->buf + got, 0, r->page_size - (size_t)got);
	return copy(g, r->addr + in, g->buf, r->page_size);
}

/* False: later again. */
static bool answer(struct guest *g, uint64_t addr)
{
	int i = region_of(g, addr), rc;
	const struct hand_region *r = &g->region[i < 0 ? 0 : i];
	uint64_t in = (addr - r->addr) / r->page_size * r->page_size;
	uint8_t *page;

	if (i < 0)
		tool_die(TOOL_FAILED, "a fault at 0x%llx", (unsigned long long)addr);
	page = &g->page[i][in / r->page_size];
	rc = *page == MISSING ? from_file(g, r, in) : zero(g, r->addr + in, r->page_size);
	if (rc == -EAGAIN || rc == -ENOMEM || (rc == -EEXIST && *page == MISSING))
		return false;
	if (rc == -EEXIST)
		wake(g, r->addr + in, r->page_size);
	else if (rc == -ESRCH)
		g->gone = true;
	else if (!rc && *page == MISSING)
		*page = PRESENT;
	return true;
}

static void answer_all(struct guest *g)
{
	unsigned left = 0;

	for (unsigned i = 0; i < g->npending; i++) {
		if (!answer(g, g->pending[i]))
			g->pending[left++] = g->pending[i];
	}
	g->npending = left;
}

static void loop(struct guest *g)
{
	struct pollfd pfd[2] = {{.fd = g->uffd, .events = POLLIN},
				{.fd = g->sock, .events = POLLIN}};

	while (!g->gone) {
		if (poll(pfd, 2, g->npending ? 1 : -1) < 0 && errno != EINTR)
			tool_fail("poll");
		if (pfd[1].revents)
			return;
		read_messages(g);
		answer_all(g);
	}
}

/* ---- one guest, all guests ---- */

static int begin(struct guest *g)
{
	int n = hand_receive(g->sock, g->region, &g->uffd);

	if (n < 0)
		return n;
	g->n = (unsigned)n;
	for (unsigned i = 0; i < g->n; i++)
		g->page[i] = tool_alloc(g->region[i].size / g->region[i].page_size, 1);
	g->buf = tool_alloc(1, MEM_HUGE);
	g->zeros = tool_alloc(1, MEM_HUGE);
	return 0;
}

static void *guest_thread(void *arg)
{
	struct guest *g = arg;
	int rc = begin(g);

	if (rc < 0)
		fprintf(stderr, "%s: no handoff: %s\n", tool_name, strerror(-rc));
	else
		loop(g);
	for (unsigned i = 0; i < g->n; i++)
		free(g->page[i]);
	free(g->buf);
	free(g->zeros);
	if (g->uffd >= 0)
		close(g->uffd);
	close(g->sock);
	free(g);
	return NULL;
}

static pthread_t begin_guest(int sock, int file, bool forgetful)
{
	struct guest *g = tool_alloc(1, sizeof(*g));
	pthread_t thread;

	g->sock = sock;
	g->file = file;
	g->uffd = -1;
	g->forgetful = forgetful;
	if (pthread_create(&thread, NULL, guest_thread, g))
		tool_die(TOOL_FAILED, "no thread");
	return thread;
}

void serve(const char *path, const char *memfile, unsigned clients, bool forgetful)
{
	int listener = hand_listen(path);
	int file = open(memfile, O_RDONLY | O_CLOEXEC);
	pthread_t *thread = tool_alloc(clients, sizeof(*thread));

	if (file < 0)
		tool_fail("%s", memfile);
	for (unsigned i = 0; !clients || i < clients; i++) {
		int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (sock < 0)
			tool_fail("accept");
		if (clients)
			thread[i] = begin_guest(sock, file, forgetful);
		else
			pthread_detach(begin_guest(sock, file, forgetful));
	}
	for (unsigned i = 0; i < clients; i++)
		pthread_join(thread[i], NULL);
	free(thread);
	close(file);
	close(listener);
	unlink(path);
}
