/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/pager/odd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/pager/tool.h"

static void *write_to(void *addr)
{
	*(volatile uint8_t *)addr = 1;
	return NULL;
}

/* On a thread that waits there, as a vCPU would. */
static void touch_aside(void *addr)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, write_to, addr) != 0)
		tool_die(TOOL_FAILED, "no thread");
	pthread_detach(thread);
	printf("ok odd 0x%lx\n", (unsigned long)(uintptr_t)addr);
}

static void register_page(int uffd, void *addr, uint64_t mode)
{
	struct uffdio_register reg = {.range = {(uintptr_t)addr, MEM_PAGE}, .mode = mode};

	if (ioctl(uffd, UFFDIO_REGISTER, &reg) < 0)
		tool_fail("UFFDIO_REGISTER, mode %llu", (unsigned long long)mode);
}

static void odd_block(int uffd)
{
	if (fcntl(uffd, F_SETFL, 0) < 0)
		tool_fail("F_SETFL");
	printf("ok odd\n");
}

static void odd_register(int uffd)
{
	void *addr = mmap(NULL, MEM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			  0);

	if (addr == MAP_FAILED)
		tool_fail("mmap");
	register_page(uffd, addr, UFFDIO_REGISTER_MODE_MISSING);
	touch_aside(addr);
}

static void odd_protect(int uffd, void *addr)
{
	struct uffdio_writeprotect arg = {
		.range = {(uintptr_t)addr, MEM_PAGE}, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	register_page(uffd, addr, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	if (ioctl(uffd, UFFDIO_WRITEPROTECT, &arg) < 0)
		tool_fail("UFFDIO_WRITEPROTECT");
	touch_aside(addr);
}

static void odd_minor(int uffd, struct mem_ref p)
{
	static const uint8_t byte = 7;
	uint8_t *addr = mem_addr(p);

	if (p.r->fd < 0 || pwrite(p.r->fd, &byte, 1, (off_t)(p.i * MEM_PAGE)) != 1)
		tool_die(TOOL_FAILED, "no memfd");
	register_page(uffd, addr, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR);
	touch_aside(addr);
}

static void odd_fork(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		tool_fail("fork");
	if (pid > 0)
		_exit(0);
	printf("ok odd\n");
}

static struct mem_ref page(struct mem *mem, struct words *w)
{
	struct mem_ref p = mem_at(mem, words_number(w, "an offset"));

	if (!p.r)
		tool_die(TOOL_FAILED, "nothing is mapped there");
	return p;
}

void odd_command(struct mem *mem, int uffd, struct words *w)
{
	const char *what = words_need(w, "what");

	if (!strcmp(what, "block"))
		odd_block(uffd);
	else if (!strcmp(what, "register"))
		odd_register(uffd);
	else if (!strcmp(what, "protect"))
		odd_protect(uffd, mem_addr(page(mem, w)));
	else if (!strcmp(what, "minor"))
		odd_minor(uffd, page(mem, w));
	else if (!strcmp(what, "fork"))
		odd_fork();
	else
		tool_die(TOOL_FAILED, "what is '%s'?", what);
	words_end(w);
}
