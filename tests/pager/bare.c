/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bare: the least that a page fault through userfaultfd can cost.
 *
 *	bare [--huge] [--source FILE [--resident]] [-n N] [--of N] [--fifo]
 *	bare --bulk BYTES [--source FILE] [--threads N]
 *	bare --serve SOCKET --source FILE [--clients N] [--forgetful]
 *
 * The first measures in this process: one thread touches N pages at random (--of so many),
 * another polls, reads and UFFDIO_COPYs: one page again and again, or FILE's by
 * pread, or FILE's that were read before (--resident).  It prints JSON.
 * --fifo: the thread that touches is
 * real-time, as a client under chrt(1); who answers it is not.  The second
 * COPYs so many bytes, 2 MiB at a time, the same ones or FILE's, which were read
 * before; in each of N threads into memory of its own.  The third serves guests (serve.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/pager/hand.h"
#include "tests/pager/mem.h"
#include "tests/pager/serve.h"
#include "tests/pager/tool.h"

struct bare {
	uint8_t *memory;
	uint64_t n; /* pages that are touched */
	uint64_t of; /* pages that there are */
	uint64_t page_size;
	int uffd;
	int source; /* -1: none */
	uint64_t source_pages;
	uint8_t *buf;
	uint64_t buf_pages; /* 1, or all of the source: resident */
	bool fifo;
};

static void answer_one(const struct bare *b)
{
	struct pollfd pfd = {.fd = b->uffd, .events = POLLIN};
	struct uffd_msg msg;
	struct uffdio_copy c = {.src = (uintptr_t)b->buf, .len = b->page_size};
	uint64_t page;

	do {
		if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
			tool_fail("poll");
	} while (read(b->uffd, &msg, sizeof(msg)) != sizeof(msg));
	page = (msg.arg.pagefault.address - (uintptr_t)b->memory) / b->page_size;
	if (b->source >= 0 &&
	    pread(b->source, b->buf, b->page_size,
		  (off_t)(page % b->source_pages * b->page_size)) != (ssize_t)b->page_size)
		tool_fail("pread");
	c.src += page % b->buf_pages * b->page_size;
	c.dst = (uintptr_t)b->memory + page * b->page_size;
	if (ioctl(b->uffd, UFFDIO_COPY, &c) < 0)
		tool_fail("UFFDIO_COPY");
}

static void *answer_thread(void *arg)
{
	const struct bare *b = arg;

	for (uint64_t i = 0; i < b->n; i++)
		answer_one(b);
	return NULL;
}

static void touch_all(const struct bare *b, uint64_t *ns)
{
	uint64_t *order = tool_alloc(b->of, sizeof(*order)), rng = 1;

	for (uint64_t i = 0; i < b->of; i++)
		order[i] = i;
	tool_shuffle(order, b->of, &rng);
	for (uint64_t i = 0; i < b->n; i++) {
		volatile uint8_t *byte = b->memory + order[i] * b->page_size;
		uint64_t start = tool_now_ns();

		(void)*byte;
		ns[i] = tool_now_ns() - start;
	}
	free(order);
}

static void open_source(struct bare *b, const char *path)
{
	struct stat st;

	b->source = open(path, O_RDONLY | O_CLOEXEC);
	if (b->source < 0 || fstat(b->source, &st) < 0)
		tool_fail("%s", path);
	b->source_pages = (uint64_t)st.st_size / b->page_size;
	if (!b->source_pages)
		tool_die(TOOL_FAILED, "%s: smaller than a page", path);
}

static void set_up(struct bare *b, const char *source, bool resident)
{
	struct hand_region at = {.size = b->of * b->page_size, .page_size = b->page_size};

	if (source)
		open_source(b, source);
	b->memory = mmap(NULL, at.size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | (b->page_size == MEM_HUGE ? MAP_HUGETLB : 0),
			 -1, 0);
	if (b->memory == MAP_FAILED && b->page_size == MEM_HUGE && errno == ENOMEM)
		tool_die(TOOL_SKIP, "skip: fewer than %llu free huge pages",
			 (unsigned long long)b->n);
	if (b->memory == MAP_FAILED)
		tool_fail("%llu bytes of memory", (unsigned long long)at.size);
	at.addr = (uintptr_t)b->memory;
	b->uffd = hand_uffd(0);
	hand_register(b->uffd, &at);
	b->buf_pages = resident ? b->source_pages : 1;
	b->buf = aligned_alloc(b->page_size, b->buf_pages * b->page_size); /* others are slow */
	if (!b->buf)
		tool_fail("memory");
	memset(b->buf, 0x5a, b->buf_pages * b->page_size);
	if (!resident)
		return;
	if (pread(b->source, b->buf, b->buf_pages * b->page_size, 0) !=
	    (ssize_t)(b->buf_pages * b->page_size))
		tool_fail("%s", source);
	close(b->source);
	b->source = -1;
}

static void measure(struct bare *b, const char *source, bool resident)
{
	uint64_t *ns = tool_alloc(b->n, sizeof(*ns));
	pthread_t thread;
	char head[128];

	set_up(b, source, resident);
	if (pthread_create(&thread, NULL, answer_thread, b))
		tool_die(TOOL_FAILED, "no thread");
	if (b->fifo)
		tool_fifo();
	touch_all(b, ns);
	pthread_join(thread, NULL);
	(void)snprintf(head, sizeof(head), "\"bare\":\"%s\",\"page_size\":%llu,",
		       !source ? "copy" : resident ? "resident" : "pread",
		       (unsigned long long)b->page_size);
	tool_latency(head, ns, b->n);
	munmap(b->memory, b->of * b->page_size);
	close(b->uffd);
	if (b->source >= 0)
		close(b->source);
	free(b->buf);
	free(ns);
}

/* ---- in bulk ---- */

#define BULK_THREADS 64

struct bulk {
	struct bare b;
	pthread_t thread;
	const uint8_t *from;
	uint64_t from_len;
};

static void *bulk_thread(void *arg)
{
	struct bulk *k = arg;

	for (uint64_t done = 0; done < k->b.n * MEM_PAGE; done += MEM_HUGE) {
		struct uffdio_copy c = {.dst = (uintptr_t)k->b.memory + done,
					.src = (uintptr_t)k->from + done % k->from_len,
					.len = MEM_HUGE};

		if (ioctl(k->b.uffd, UFFDIO_COPY, &c) < 0)
			tool_fail("UFFDIO_COPY");
	}
	return NULL;
}

/* In memory: `len` bytes of the file, or any. */
static uint8_t *bulk_source(const char *path, uint64_t len)
{
	uint8_t *p = aligned_alloc(MEM_PAGE, len);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (!p || (path && fd < 0))
		tool_fail("%s", path ? path : "memory");
	memset(p, 0x5a, len);
	for (uint64_t off = 0; path && off < len; off += MEM_HUGE)
		if (pread(fd, p + off, MEM_HUGE, (off_t)off) != MEM_HUGE)
			tool_fail("%s", path);
	if (path)
		close(fd);
	return p;
}

static void bulk(uint64_t bytes, const char *path, unsigned threads)
{
	static struct bulk k[BULK_THREADS];
	uint64_t done = (bytes + MEM_HUGE - 1) / MEM_HUGE * MEM_HUGE, pages = done / MEM_PAGE;
	uint64_t len = path ? done : MEM_HUGE, start;
	uint8_t *from = bulk_source(path, len);

	for (unsigned i = 0; i < threads; i++) {
		k[i].b = (struct bare){.page_size = MEM_PAGE, .source = -1, .n = pages,
				       .of = pages};
		k[i].from = from;
		k[i].from_len = len;
		set_up(&k[i].b, NULL, false);
	}
	start = tool_now_ns();
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&k[i].thread, NULL, bulk_thread, &k[i]))
			tool_die(TOOL_FAILED, "no thread");
	for (unsigned i = 0; i < threads; i++)
		pthread_join(k[i].thread, NULL);
	printf("{\"bare\":\"bulk\",\"bytes\":%llu,\"seconds\":%.9f}\n", (unsigned long long)done,
	       (double)(tool_now_ns() - start) / 1e9 * (double)bytes / (double)done);
	free(from);
}

