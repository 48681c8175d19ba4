/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * paged-ram.so: preloaded into QEMU (LD_PRELOAD), it has lamina-pager serve the
 * guest's RAM.  QEMU does not speak the handoff; so where it maps the
 * whole of PAGED_RAM_FILE privately (memory-backend-file with share=off), it gets
 * anonymous memory instead, and that is handed over at PAGED_RAM_SOCKET as
 * Firecracker does it, before QEMU has touched any of it.  The connection and the
 * userfaultfd stay open as long as QEMU lives.
 *
 * Only mappings by QEMU itself come here, not those of the libc.  A process without
 * the two variables, or which does not map the file, is left as it is.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/pager/hand.h"
#include "tests/pager/tool.h"

#define CONNECT_MS 10000
#define PAGE_SIZE 4096

static bool is_ram(size_t len, int flags, int fd)
{
	const char *path = getenv("PAGED_RAM_FILE");
	struct stat file, mapped;

	return path && getenv("PAGED_RAM_SOCKET") && flags & MAP_PRIVATE && fd >= 0 &&
	       fstat(fd, &mapped) == 0 && stat(path, &file) == 0 &&
	       mapped.st_dev == file.st_dev && mapped.st_ino == file.st_ino &&
	       len == (size_t)file.st_size;
}

/* What it opens is left open on purpose. */
static void hand_over(void *addr, size_t len)
{
	const char *path = getenv("PAGED_RAM_SOCKET");
	struct hand_region region = {(uint64_t)(uintptr_t)addr, len, 0, PAGE_SIZE};
	int uffd, sock, rc;
	char *json;

	tool_name = "paged-ram";
	uffd = hand_uffd(0);
	hand_register(uffd, &region);
	json = hand_json(&region, 1);
	sock = hand_connect(path, CONNECT_MS);
	if (sock < 0)
		tool_die(TOOL_FAILED, "cannot connect to '%s': %s", path, strerror(-sock));
	rc = hand_send(sock, uffd, json, HAND_PLAIN);
	if (rc < 0)
		tool_die(TOOL_FAILED, "cannot hand over at '%s': %s", path, strerror(-rc));
	free(json);
}

__attribute__((visibility("default"))) void *mmap64(void *addr, size_t len, int prot, int flags,
						    int fd, off64_t off)
{
	bool ram = is_ram(len, flags, fd);
	void *at;

	if (ram) {
		flags |= MAP_ANONYMOUS;
		fd = -1;
	}
	at = (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
	if (ram && at != MAP_FAILED)
		hand_over(at, len);
	return at;
}