enum { HUGE, SOURCE, FIFO, SERVE, CLIENTS, FORGETFUL, BULK, RESIDENT, THREADS, OF };

static const struct option options[] = {
	{"huge", no_argument, NULL, HUGE},
	{"source", required_argument, NULL, SOURCE},
	{"fifo", no_argument, NULL, FIFO},
	{"serve", required_argument, NULL, SERVE},
	{"clients", required_argument, NULL, CLIENTS},
	{"forgetful", no_argument, NULL, FORGETFUL},
	{"bulk", required_argument, NULL, BULK},
	{"of", required_argument, NULL, OF},
	{"resident", no_argument, NULL, RESIDENT},
	{"threads", required_argument, NULL, THREADS},
	{NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
	struct bare b = {.page_size = MEM_PAGE, .source = -1};
	const char *source = NULL, *path = NULL;
	unsigned clients = 0, threads = 1;
	bool forgetful = false, resident = false;
	uint64_t copy = 0;
	int opt;

	tool_name = "bare";
	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((opt = getopt_long(argc, argv, "n:", options, NULL)) != -1) {
		if (opt == HUGE)
			b.page_size = MEM_HUGE;
		else if (opt == SOURCE)
			source = optarg;
		else if (opt == FIFO)
			b.fifo = true;
		else if (opt == SERVE)
			path = optarg;
		else if (opt == CLIENTS)
			clients = (unsigned)tool_number(optarg);
		else if (opt == FORGETFUL)
			forgetful = true;
		else if (opt == RESIDENT)
			resident = true;
		else if (opt == THREADS)
			threads = (unsigned)tool_number(optarg);
		else if (opt == BULK)
			copy = tool_number(optarg);
		else if (opt == OF)
			b.of = tool_number(optarg);
		else if (opt == 'n')
			b.n = tool_number(optarg);
		else
			return TOOL_FAILED;
	}
	if (path && !source)
		tool_die(TOOL_FAILED, "--serve needs --source");
	if (threads < 1 || threads > BULK_THREADS)
		tool_die(TOOL_FAILED, "1 to %d threads", BULK_THREADS);
	if (!b.n)
		b.n = b.page_size == MEM_HUGE ? 64 : 20000;
	if (b.of < b.n)
		b.of = b.n;
	if (copy)
		bulk(copy, source, threads);
	else if (path)
		serve(path, source, clients, forgetful);
	else
		measure(&b, source, resident);
	return 0;
}
